"""One cluster's Terraform: variables in, imports, a guarded plan, its apply."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stoneware.cluster import events
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.model import Observed
from stoneware.cluster.plan import address
from stoneware.errors import MachineError
from stoneware.platforms.protocols import Platform
from stoneware.provider.server import ProviderServer
from stoneware.terraform.configuration import (
    CLUSTER_MODULE,
    CLUSTER_VARIABLES_FILE,
    LIFT_VOLUMES,
    write_configuration,
)
from stoneware.terraform.guard import check_plan
from stoneware.terraform.results import Change, Plan, Progress, TerraformError
from stoneware.terraform.runner import STATE_FILE, Terraform, has_state, tainted_addresses
from stoneware.terraform.statefile import LARGEST_STATE, STATE_DEPTH, state_fault
from stoneware.untrusted.bounded import bounded_json

_LOCK_TIMEOUT = 60.0  # seconds that the Terraform of a killed command may take to end
_IN_PLACE = {"labels", "metadata", "image_ref", "recreate_on", "timeouts", "wait_for"}
_READS = 20  # of a state that is being written
_MACHINES = "stoneware_machine.machine["
_VOLUMES = "stoneware_volume.volume["
_DOING = {"create": "creating", "delete": "removing", "update": "updating"}
_DONE = {"create": "created", "delete": "removed", "update": "changed"}


def key_of(text: str) -> str:
    """Return the name in an address: `stoneware_volume.volume["data"]` is `data`."""
    return str(json.loads(text[text.index("[") + 1 : -1]))


def is_volume(text: str) -> bool:
    """Say whether an address is that of a disk."""
    return text.startswith(_VOLUMES)


def machine_of(text: str) -> str:
    """Return the short name of the machine at an address, or nothing where it is no machine."""
    return key_of(text) if text.startswith(_MACHINES) else ""


class ClusterTerraform:
    """Terraform on a cluster's directory; in a `with` block."""

    def __init__(
        self,
        platform: Platform,
        directory: ClusterDirectory,
        reporter: events.Reporter,
        *,
        verbose: bool = False,
        parallelism: int = 10,
    ) -> None:
        self._directory = directory
        self._reporter = reporter
        say = (lambda line: reporter.emit(events.TerraformOutput(line))) if verbose else None
        self._terraform = Terraform(
            directory.path,
            provider=ProviderServer(platform),
            verbose=say,
            parallelism=parallelism,
            lock_timeout=_LOCK_TIMEOUT,
        )

    def __enter__(self) -> Self:
        self._terraform.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._terraform.close()

    def configure(self, variables: Mapping[str, Any], *, lift_volumes: bool = False) -> None:
        """Write the module and the variables of the next plan; `lift_volumes` lets it destroy disks."""
        write_configuration(
            self._directory.path,
            CLUSTER_MODULE,
            variables,
            variables_file=CLUSTER_VARIABLES_FILE,
            overrides=[LIFT_VOLUMES] if lift_volumes else [],
        )

    def adopt(self, variables: Mapping[str, Any], observed: Observed) -> tuple[str, ...]:
        """Import what the variables name, what exists, and what the state lacks: a kill came in between.

        Return the addresses.
        """
        found = [("network", name, name) for name in variables["networks"] if name in observed.networks]
        found += [("volume", name, name) for name in variables["volumes"] if name in observed.volumes]
        found += [
            ("machine", name, observed.machines[name].machine.name)
            for name in variables["machines"]
            if name in observed.machines
        ]
        adopted = self._terraform.adopt({address(kind, key): identity for kind, key, identity in found})
        for place in adopted:
            self._reporter.emit(events.Note(f"took {place} into Terraform's state, which lacked it"))
        return adopted

    def apply(
        self,
        allowed: AbstractSet[str],
        *,
        again: Collection[str] = (),
        to_destroy: AbstractSet[str] = frozenset(),
        strict: bool = False,
        refresh: bool = True,
    ) -> None:
        """Plan the whole configuration, refuse what is not allowed, apply the rest.

        `again` are machines to replace whether Terraform sees a reason or not; `to_destroy` are volumes that
        the user allows to be destroyed. `strict` refuses harmless changes of others too. Without `refresh`
        Terraform asks for no object what it is now.
        """
        plan = self._guarded(allowed, again, to_destroy, strict=strict, refresh=refresh)
        if plan.noop:
            plan.file.unlink(missing_ok=True)
            return
        try:
            self._terraform.apply(plan, progress=self._progress)
        except TerraformError as error:
            for name in machines_of(error):
                self._reporter.emit(events.MachineFailed(name, "", error.brief, 0.0))
            raise _explained(error) from error
        for change in plan.changes:
            self._tell(change)

    def check(self, allowed: AbstractSet[str], *, again: Collection[str] = ()) -> None:
        """Raise PlanRefused where an apply would do more than is allowed; nothing is done either way."""
        self._guarded(allowed, again, frozenset(), strict=True).file.unlink(missing_ok=True)

    def _guarded(
        self,
        allowed: AbstractSet[str],
        again: Collection[str],
        to_destroy: AbstractSet[str],
        *,
        strict: bool,
        refresh: bool = True,
    ) -> Plan:
        plan = self._terraform.plan(replace=sorted(again), refresh=refresh)
        spared = tuple(
            change
            for change in plan.changes
            if change.address not in to_destroy and (strict or not _harmless(change))
        )
        check_plan(replace(plan, changes=spared), allowed=allowed | tainted_addresses(self._directory.path))
        return plan

    def refresh(self) -> tuple[Change, ...]:
        """Return what changed behind Terraform's back, and what the last apply lacks; changes nothing."""
        plan = self._terraform.plan(refresh_only=True)
        plan.file.unlink(missing_ok=True)
        return plan.drift

    def show_plan(self) -> str:
        """Return Terraform's own plan as it shows it to people."""
        plan = self._terraform.plan()
        try:
            return self._terraform.show(plan)
        finally:
            plan.file.unlink(missing_ok=True)

    def _progress(self, progress: Progress) -> None:
        """Show a machine that is being made, changed or removed; what comes after is watched by others."""
        name = machine_of(progress.address)
        if name and progress.status in ("started", "going") and progress.action in _DOING:
            self._reporter.emit(events.MachineProgress(name, _DOING[progress.action], ""))

    def _tell(self, change: Change) -> None:
        if change.noop or machine_of(change.address):
            return
        words = [_DONE[action] for action in change.actions if action in _DONE]
        kind = change.type.removeprefix("stoneware_")
        self._reporter.emit(events.ResourceFinished(kind, key_of(change.address), " and ".join(words)))


