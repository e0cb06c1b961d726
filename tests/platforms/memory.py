"""A platform that lives in memory: a real state machine behind the same protocol, with the same errors.

With a `journal` its machines outlive the process, as real ones do.
"""

# the protocol names arguments that memory does not need

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from stoneware.errors import InputError, MachineError, StonewareError
from stoneware.files import canonical_json
from stoneware.model.capability import Capability
from stoneware.model.execution import PLAIN, Execution
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.model.machine_fields import written
from stoneware.model.resources import DIRECTORY, PortMapping, Volume
from stoneware.provider.builders import MachineBuilder, remove_builders
from stoneware.provider.infrastructure import StonewareInfrastructure
from tests.platforms.memory_resources import MemoryResources


def place_in(output: bytes, *, lines: int | None, until: float | None = None) -> int:
    """Return where the last lines of some output begin; nothing in it has a time."""
    if lines is None:
        return 0 if until is None else len(output)
    kept = output.splitlines(keepends=True)[-lines:] if lines else []
    return len(output) - sum(map(len, kept))


class MemoryPlatform(MemoryResources):
    """Machines that only exist as records. The attributes at the end of `__init__` make faults happen."""

    name = "memory"
    capabilities = frozenset(Capability)
    at_once = 1
    is_here = True

    def __init__(self, journal: Path | None = None) -> None:
        super().__init__()
        self._journal = journal
        self._consoles: dict[str, bytes] = {}
        self._guest: dict[str, dict[str, str]] = {}
        self._secrets: dict[str, dict[bytes, str]] = {}  # versions by value
        self.fetching: set[tuple[str, str]] = set()  # machines, and secrets that they may fetch
        self._made = 0
        if journal is not None and journal.exists():
            self._made, self._machines, self._consoles, self._volumes, self._networks = pickle.loads(  # noqa: S301
                journal.read_bytes()
            )
        self.images: dict[str, bytes] = {}
        self.checkpoints: dict[str, Mapping[str, Any]] = {}
        self.results: dict[tuple[str, str], bytes] = {}
        self.files: dict[tuple[str, str], bytes] = {}  # in machines, by their paths
        self.calls: list[str] = []
        self.busy_ports: dict[int, str] = {}  # of other programs: port to who has it
        self.fail_next_create: StonewareError | None = None
        self.fail_after_create: StonewareError | None = None
        self.while_creating: Callable[[], None] = lambda: None
        self.after_creating: Callable[[], None] = lambda: None
        self.commands: Callable[[str, Sequence[str]], tuple[int, str]] = lambda *_: (0, "")

    def instead_of(self, capability: Capability) -> str:
        return "ask the neighbour" if capability is Capability.COMMANDS else ""

    @property
    def infrastructure(self) -> StonewareInfrastructure:
        return StonewareInfrastructure(self)

    def prepare_builder(
        self,
        name: str,
        directory: Path,
        output: Callable[[str], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> MemoryBuilder:
        return MemoryBuilder(self, name)

    def has_builders(self, bake: Path) -> bool:
        return any(
            one.kind == "builder" and one.name.startswith(f"{bake.name}-") for one in self._machines.values()
        )

    def remove_builders(self, bake: Path) -> bool:
        return remove_builders(self, bake)

    def _save(self) -> None:
        if self._journal is not None:
            kept = (self._made, self._machines, self._consoles, self._volumes, self._networks)
            self._journal.write_bytes(pickle.dumps(kept))

    def create(self, spec: MachineSpec) -> Machine:
        with self._lock:
            self.calls.append(f"create {spec.name}")
            if self.fail_next_create is not None:
                error, self.fail_next_create = self.fail_next_create, None
                raise error
            if spec.name in self._machines:
                raise InputError(f"the machine name {spec.name!r} is in use")
            self._check_equipment(spec)
            ports = tuple(self._publish(port) for port in spec.ports)
        self.while_creating()
        with self._lock:
            self._made += 1
            self._machines[spec.name] = self._record(spec, ports)
            self._consoles[spec.name] = f"{spec.name} boots\n".encode()
            self._save()
        self.after_creating()
        self.boot(spec.name)
        with self._lock:
            if self.fail_after_create is not None:
                error, self.fail_after_create = self.fail_after_create, None
                self._machines[spec.name] = replace(
                    self._machines[spec.name], phase=Phase.FAILED, error=error.brief
                )
                raise error
            return self._machines[spec.name]

    def _check_equipment(self, spec: MachineSpec) -> None:
        for name in spec.networks:
            if name not in self._networks:
                raise InputError(f"there is no network {name!r}")
        for use in spec.secrets:
            if use.secret not in self._secrets:
                raise InputError(f"there is no secret {use.secret!r}")
        for mount in spec.volumes:
            users = [name for name in self._users("volumes", mount.volume) if name != spec.name]
            if users:
                raise InputError(f"the volume {mount.volume!r} is in use")
            new = Volume(mount.volume, time.time(), {}, (), blank=True)
            self._become(self._volumes.setdefault(mount.volume, new), spec)

    def _become(self, volume: Volume, spec: MachineSpec) -> None:
        """Let a volume be of the kind that a machine needs; what it is blank for, is written at once."""
        if volume.kind != spec.volume_kind and not volume.blank:
            cluster = spec.labels.get(CLUSTER_LABEL)
            asked = cluster is None and spec.volume_kind != DIRECTORY
            if asked or volume.labels.get(CLUSTER_LABEL) != cluster:
                raise InputError(f"the machine {spec.name!r} cannot have the volume {volume.name!r}")
            self.calls.append(f"convert {volume.name} {spec.volume_kind}")
        self._volumes[volume.name] = replace(volume, kind=spec.volume_kind, blank=False)

    def boot(self, name: str) -> None:
        """Bring a machine that was started to where it stays; tests put a slower or a failing boot here."""

    def show(self, name: str, **observed: Any) -> None:
        """Let a machine be observed in another way: its phase, its health, its exit code."""
        with self._lock:
            self._machines[name] = replace(self._get(name), **observed)
            self._save()

    def report(self, name: str, **attributes: str) -> None:
        """Let a machine report guest attributes."""
        with self._lock:
            self._guest.setdefault(name, {}).update(attributes)

    def _record(self, spec: MachineSpec, ports: tuple[PortMapping, ...]) -> Machine:
        # As the local engine does: some of what is left out is filled in, some attributes are its own.
        lines = "".join(f"{mount.volume}\t{mount.path}\n" for mount in spec.volumes)
        metadata = {**spec.metadata, **({"stoneware-volumes": lines} if lines else {}), **_secrets(spec)}
        files = {name: Path("/machines", spec.name, "files", name) for name in spec.files}
        return Machine(
            name=spec.name,
            id=f"m{self._made:08x}",
            kind=spec.kind,
            image_id=spec.source.removeprefix("image:") if spec.source.startswith("image:") else "",
            image=spec.image_ref,
            phase=Phase.RUNNING,
            health=Health.NONE,
            ip=next(iter(spec.addresses.values()), f"10.0.0.{self._made + 1}"),
            ports=ports,
            config_digest=f"sha256:{hashlib.sha256(canonical_json(dict(spec.metadata))).hexdigest()}",
            error="",
            created=time.time(),
            started=time.time(),
            exit_code=None,
            leader=None,
            spec=replace(spec, metadata=metadata, hostname=spec.hostname or spec.name, files=files),
        )

    def _publish(self, port: PortMapping) -> PortMapping:
        taken = {other.host_port for machine in self._machines.values() for other in machine.ports}
        if port.host_port in taken:
            raise InputError(f"port {port.host_port} is in use")
        if port.host_port:
            return port
        return replace(port, host_port=next(free for free in range(40000, 50000) if free not in taken))

    def observe(self, name: str) -> Machine | None:
        with self._lock:
            return self._machines.get(name)

    def machines(self) -> list[Machine]:
        with self._lock:
            return [self._machines[name] for name in sorted(self._machines)]

    def _get(self, name: str) -> Machine:
        machine = self._machines.get(name)
        if machine is None:
            raise InputError(f"there is no machine {name!r}", resolution="stoneware ps -a")
        return machine

    def start(self, name: str) -> Machine:
        with self._lock:
            machine = self._get(name)
            if machine.phase is not Phase.RUNNING:
                self.calls.append(f"start {name}")
                self._machines[name] = replace(
                    machine,
                    phase=Phase.RUNNING,
                    started=time.time(),
                    exit_code=None,
                    ports=tuple(self._publish(port) for port in machine.spec.ports),
                )
                self._save()
        self.boot(name)
        with self._lock:
            return self._machines[name]

    def stop(self, name: str, *, timeout: float | None = None, removing: bool = False) -> None:
        with self._lock:
            machine = self._get(name)
            limit = machine.spec.stop_timeout if timeout is None else timeout
            self.calls.append(f"stop {name} {limit:g}")
            self._machines[name] = replace(machine, phase=Phase.STOPPED, exit_code=0, ports=())
            self._save()

    def destroy(self, name: str) -> None:
        with self._lock:
            self.calls.append(f"destroy {name}")
            for table in (self._machines, self._consoles, self._guest):
                table.pop(name, None)
            self._save()

    def port_faults(
        self, wanted: Mapping[str, Sequence[PortMapping]], *, besides: Collection[str] = ()
    ) -> dict[str, list[str]]:
        with self._lock:
            taken = {
                port.host_port: machine.name
                for machine in self._machines.values()
                if machine.name not in besides and machine.phase is not Phase.STOPPED
                for port in machine.ports
            } | self.busy_ports
        return {
            name: [
                f"port {port.host_port}/{port.protocol} of this computer is in use: {taken[port.host_port]}"
                for port in ports
                if port.host_port in taken
            ]
            for name, ports in wanted.items()
        }

    def console(self, name: str, offset: int = 0) -> tuple[bytes, int]:
        with self._lock:
            self._get(name)
            output = self._consoles[name]
            return output[offset:], len(output)

    def console_place(
        self, name: str, *, lines: int | None = None, since: float | None = None, until: float | None = None
    ) -> int:
        with self._lock:
            self._get(name)
            return place_in(self._consoles[name], lines=lines, until=until)

    def console_times(self, name: str) -> Callable[[int], float | None]:
        return lambda _offset: None

    def guest_attributes(self, name: str) -> dict[str, str]:
        with self._lock:
            self._get(name)
            return dict(self._guest.get(name, {}))

    def set_metadata(self, name: str, changes: Mapping[str, str | None]) -> None:
        with self._lock:
            self.calls.append(f"set_metadata {name} {sorted(changes)}")
            machine = self._get(name)
            merged = {**machine.spec.metadata, **changes}
            metadata = {key: value for key, value in merged.items() if value is not None}
            self._machines[name] = replace(machine, spec=replace(machine.spec, metadata=metadata))

    def amend(self, name: str, **changes: Any) -> None:
        written(changes)  # refuses other fields
        with self._lock:
            self.calls.append(f"amend {name} {sorted(changes)}")
            machine = self._get(name)
            spec = replace(machine.spec, **changes)
            self._check_equipment(spec)
            rest = {key: value for key, value in spec.metadata.items() if key != "stoneware-secrets"}
            spec = replace(spec, metadata={**rest, **_secrets(spec)})
            self._machines[name] = replace(machine, spec=spec, image=spec.image_ref)
            self._save()

    def put_secret(self, name: str, value: bytes) -> str:
        with self._lock:
            return self._secrets.setdefault(name, {}).setdefault(value, token_hex(8))

    def secret_version(self, name: str, value: bytes) -> str | None:
        with self._lock:
            return self._secrets.get(name, {}).get(value)

    def has_secret(self, name: str, version: str) -> bool:
        return version in self._secrets.get(name, {}).values()

    def let_fetch_secrets(self, specs: Iterable[MachineSpec]) -> None:
        self.fetching |= {(spec.name, use.secret) for spec in specs for use in spec.secrets}

    def destroy_secret(self, name: str) -> None:
        with self._lock:
            self._secrets.pop(name, None)

    def execute(self, name: str, argv: Sequence[str], how: Execution = PLAIN) -> int:
        self._get(name)
        raise MachineError("a machine in memory runs no commands", details=" ".join(argv))

    def run(
        self, name: str, argv: Sequence[str], how: Execution = PLAIN, *, timeout: float
    ) -> tuple[int, str]:
        self._get(name)
        self.calls.append(f"run {name} {' '.join(argv)}")
        return self.commands(name, argv)

    def copy_out(self, name: str, path: str, destination: Path) -> list[str]:
        with self._lock:
            self._get(name)
            if (name, path) not in self.files:
                raise InputError(f"there is no {path} in the machine {name}")
            into = destination / Path(path).name if destination.is_dir() else destination
            into.write_bytes(self.files[name, path])
            return []

    def copy_in(self, source: str | Path, name: str, path: str) -> None:
        with self._lock:
            self._get(name)
            self.files[name, path] = Path(source).read_bytes()

    def check_helpers(self) -> None:
        pass

    def read_result(self, name: str, result: str) -> bytes:
        with self._lock:
            self._get(name)
            if (name, result) not in self.results:
                raise MachineError(f"the machine {name!r} has not uploaded {result}")
            return self.results[name, result]

    def prepare_list(self, name: str, base: str) -> None:
        pass

    def list_files(self, name: str, base: str) -> bool:
        return False

    def checkpoint(
        self,
        name: str,
        key: str,
        document: Mapping[str, Any],
        *,
        taken: Callable[[], None] | None = None,
    ) -> None:
        with self._lock:
            self._get(name)
            self.checkpoints[key] = dict(document)
        if taken:
            taken()

    def capture(
        self,
        name: str,
        manifest: bytes,
        document: Mapping[str, Any],
        *,
        files: Mapping[str, bytes] | None = None,
    ) -> str:
        with self._lock:
            if self._get(name).phase is not Phase.STOPPED:
                raise MachineError(f"the machine {name!r} still runs")
            image_id = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
            self.images[image_id] = manifest
            return image_id


class MemoryBuilder(MachineBuilder):
    """A builder that is made and removed without Terraform."""

    def boot(self, source: str, metadata: Mapping[str, str], caches: Sequence[str] = ()) -> None:
        options: dict[str, Any] = {"metadata": metadata, "files": self.files, "caches": tuple(caches)}
        self.platform.create(MachineSpec(self.name, source, kind="builder", **options))

    def release(self, *, failed: bool = False) -> None:
        self.platform.destroy(self.name)


def _secrets(spec: MachineSpec) -> dict[str, str]:
    lines = "".join(f"{use.target}\t{use.mode:04o}\t{use.secret}\t{use.version}\n" for use in spec.secrets)
    return {"stoneware-secrets": lines} if lines else {}
