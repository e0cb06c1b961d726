"""What is kept of a cluster between commands: copied to be looked at, and set aside where it is damaged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from stoneware.cluster import events
from stoneware.cluster.directory import ClusterDirectory
from stoneware.platforms.cluster_files import FileRecords
from stoneware.records import DamagedError
from stoneware.scratch import scratch_directory
from stoneware.terraform.runner import STATE_FILE
from stoneware.terraform.statefile import LARGEST_STATE, STATE_DEPTH, state_fault
from stoneware.untrusted.bounded import BoundsError, bounded_json, read_bounded

_READS = 20  # of a state that is being written


@contextlib.contextmanager
def scratch_copy(directory: ClusterDirectory) -> Iterator[ClusterDirectory]:
    """Give a copy of what is kept of a cluster, in files; looking disturbs no `up`."""
    with scratch_directory("stoneware-cluster-") as scratch:
        copy = ClusterDirectory(FileRecords(scratch / directory.name))
        copy.path.mkdir(mode=0o700)
        # Not the `.terraform` directory and not the lock: the copy gets its own.
        for path in directory.path.glob("*.tf"):
            # No lock is held here: another command may have removed the file since it was listed.
            with contextlib.suppress(FileNotFoundError):
                (copy.path / path.name).write_bytes(_read(path))
        if declared := directory.variables():
            copy.declare(declared)
        state = _whole_state(directory)
        if state:
            (copy.path / STATE_FILE).write_bytes(state)
        yield copy


def _whole_state(directory: ClusterDirectory) -> bytes:
    """Return Terraform's state, which Terraform does not write in one go; nothing where there is none."""
    text = b""
    for _ in range(_READS):
        text = directory.records.state()
        if not text:
            return b""
        with contextlib.suppress(ValueError):
            _check_state(text)
            return text
        time.sleep(0.05)  # it is being written
    return text  # damaged: Terraform says how


def _read(path: Path) -> bytes:
    """Return what a file of a cluster's directory holds. Raises DamagedError."""
    try:
        return read_bounded(path, LARGEST_STATE)
    except BoundsError as error:
        raise DamagedError(path, str(error)) from None


def _check_state(text: bytes) -> None:
    """Raise ValueError where a text is no state of Terraform's."""
    if fault := state_fault(bounded_json(text, LARGEST_STATE, STATE_DEPTH)):
        raise ValueError(fault)


def set_damaged_state_aside(directory: ClusterDirectory, reporter: events.Reporter) -> None:
    """Move a state that cannot be read out of the way: what exists is imported, or found by its label.

    Only for the holder of the cluster's lock.
    """
    try:
        _check_state(_whole_state(directory) or b"{}")
    except ValueError:
        # Kept, not removed: an operator may want to repair what Stoneware cannot read.
        aside = directory.records.set_state_aside()
        reporter.emit(events.Note(f"Terraform's state is damaged; it is kept as {aside}", warning=True))
