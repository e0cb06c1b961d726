"""What differs from what was declared, from four sources, and what could not be found out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from stoneware.cluster.differences import Kind, differences
from stoneware.cluster.model import Desired, DesiredMachine, Observed, ObservedMachine
from stoneware.cluster.plan import state_reasons
from stoneware.cluster.volume_sizes import sizes
from stoneware.dataclass import dataclass
from stoneware.model.machine import Phase
from stoneware.platforms.infrastructure import Infrastructure, Subject
from stoneware.platforms.infrastructure import Kind as Part
from stoneware.terraform.results import Change


class Source(StrEnum):
    """Where a difference was seen."""

    IMAGE = "image"  # the image that was booted is not the one wanted
    CONFIG = "config"  # the configuration or a secret that the machine runs with is not the one wanted
    FILE = "file"  # a rendered file is not as the boot agent wrote it
    TERRAFORM = "terraform"  # a machine, disk or network is missing, added, stopped or changed


@dataclass(frozen=True, order=True)
class DriftItem:
    """One difference. `machine` is a short name; for a disk or network its name on the platform.

    `what` says which: `image`, `config`, a path, `machine`, `volume`, `network`, or an attribute's name.
    """

    source: Source
    machine: str
    what: str
    wanted: str
    found: str


@dataclass(frozen=True, order=True)
class Unknown:
    """A machine of which something could not be found out, and why: it is never in sync."""

    machine: str
    source: Source
    reason: str


@dataclass(frozen=True)
class DriftReport:
    """What differs and what is not known. `machines` is how many machines were looked at."""

    cluster: str
    machines: int
    items: tuple[DriftItem, ...]
    unknown: tuple[Unknown, ...]

    @property
    def in_sync(self) -> bool:
        """Say whether all is known and nothing differs."""
        return not self.items and not self.unknown


def find_drift(
    desired: Desired, observed: Observed, refresh: Sequence[Change] | None, infrastructure: Infrastructure
) -> DriftReport:
    """Compare what was declared with what is.

    `refresh` is what Terraform's refresh found changed behind its back (`Plan.drift`); None: it was not run.
    Files are compared where the observation was made with nonces; a running machine that did not answer is
    unknown, one that does not run is a difference already.
    """
    found: list[DriftItem | Unknown] = []
    for name, wanted in desired.machines.items():
        found += _machine(wanted, observed.machines.get(name), observed)
    found += _added(desired, observed)
    found += _resources(desired, observed)
    # What machines and the platform have shown already, Terraform's refresh is not to tell once more.
    known = {(item.machine, item.what) for item in found if isinstance(item, DriftItem)}
    found += _refreshed(refresh or (), known, infrastructure)
    items = dict.fromkeys(item for item in found if isinstance(item, DriftItem))
    unknown = dict.fromkeys(item for item in found if isinstance(item, Unknown))
    machines = len({*desired.machines, *observed.machines})
    return DriftReport(desired.name, machines, tuple(items), tuple(unknown))


_THERE, _MISSING, _UNWANTED = "there", "missing", "not declared"
_SOURCES = {
    Kind.IMAGE: Source.IMAGE,
    Kind.CONFIG: Source.CONFIG,
    Kind.IN_FORCE: Source.CONFIG,
    Kind.SECRET: Source.CONFIG,
}


def _machine(
    wanted: DesiredMachine, found: ObservedMachine | None, observed: Observed
) -> Iterator[DriftItem | Unknown]:
    name = wanted.name
    if found is None:
        yield DriftItem(Source.TERRAFORM, name, "machine", _THERE, _MISSING)
        return
    for reason in state_reasons(found.machine):
        yield DriftItem(Source.TERRAFORM, name, "machine", "running", reason)
    if not wanted.image_id:
        yield Unknown(name, Source.IMAGE, "the image that is wanted has not been baked")
    for use in wanted.spec.secrets:
        if not use.version:
            yield Unknown(name, Source.CONFIG, f"the version of the secret {use.secret} is not known")
    for item in differences(wanted, found.machine, observed.commits):
        yield DriftItem(_SOURCES.get(item.kind, Source.TERRAFORM), name, item.what, item.wanted, item.found)
    if observed.managed is not None and Subject(Part.MACHINE, name) not in observed.managed:
        yield DriftItem(Source.TERRAFORM, name, "state", "in Terraform's state", "not in it")
    yield from _files(name, found)


def _files(name: str, found: ObservedMachine) -> Iterator[DriftItem | Unknown]:
    if found.found is None:
        if found.machine.phase in (Phase.BOOTING, Phase.CONFIGURING):
            # Until it runs, its boot agent may still be writing these files.
            yield Unknown(name, Source.FILE, f"it is still {found.machine.phase}")
        elif found.machine.phase is Phase.RUNNING:
            yield Unknown(name, Source.FILE, "it did not say what its files are now")
        return
    for path in sorted({*found.written, *found.found}):
        written, now = found.written.get(path), found.found.get(path)
        if now is None:
            yield Unknown(name, Source.FILE, f"it did not say what {path} is now")
        elif written != now:
            said = "not written at boot" if written is None else written or _MISSING
            yield DriftItem(Source.FILE, name, path, said, now or _MISSING)


def _added(desired: Desired, observed: Observed) -> Iterator[DriftItem]:
    for name in observed.machines:
        if name not in desired.machines:
            yield DriftItem(Source.TERRAFORM, name, "machine", _UNWANTED, _THERE)


def _resources(desired: Desired, observed: Observed) -> Iterator[DriftItem]:
    """Compare disks and networks. A disk that Terraform knows and nothing wants is a kept one, no drift."""
    for name, volume in desired.volumes.items():
        if not volume.external and name not in observed.volumes:
            yield DriftItem(Source.TERRAFORM, name, "volume", _THERE, _MISSING)
        for wanted, size in sizes(volume, observed):
            yield DriftItem(Source.TERRAFORM, name, "size", wanted, size or "none")
    for name, network in desired.networks.items():
        if network.external:
            continue
        if name not in observed.networks:
            yield DriftItem(Source.TERRAFORM, name, "network", _THERE, _MISSING)
            continue
        if network.internal != (name in observed.internal):
            words = [_words(value) for value in (network.internal, not network.internal)]
            yield DriftItem(Source.TERRAFORM, name, "internal", *words)
        if network.subnets != (found := observed.subnets.get(name, ())):
            words = [", ".join(subnets) or "none" for subnets in (network.subnets, found)]
            yield DriftItem(Source.TERRAFORM, name, "subnets", *words)
    for name in sorted(observed.networks - set(desired.networks)):
        yield DriftItem(Source.TERRAFORM, name, "network", _UNWANTED, _THERE)
    if observed.managed is not None:
        for name in sorted(observed.volumes - set(desired.volumes)):
            if Subject(Part.VOLUME, name) not in observed.managed:
                yield DriftItem(Source.TERRAFORM, name, "volume", _UNWANTED, _THERE)


def _refreshed(
    changes: Iterable[Change], known: set[tuple[str, str]], infrastructure: Infrastructure
) -> Iterator[DriftItem]:
    told: dict[str, list[str]] = {}
    for name, what in known:
        told.setdefault(name, []).append(what)
    for change in changes:
        subject = infrastructure.subject(change.address)
        if subject.kind is Part.OTHER or change.noop:
            continue
        kind, name = str(subject.kind), subject.name
        if change.deletes and not change.replaces:
            if (name, kind) not in known:
                yield DriftItem(Source.TERRAFORM, name, kind, _THERE, _MISSING)
            continue
        for attribute, before, after in _attributes(change, subject, infrastructure):
            words = infrastructure.told_as(attribute)
            if not any(what.startswith(words) for what in told.get(name, ())):
                yield DriftItem(Source.TERRAFORM, name, attribute, before, after)


def _attributes(
    change: Change, subject: Subject, infrastructure: Infrastructure
) -> list[tuple[str, str, str]]:
    """Return what differs. Where nothing does that is shown, it is what is masked: the metadata."""
    before, after = change.before or {}, change.after or {}
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if not names and "metadata" in before:
        return [("metadata", "as applied", "changed")]
    lasting = [
        name
        for name in names
        if name not in infrastructure.passing_attributes
        # A provider may have null after a creation, and [] or {} once it has looked.
        and not infrastructure.same_value(subject, name, before.get(name), after.get(name))
    ]
    return [(name, *_both(before.get(name), after.get(name))) for name in lasting]


def _both(before: Any, after: Any) -> tuple[str, str]:
    """Return two values that differ, in words; of two mappings, also in lists of equal length, what does."""
    one, other = _apart(before, after)
    return _words(one), _words(other)


def _apart(before: Any, after: Any) -> tuple[Any, Any]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        parts = {
            key: _apart(before.get(key), after.get(key))
            for key in sorted({*before, *after})
            if before.get(key) != after.get(key)
        }
        # None where there are none of them: an entry that one of both lacks is not there, and not null.
        one = {key: part[0] for key, part in parts.items() if key in before}
        other = {key: part[1] for key, part in parts.items() if key in after}
        return one or None, other or None
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [_apart(*pair) for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
        return [one for one, _ in pairs], [other for _, other in pairs]
    return before, after


def _words(value: Any) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"