@contextlib.contextmanager
def scratch_copy(directory: ClusterDirectory) -> Iterator[ClusterDirectory]:
    """Give a copy of a cluster's directory, for looking: it does not disturb an `up` that lives."""
    with tempfile.TemporaryDirectory(prefix="stoneware-look-") as scratch:
        copy = ClusterDirectory(Path(scratch) / directory.name)
        copy.path.mkdir(mode=0o700)
        for path in [*directory.path.glob("*.tf"), directory.variables_path]:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(path, copy.path / path.name)
        state = _whole_state(directory.path / STATE_FILE)
        if state:
            (copy.path / STATE_FILE).write_bytes(state)
        yield copy


def _whole_state(path: Path) -> bytes:
    """Return Terraform's state, which Terraform does not write in one go; nothing where there is none."""
    for _ in range(_READS):
        try:
            text = path.read_bytes()
            _check_state(text)
        except FileNotFoundError:
            return b""
        except ValueError:  # it is being written
            time.sleep(0.05)
        else:
            return text
    return path.read_bytes()  # damaged: Terraform says how


def _check_state(text: bytes) -> None:
    """Raise ValueError where a text is no state of Terraform's."""
    if fault := state_fault(bounded_json(text, LARGEST_STATE, STATE_DEPTH)):
        raise ValueError(fault)


def set_damaged_state_aside(directory: ClusterDirectory, reporter: events.Reporter) -> None:
    """Move a state that cannot be read out of the way: what exists is imported, or found by its label.

    Only for the holder of the cluster's lock.
    """
    path = directory.path / STATE_FILE
    try:
        _check_state(_whole_state(path) or b"{}")
    except ValueError:
        aside = path.with_name(f"{STATE_FILE}.damaged")
        path.replace(aside)
        reporter.emit(events.Note(f"Terraform's state is damaged; it is kept as {aside}", warning=True))


def refreshed(platform: Platform, directory: ClusterDirectory) -> tuple[Change, ...] | None:
    """Return what changed behind Terraform's back since the last apply; None where it knows of nothing."""
    with scratch_copy(directory) as copy:
        if not has_state(copy.path):
            return None
        with ClusterTerraform(platform, copy, events.Silent()) as terraform:
            return terraform.refresh()


def _harmless(change: Change) -> bool:
    """Say whether a change only puts right, in place, what no machine is made anew or started for.

    Labels that the file has others of, attributes that somebody added by hand, what an import could not know.
    """
    if change.actions != ("update",):
        return False
    before, after = change.before or {}, change.after or {}
    names = {name for name in {**before, **after} if (before.get(name) or None) != (after.get(name) or None)}
    return names <= _IN_PLACE | set(change.unknown)


def machines_of(error: TerraformError) -> list[str]:
    """Return the machines that an error is about, by their short names."""
    return sorted({machine_of(found.address) for found in error.diagnostics} - {""})


def _explained(error: TerraformError) -> MachineError | TerraformError:
    """Return the error with the machines it is about in front, where it is about machines."""
    names = machines_of(error)
    if not names:
        return error
    explained = MachineError(
        f"{', '.join(names)}: {error.brief}" if len(names) == 1 else error.brief,
        details=error.details,
        resolution=error.resolution
        or f"stoneware logs {names[0]}    # then `stoneware up` goes on from here",
    )
    explained.exit_code = error.exit_code
    return explained
