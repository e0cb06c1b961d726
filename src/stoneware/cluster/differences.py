"""How a machine differs from the one that is wanted, field by field, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum

from stoneware.cluster.declaration import declaration
from stoneware.cluster.model import DesiredMachine
from stoneware.config import decode, digest
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.image.references import short_id
from stoneware.model.field_kinds import secret_words
from stoneware.model.guest_protocol import CONFIG, HEALTH_CHECK
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.model.machine_fields import FIELDS, Field
from stoneware.model.resources import SecretMount

_SHOWN = 8  # names in one sentence


class Kind(StrEnum):
    """What a difference is in, and so whether it takes a new machine."""

    CONFIG = "config"  # changed in place where the image takes it on while it runs
    SECRET = "secret"  # noqa: S105  # a kind, no password; likewise
    LIVE = "live"  # changed in place in every machine
    IN_FORCE = "in force"  # the machine has the configuration, but did not take it on
    IMAGE = "image"
    SPEC = "spec"


@dataclass(frozen=True)
class Difference:
    """One difference. `what` names the field; `reason` is the whole of it as a plan gives it."""

    kind: Kind
    what: str
    wanted: str
    found: str
    reason: str


def differences(
    wanted: DesiredMachine, machine: Machine, commits: Mapping[str, str] | None = None
) -> tuple[Difference, ...]:
    """Return how a machine that is there differs from the wanted one; `commits` are those of image ids.

    What is not known yet (an image to be baked, a secret that was not put) makes no difference. Attributes
    that the cluster does not set are not looked at.
    """
    new, old = wanted.spec, machine.spec
    same = new == old and wanted.image_id == machine.image_id  # the usual case, told at once
    if same and (machine.phase is not Phase.RUNNING or machine.config_digest == wanted.config_digest):
        return ()
    if not wanted.image_id:  # what the image adds, disks and times among it, is not known
        return (*_config(wanted, machine), *_secrets(new, old))
    return (
        *_image(wanted, machine, commits or {}),
        *_config(wanted, machine),
        *_secrets(new, old),
        *_declared(new, old),
    )


def unknown_parts(wanted: DesiredMachine) -> Iterator[str]:
    """Yield what of a machine that is wanted is not known, so that it makes no difference: as sentences."""
    if not wanted.image_id:
        yield "its image will be baked"
    for use in wanted.spec.secrets:
        if not use.version:
            yield f"whether the secret {use.secret} has changed is not known: it cannot be read here"


def _declared(new: MachineSpec, old: MachineSpec) -> Iterator[Difference]:
    """Yield what differs in everything else that was declared: each field that does has a sentence."""
    after, before = declaration(new), declaration(old)
    for name, field in FIELDS.items():
        # These two have sentences of their own: `_image` and `_secrets`.
        if name not in ("source", "secrets") and after.get(name) != before.get(name):
            yield from _field(field, new, old)


def _image(wanted: DesiredMachine, machine: Machine, commits: Mapping[str, str]) -> Iterator[Difference]:
    if wanted.image_id == machine.image_id:
        return
    new = image_words(wanted.image, wanted.image_id, wanted.commit)
    old = image_words(machine.image, machine.image_id, commits.get(machine.image_id, ""))
    yield Difference(Kind.IMAGE, "image", new, old, f"image {old} → {new}")


def image_words(name: str, image_id: str, commit: str) -> str:
    """Return an image as people tell it from others: `kafka:4.2.1 (3f2a…, commit abc)`."""
    known = [short_id(image_id)] * bool(image_id) + [f"commit {commit[:7]}"] * bool(commit)
    return f"{name or 'an image'} ({', '.join(known)})" if known else name or "no image"


def _config(wanted: DesiredMachine, machine: Machine) -> Iterator[Difference]:
    new, old = wanted.spec.metadata.get(CONFIG, ""), machine.spec.metadata.get(CONFIG, "")
    wish = short_id(wanted.config_digest)
    if new != old:
        words = changed_keys(new, old)
        found = f"{short_id(digest(old))} ({words})"
        yield Difference(Kind.CONFIG, "config", wish, found, f"configuration: {words}")
    elif machine.phase is Phase.RUNNING and machine.config_digest != wanted.config_digest:
        # One that still boots has not said yet which configuration is in use.
        found = short_id(machine.config_digest)
        words = f"configuration: {found} is in force, not {wish}"
        yield Difference(Kind.IN_FORCE, "config", wish, found, words)


def changed_keys(new: str, old: str) -> str:
    """Say which keys two canonical configs differ in: `A, B changed, C added, D removed`."""
    try:
        after, before = decode(new), decode(old)
    except InputError:
        return "changed"
    groups = {
        "changed": [key for key in after if key in before and after[key] != before[key]],
        "added": [key for key in after if key not in before],
        "removed": [key for key in before if key not in after],
    }
    return ", ".join(f"{_some(keys)} {word}" for word, keys in groups.items() if keys) or "changed"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(sorted(names)[:_SHOWN]) + more


def _secrets(new: MachineSpec, old: MachineSpec) -> Iterator[Difference]:
    after = {use.target: use for use in new.secrets}
    before = {use.target: use for use in old.secrets}
    for target in sorted({*after, *before}):
        one, other = after.get(target), before.get(target)
        if one == other or (one and other and not one.version and _but_version(one) == _but_version(other)):
            continue
        wanted, found = _secret_words(one), _secret_words(other)
        word = "removed" if one is None else "added" if other is None else "changed"
        name = (one or other or new.secrets[0]).secret
        yield Difference(Kind.SECRET, f"secret {name}", wanted, found, f"secret {name} {word}")


def _but_version(use: SecretMount) -> SecretMount:
    return replace(use, version="")


def _secret_words(use: SecretMount | None) -> str:
    return "none" if use is None else secret_words(use)


def _metadata(new: MachineSpec, old: MachineSpec) -> Iterator[Difference]:
    after, before = declaration(new)["metadata"], declaration(old)["metadata"]
    if after.get(HEALTH_CHECK) != before.get(HEALTH_CHECK):
        said = (_check_words(after), _check_words(before))
        yield Difference(Kind.LIVE, "health check", *said, f"health check {said[1]} → {said[0]}")
    for key in sorted({*after, *before} - {CONFIG, HEALTH_CHECK}):
        wanted, found = after.get(key, "none"), before.get(key, "none")
        if wanted != found:
            yield Difference(Kind.SPEC, key, wanted, found, f"attribute {key} {found} → {wanted}")


def _check_words(metadata: Mapping[str, str]) -> str:
    return " ".join(metadata[HEALTH_CHECK].split()) if HEALTH_CHECK in metadata else "of the image"


def _field(field: Field, new: MachineSpec, old: MachineSpec) -> Iterator[Difference]:
    """Yield the differences of one field, in its own words."""
    if field.name == "metadata":
        yield from _metadata(new, old)
        return
    kind = Kind.LIVE if field.in_place else Kind.SPEC
    what, wanted, found = field.words, field.show(new), field.show(old)
    if isinstance(wanted, str) and isinstance(found, str):
        yield Difference(kind, what, wanted, found, f"{what} {found} → {wanted}")
    elif not isinstance(wanted, str) and not isinstance(found, str):
        yield from _entries(kind, what, wanted, found)


def _entries(
    kind: Kind, what: str, after: Mapping[str, str], before: Mapping[str, str]
) -> Iterator[Difference]:
    for key in sorted({*after, *before}):
        one, other = after.get(key), before.get(key)
        if one is not None and other is not None and one != other:
            yield Difference(kind, f"{what} {key}", one, other, f"{what} {key}: {other} → {one}")
        elif one != other:
            word, words = ("removed", other) if one is None else ("added", one)
            text = f"{what} {key}{f' ({words})' if words else ''} {word}"
            states = [("there" if state == "" else state or "none") for state in (one, other)]
            yield Difference(kind, f"{what} {key}", states[0], states[1], text)
