"""The local platform: machines of systemd-nspawn on snapshots of the store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoneware.errors import InputError, MachineError
from stoneware.files import read_json, write_json
from stoneware.model import guest_protocol, runtime
from stoneware.model.capability import Capability
from stoneware.model.execution import PLAIN, Execution
from stoneware.model.machine import Machine, MachineSpec, removal_hint
from stoneware.model.resources import PortMapping
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines import console, owner
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines import start as machine_start
from stoneware.platforms.local.machines import stop as machine_stop
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.vanished import end_vanished
from stoneware.platforms.local.network.known import is_attached
from stoneware.platforms.local.platform_builders import LocalBuilders
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store.secrets import secret_lines
from stoneware.records import DamagedError

if TYPE_CHECKING:
    from stoneware.platforms.local.network.router import Router
    from stoneware.provider.builders import StonewareBuilder
    from stoneware.provider.infrastructure import StonewareInfrastructure


_LOOKED = 0.5  # seconds for which a router that was whole is taken to be so where a machine comes or leaves


class LocalPlatform(LocalBuilders):
    """Machines on this computer. Each method takes the machine's lock where it changes something."""

    name = "local"
    capabilities = frozenset(Capability) - {Capability.STORED_SECRETS}
    at_once = 1  # all is in files of this computer
    is_here = True

    def instead_of(self, capability: Capability) -> str:  # noqa: ARG002 - there is nothing it cannot do
        """Return nothing: this platform can do all."""
        return ""

    @property
    def infrastructure(self) -> StonewareInfrastructure:
        """Return the resources of our own provider, over this platform."""
        from stoneware.provider.infrastructure import StonewareInfrastructure

        return StonewareInfrastructure(self)

    def _paths(self, name: str) -> Paths:
        return Paths(self.store.data / "machines" / name)

    def _existing(self, name: str) -> Paths:
        return Paths(self.existing_directory(name))

    # -- life ----------------------------------------------------------------------------------------------

    def create(self, spec: MachineSpec) -> Machine:
        """Create a machine and start it; it boots on when this returns.

        Raises InputError when its name, a port or a volume is in use, or one of its networks or secrets does
        not exist; then nothing is left of it.
        """
        import secrets

        machine_start.check_spec(spec)
        self.store.check_secrets(spec.secrets)
        wanted = _completed(spec)
        store_errors.check_room(self.store.home, self.store.data)
        with self.store.lock("machines", spec.name):
            paths = self._paths(spec.name)
            if (there := self.observe(spec.name)) is not None or paths.root.exists():
                hint = removal_hint(there) if there else f"stoneware rm -f {spec.name}"
                raise InputError(
                    f"the machine name {spec.name!r} is in use", resolution=f"{hint}    # or another --name"
                )
            end_vanished(self.store)  # it would go on writing to the disks of this one
            # Held until its spec names them: from then on they count as in use.
            with self.store.keep_networks(spec.networks), self.volumes_of(spec):
                machine_start.make_directory(self.store, self, wanted, f"m{secrets.token_hex(4)}")
            try:
                if spec.tied:
                    owner.hold(paths.owner)
                self.start_locked(paths)
            except BaseException:
                self.remove_locked(paths)
                raise
        return self._observed(paths)

    def start_locked(self, paths: Paths) -> None:
        """Start a machine that does not run; the caller holds its lock."""
        spec = machine_record.read_spec(paths)
        state: dict[str, Any] = read_json(paths.root / "state.json") or {}
        if spec is None:
            raise MachineError(
                f"the machine {paths.name!r} has no spec", resolution=f"stoneware rm {paths.name}"
            )
        self.check_floors(spec)
        # Reports of the last start would be taken for this one's.
        paths.attributes.unlink(missing_ok=True)
        self.limit_disks(paths, spec)
        # Twenty machines of a cluster start within a moment too.
        router = self._router(within=_LOOKED)
        lease = router.attach(
            paths.root,
            id=state["id"],
            name=spec.name,
            hostname=spec.hostname,
            networks=spec.networks,
            names=spec.names,
            addresses=spec.addresses,
        )
        self._name_host(paths, spec, router.plan.host_end)
        try:
            published = router.publish(lease, spec.ports, id=state["id"])
            ports = [machine_record.port_document(port) for port in published]
            network = (router.namespace, "br0", lease.mac)
            machine_start.launch(self.store, paths, spec, network, {"ports": ports, "attached": True})
        except BaseException:
            machine_stop.kill(paths)
            router.unpublish(state["id"])
            raise

    def _name_host(self, paths: Paths, spec: MachineSpec, address: str) -> None:
        """Tell a machine the address of this computer where one of its names stands for it."""
        known = runtime.with_host(spec.system, address)
        if known != spec.system:
            self._change_metadata(paths.root, {guest_protocol.SYSTEM: runtime.system_text(known)})

    def _observed(self, paths: Paths) -> Machine:
        machine = machine_record.observe(paths)
        if machine is None:
            raise MachineError(
                f"the machine {paths.name!r} was removed in the meantime", resolution="stoneware ps -a"
            )
        return machine

    def start(self, name: str) -> Machine:
        """Start a stopped machine; a running one is left alone, one that is stopping is awaited."""
        paths = self._existing(name)
        with self.store.lock("machines", name):
            spec = machine_record.read_spec(paths)
            read_json(paths.root / "state.json")  # one that runs without its records is not as asked for
            if spec and (paths.run / "stop").exists():
                machine_stop.power_off(paths, spec.stop_timeout)  # the command that asked for it is gone
            if not machine_record.shown_processes(paths).alive:
                self.start_locked(self._existing(name))
        return self._observed(paths)

    def stop(self, name: str, *, timeout: float | None = None, removing: bool = False) -> None:
        """Power a machine off, hard after `timeout` seconds (default: its own stop_timeout)."""
        paths = self._existing(name)
        with self.store.lock("machines", name):
            if not paths.root.exists():
                return  # removed since
            try:
                spec = machine_record.whole_spec(paths)
            except DamagedError as damage:
                raise self._stop_damaged(paths, damage, timeout) from damage
            if spec.kind == "builder" and timeout == 0:
                machine_stop.end(paths)  # the rest goes with it: it can be captured meanwhile
                return
            machine_stop.power_off(paths, spec.stop_timeout if timeout is None else timeout)
            if spec.remove_when_stopped:
                self.remove_locked(paths)
            elif not removing:
                self.release(paths)

    def _stop_damaged(self, paths: Paths, damage: DamagedError, timeout: float | None) -> MachineError:
        """Power off a machine whose records are damaged; return what is left to say about it."""
        machine_stop.power_off(paths, MachineSpec.stop_timeout if timeout is None else timeout)
        state = machine_record.known_state(paths)
        if is_attached(self.store, state["id"]):
            self._detach(state, paths)
        return MachineError(
            f"the machine {paths.name!r} has stopped, but its record {damage.path.name} {damage.why}",
            resolution=damage.resolution,
        )

    def release(self, paths: Paths) -> None:
        """Take a machine that has stopped off the network; its address stays its own, its names are gone."""
        state: dict[str, Any] = read_json(paths.root / "state.json") or {}
        if self._detach(state, paths):
            # Not waited for on the disk: after a crash of the computer it is attached to nothing anyway.
            write_json(paths.root / "state.json", {**state, "attached": False}, mode=0o600, lasting=False)

    def _router(self, *, within: float = 0.0) -> Router:
        """Return the store's router, whole. Commands that only look at machines do not load it."""
        from stoneware.platforms.local.network import router

        return router.ensure(self.store, within=within)

    def _detach(self, state: Mapping[str, Any], paths: Paths) -> bool:
        """Take a machine off the network; say whether it was on it."""
        if not state.get("attached") and not is_attached(self.store, state.get("id", "")):
            return False
        # Of twenty machines that end together each would look at the whole router.
        self._router(within=_LOOKED).release(state["id"], paths.name)
        return True

    def destroy(self, name: str) -> None:
        """Remove a machine, running or not. Its volumes stay. A missing machine is no error."""
        paths = self._paths(name)
        if "/" in name or name.startswith(".") or not paths.root.exists():
            return
        with self.store.lock("machines", name):
            self.remove_locked(paths)

    def destroy_if(self, name: str, condition: Callable[[Machine], bool]) -> None:
        """Remove a machine if it is as `condition` says when nobody else can change it any more.

        What was seen of a name before may be true of another machine by now, which got the name since.
        """
        paths = self._paths(name)
        if paths.root.exists():
            with self.store.lock("machines", name):
                machine = self.observe(name)
                if machine is not None and condition(machine):
                    self.remove_locked(paths)

    def remove_locked(self, paths: Paths) -> None:
        """Remove a machine; the caller holds its lock."""
        from concurrent.futures import ThreadPoolExecutor  # slow to load, and few commands remove any

        if not paths.root.exists():
            return
        machine_stop.end(paths)
        state = machine_record.known_state(paths)
        # The rules take a while, mostly of waiting. After a kill, who has no directory is taken off later.
        with ThreadPoolExecutor(1) as pool:
            detached = pool.submit(self._detach, state, paths) if state["id"] else None
            machine_stop.kill(paths)
            if state["id"]:
                cgroups.remove_left([state["id"]], cgroups.probe())
            self.store.discard(paths.root)
            if detached is not None:
                detached.result()

    # -- looking -------------------------------------------------------------------------------------------

    def observe(self, name: str) -> Machine | None:
        """Return the machine of that name as it is now, or None; forks nothing."""
        if "/" in name or name.startswith(".") or not name:
            return None
        return machine_record.observe(self._paths(name))

    def machines(self) -> list[Machine]:
        """Return all machines, builders among them, sorted by name; forks nothing."""
        entries = sorted((self.store.data / "machines").iterdir())
        found = [machine_record.observe(Paths(entry)) for entry in entries if not entry.name.startswith(".")]
        return [machine for machine in found if machine is not None]

    def port_faults(
        self, wanted: Mapping[str, Sequence[PortMapping]], *, besides: Collection[str] = ()
    ) -> dict[str, list[str]]:
        """Return why the ports of machines cannot be published now; what machines `besides` have is free."""
        if not any(wanted.values()):
            return {}
        from stoneware.platforms.local.network.ports import faults
        from stoneware.platforms.local.network.router import published

        own = {machine_record.known_state(self._paths(name))["id"] for name in besides}
        taken = published(self.store, own)
        return {name: faults(ports, taken, self._name_of) for name, ports in wanted.items()}

    def _name_of(self, id: str) -> str:
        """Return the name of a machine by its id; the id where there is none, as in another store."""
        return next((machine.name for machine in self.machines() if machine.id == id), id)

    def console(self, name: str, offset: int = 0) -> tuple[bytes, int]:
        """Return a piece of the console's output from a byte offset on, and the offset to go on from."""
        return console.read(self.existing_directory(name), offset)

    def console_place(
        self, name: str, *, lines: int | None = None, since: float | None = None, until: float | None = None
    ) -> int:
        """Return where in the console the last lines, or those since or until a time, begin or end."""
        directory = self.existing_directory(name)
        if lines is not None:
            return console.last_lines(directory, lines)
        if since is not None:
            return console.since(directory, since)
        return console.span(directory)[0] if until is None else console.until(directory, until)

    def console_times(self, name: str) -> Callable[[int], float | None]:
        """Return what tells when the byte at an offset of the console came (None: not known)."""
        return console.Clock(self.existing_directory(name)).at

    def guest_attributes(self, name: str) -> dict[str, str]:
        """Return what the machine reported: `namespace/key` to value."""
        return machine_record.guest_attributes(self._existing(name))

    # -- inside --------------------------------------------------------------------------------------------

    def execute(self, name: str, argv: Sequence[str], how: Execution = PLAIN) -> int:
        """Run a command in a running machine on our own standard streams and return its exit code."""
        # Not before: with the bus it is a sixth of what `ps` would load.
        from stoneware.platforms.local.machines import exec as machine_exec

        return machine_exec.execute(self._existing(name), argv, how)

    def run(
        self, name: str, argv: Sequence[str], how: Execution = PLAIN, *, timeout: float
    ) -> tuple[int, str]:
        """Run a command in a running machine; return its exit code (124: killed in the end) and output."""
        from stoneware.platforms.local.machines import exec as machine_exec

        return machine_exec.capture(self._existing(name), argv, how, timeout=timeout)

    def copy_out(self, name: str, path: str, destination: Path) -> list[str]:
        """Copy a file or directory out of a machine, running or stopped, as `docker cp` does.

        Return sentences about what was left out, such as devices.
        """
        from stoneware.platforms.local.machines import copy as machine_copy

        paths = self._existing(name)
        with contextlib.ExitStack() as stack:
            if machine_record.shown_processes(paths).leader is None:
                stack.enter_context(self.store.lock("machines", name))  # it is not to start meanwhile
            return machine_copy.copy_out(self.store.home, paths, path, destination)

    def copy_in(self, source: str | Path, name: str, path: str) -> None:
        """Copy a file or directory into a machine, running or stopped, as `docker cp` does."""
        from stoneware.platforms.local.machines import copy as machine_copy

        paths = self._existing(name)
        with self.store.lock("machines", name):
            machine_copy.copy_in(source, paths, path)

    def check_helpers(self) -> None:
        """Restart the store's servers where they have died; raise HostError when the store is full."""
        store_errors.check_room(self.store.home, self.store.data)
        self._router()

    # -- builders ------------------------------------------------------------------------------------------

    def prepare_builder(
        self,
        name: str,
        directory: Path,
        output: Callable[[str], None] | None = None,
        tell: Callable[[str], None] | None = None,  # noqa: ARG002 - an interrupt waits for nothing
    ) -> StonewareBuilder:
        """Give a builder that Terraform will make; Terraform begins to load."""
        from stoneware.provider.builders import StonewareBuilder

        return StonewareBuilder(self, name, directory, output)

    def has_builders(self, bake: Path) -> bool:
        """Say whether a bake has a builder that is not removed, or may have one."""
        from stoneware.terraform.builders import states_in

        return bool(states_in(bake))

    def remove_builders(self, bake: Path) -> bool:
        """Remove the builders that a bake has left, and say whether there was one."""
        from stoneware.provider.builders import remove_builders

        return remove_builders(self, bake)


def _completed(spec: MachineSpec) -> MachineSpec:
    """Return a spec with its host name and the attributes that the engine itself writes."""
    written = {
        guest_protocol.VOLUMES: machine_start.volume_lines(spec),
        guest_protocol.SECRETS: secret_lines(spec.secrets),
        guest_protocol.PROCESS: runtime.process_text(spec.process),
        guest_protocol.SYSTEM: runtime.system_text(spec.system),
    }
    metadata = {**spec.metadata, **{key: text for key, text in written.items() if text}}
    return replace(spec, metadata=metadata, hostname=spec.hostname or spec.name)
