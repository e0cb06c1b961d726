"""A machine's directory: what is in it, and what state it tells, without forking anything."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.files import read_json, sha256_hex, write_json
from stoneware.guest import reports
from stoneware.guest.reported import Reported, reported
from stoneware.model import guest_protocol, machine_fields
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.model.machine_fields import FIELDS
from stoneware.model.resources import PortMapping
from stoneware.process_identity import boot_id, parse_identity
from stoneware.records import DamagedError, whole
from stoneware.untrusted.bounded import read_bounded

_KEPT_ELSEWHERE = ("metadata", "files")
_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True)
class Paths:
    """The files of one machine, in HOME/data/machines/NAME.

    ``spec.json`` what is wanted; ``state.json`` its id, times, published ports; ``metadata.json`` its
    attributes; ``network.json`` its addresses (the router's); ``guest-attributes.json`` what it reported;
    ``console.log``; ``shim.log`` its runner's own words; ``rootfs`` or ``disk`` subvolume; ``files/`` and
    ``results/`` what the metadata server serves and takes; ``run/`` process ids and the exit code, written by
    shim.sh.
    """

    root: Path

    @property
    def name(self) -> str:
        """Return the machine's name."""
        return self.root.name

    @property
    def rootfs(self) -> Path:
        """Return the machine's root file system (a writable subvolume)."""
        return self.root / "rootfs"

    @property
    def disk(self) -> Path:
        """Return the directory of a virtual machine's disks."""
        return self.root / "disk"

    @property
    def run(self) -> Path:
        """Return the directory the shim writes to."""
        return self.root / "run"

    @property
    def lower(self) -> Path:
        """Return where the shim of a read-only machine binds the root a second time."""
        return self.run / "lower"

    @property
    def console(self) -> Path:
        """Return the file with the console's output."""
        return self.root / "console.log"

    @property
    def owner(self) -> Path:
        """Return the file that the process which a machine is tied to holds locked while it lives."""
        return self.root / "owner"

    @property
    def attributes(self) -> Path:
        """Return the file with the machine's reports."""
        return self.root / "guest-attributes.json"


def spec_document(spec: MachineSpec) -> dict[str, Any]:
    """Return a spec as JSON data. Metadata and files are kept elsewhere and left out."""
    kept_here = (field for name, field in FIELDS.items() if name not in _KEPT_ELSEWHERE)
    return {field.name: field.kind.write(field.of(spec)) for field in kept_here}


def port_document(port: PortMapping) -> dict[str, Any]:
    """Return a port mapping as JSON data."""
    return dict(vars(port))


def read_spec(paths: Paths) -> MachineSpec | None:
    """Return a machine's spec with its present metadata and files, or None when there is no such machine.

    Raises DamagedError where one of its records is not what we wrote.
    """
    path = paths.root / "spec.json"
    try:
        return _read_spec(paths, path)
    except (TypeError, KeyError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(path, f"is no spec of a machine: {error}") from error


def whole_spec(paths: Paths) -> MachineSpec:
    """Return the spec of a machine that is there. Raises DamagedError, also where a record is missing."""
    spec, state = read_spec(paths), read_json(paths.root / "state.json")
    if spec is None or state is None:
        raise DamagedError(paths.root / ("spec.json" if spec is None else "state.json"), "is missing")
    return spec


def change_spec(root: Path, changes: Mapping[str, Any]) -> None:
    """Write values of fields, as JSON data, into a machine's spec; the caller holds its metadata lock."""
    path = root / "spec.json"
    document: dict[str, Any] = read_json(path) or {}
    write_json(path, {**document, **changes}, mode=0o600)


def _read_spec(paths: Paths, path: Path) -> MachineSpec | None:
    document = read_json(path)
    if document is None:
        return None
    metadata: dict[str, Any] = read_json(paths.root / "metadata.json") or {}
    served: dict[str, Path] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # the machine may be going just now
        # By name only: the files are copies, and where they came from does not matter any more.
        served = {path.name: path for path in (paths.root / "files").iterdir()}
    if unknown := document.keys() - FIELDS.keys():
        raise ValueError(f"it has {', '.join(sorted(unknown))}, which no machine has")
    return machine_fields.read_spec({**document, "metadata": metadata.get("attributes", {}), "files": served})


def read_process(paths: Paths, name: str) -> int | None:
    """Return the process id in run/NAME while that very process lives, else None."""
    # No paths are put together here: those who wait for machines come by many times a second.
    process = parse_identity(_text(f"{paths.root}/run/{name}"))
    return process.pid if process is not None and process.alive else None


@dataclass(frozen=True)
class Processes:
    """The living processes of a machine and, once it has ended, its exit code."""

    shim: int | None
    nspawn: int | None
    leader: int | None
    exit_code: int | None
    error: str

    @property
    def alive(self) -> bool:
        """Say whether anything of the machine runs."""
        return self.shim is not None or self.nspawn is not None or self.leader is not None


def read_processes(paths: Paths, state: Mapping[str, Any]) -> Processes:
    """Read which processes of a machine live."""
    # After a reboot the ids in run/ are those of other processes.
    if state.get("boot") != boot_id():
        return Processes(None, None, None, _exit_code(paths), "")
    return Processes(
        shim=read_process(paths, "shim"),
        nspawn=read_process(paths, "nspawn"),
        leader=read_process(paths, "leader"),
        exit_code=_exit_code(paths),
        error=_text(f"{paths.root}/run/error"),
    )


def _exit_code(paths: Paths) -> int | None:
    words = _text(f"{paths.root}/run/exit").split()
    # A damaged file may hold thousands of digits, which int() refuses with an error of its own.
    return int(words[0]) if words and words[0].isdecimal() and len(words[0]) <= 3 else None


def _text(path: str) -> str:
    try:
        return read_bounded(path, 1 << 20).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""


def guest_attributes(paths: Paths) -> dict[str, str]:
    """Return what the machine reported since its last start."""
    return reports.texts(whole(paths.attributes))


def observe(paths: Paths) -> Machine | None:
    """Return a machine as it is now, or None when there is none.

    One whose records are damaged is there all the same, in the phase `damaged`.
    """
    try:
        return _observe(paths)
    except DamagedError as error:
        return _damaged(paths, error)


def _observe(paths: Paths) -> Machine | None:
    spec = read_spec(paths)
    state = read_json(paths.root / "state.json")
    if spec is None or state is None:
        if not paths.root.exists():
            return None  # just removed
        raise DamagedError(paths.root / ("spec.json" if spec is None else "state.json"), "is missing")
    processes = read_processes(paths, state)
    attributes = guest_attributes(paths) if processes.alive or processes.exit_code is not None else {}
    said = reported(attributes)
    network: dict[str, Any] = read_json(paths.root / "network.json") or {}
    phase = _phase(paths, state, processes, said)
    # The record keeps the ports that it had, and a stopped machine publishes none.
    stopped = phase in (Phase.STOPPED, Phase.CREATED)
    return Machine(
        name=paths.name,
        id=state["id"],
        kind=spec.kind,
        image_id=spec.source.removeprefix("image:") if spec.source.startswith("image:") else "",
        image=spec.image_ref,
        phase=phase,
        health=said.health if processes.leader is not None else Health.NONE,
        ip=str(network.get("ip", "")),
        ports=tuple(PortMapping(**port) for port in state.get("ports", ())) if not stopped else (),
        config_digest=said.status.config or _config_digest(spec),
        error=_error(phase, processes, said),
        created=state["created"],
        started=state.get("started"),
        exit_code=_final_code(processes) if not processes.alive and phase is not Phase.CREATED else None,
        leader=processes.leader,
        spec=spec,
        failed_check=said.failed_check if processes.leader is not None else None,
    )


def _damaged(paths: Paths, error: DamagedError) -> Machine:
    """Return all that can be said of a machine whose records are damaged."""
    state, spec = known_state(paths), None
    with contextlib.suppress(DamagedError):
        spec = read_spec(paths)
    return Machine(
        name=paths.name,
        id=state["id"],
        kind=spec.kind if spec else "machine",
        image_id=spec.source.removeprefix("image:") if spec and spec.source.startswith("image:") else "",
        image=spec.image_ref if spec else "",
        phase=Phase.DAMAGED,
        health=Health.NONE,
        ip="",
        ports=(),
        config_digest="",
        error=f"{error.path.name} {error.why}; {error.resolution.partition(' #')[0].strip()}",
        created=state["created"],
        started=None,
        exit_code=None,
        leader=read_process(paths, "leader"),
        spec=spec or MachineSpec(paths.name, ""),
    )


def known_state(paths: Paths) -> dict[str, Any]:
    """Return a machine's state, or what can be said where it is damaged: enough to end and remove it."""
    with contextlib.suppress(DamagedError):
        state = read_json(paths.root / "state.json")
        if state is not None:
            return state
    try:
        created = paths.root.stat().st_mtime
    except OSError:
        created = 0.0
    # The router writes the id as well. Processes are told by when they began, so those of another boot of
    # this computer are not taken for the machine's.
    found = str(whole(paths.root / "network.json").get("id", ""))
    id = found if _ID.fullmatch(found) else ""
    return {"id": id, "created": created, "boot": boot_id(), "attached": bool(id)}


def _phase(
    paths: Paths,
    state: Mapping[str, Any],
    processes: Processes,
    said: Reported,
) -> Phase:
    if state.get("started") is None:
        return Phase.CREATED
    if not processes.alive:
        return Phase.FAILED if processes.error else Phase.STOPPED
    if (paths.run / "stop").exists():
        return Phase.STOPPING
    if processes.leader is None:
        return Phase.BOOTING
    return said.phase


def _final_code(processes: Processes) -> int:
    """Return the exit code of a machine that has ended; one whose shim was killed too counts as killed."""
    return 137 if processes.exit_code is None else processes.exit_code


def _error(phase: Phase, processes: Processes, said: Reported) -> str:
    return processes.error or (said.error if phase is not Phase.CREATED else "")


def _config_digest(spec: MachineSpec) -> str:
    text = spec.metadata.get(guest_protocol.CONFIG, "")
    return f"sha256:{sha256_hex(text.encode('utf-8', 'surrogateescape'))}"


def shown_processes(paths: Paths) -> Processes:
    """Return the processes of a machine that may be half made, or damaged."""
    return read_processes(paths, known_state(paths))
