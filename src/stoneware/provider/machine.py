"""`stoneware_machine`: the resource and the data source over the platform protocol."""

from __future__ import annotations

from stoneware.durations import parse_duration
from stoneware.errors import InputError, StonewareError
from stoneware.model.machine import Machine, Phase, runs
from stoneware.model.machine_fields import CHANGED_BY_AMENDING
from stoneware.platforms.protocols import Platform
from stoneware.provider import machine_checks, machine_config, machine_schema, machine_state
from stoneware.provider.machine_wait import PATIENCE, wait_until
from stoneware.provider.reporting import Diagnostics, report, reported
from stoneware.provider.resource import State, StonewareDataSource, StonewareResource, all_known
from stoneware.provider.values import Unknown

_CHECKED = ("name", "source", "config", "metadata", "secrets", "volumes")  # what a contract has a say in


class MachineResource(StonewareResource):
    """One machine: what can be changed is changed where it stands, the rest makes another one."""

    type_name = "stoneware_machine"
    schema = machine_schema.resource_schema()

    def validate(self, diags: Diagnostics, config: State) -> None:
        """Check what the configuration says, as far as it is known."""
        super().validate(diags, config)
        for path, sentence in machine_checks.problems(config):
            diags.add_error(f"Bad value for {path[0]}", sentence, path=path)

    def differs(self, name: str, current: State, planned: State) -> bool:
        """Say whether an immutable attribute asks for another machine than there is."""
        if not all_known(planned[name]):
            return True
        if name == "recreate_on" and current.get(name) is None:
            return False  # an imported machine does not know it
        if name in {"files", "recreate_on"}:
            # Null and an empty list ask for the same.
            return (current.get(name) or None) != (planned.get(name) or None)
        # Of all else that is not known yet the machine's own is taken: this is about one attribute.
        known = {key: value if all_known(value) else current.get(key) for key, value in planned.items()}
        one, other = machine_state.to_spec(current), machine_state.to_spec(known)
        return not machine_state.alike(name, one, other)

    def plan(self, diags: Diagnostics, current: State | None, planned: State) -> State:
        """Check the config, and say which computed attributes an update in place may change."""
        # A contract is held against values that are known alone.
        if all_known(*(planned.get(name) for name in _CHECKED)):
            self._check(diags, planned)
        if current is None:
            return planned
        changed = {name for name in planned if planned[name] != current.get(name)}
        if changed:
            planned.update(phase=Unknown, health=Unknown)
        if "running" in changed:
            planned.update(published=Unknown)  # free ports are chosen again
        return planned

    def _check(self, diags: Diagnostics, planned: State) -> bool:
        """Hold what is wanted against what the image says, where there are images."""
        if not self.provider.has_images:
            return True
        images = self.provider.images
        spec = machine_state.to_spec({name: planned.get(name) for name in _CHECKED})
        path = ["metadata" if planned.get("config") is None else "config"]
        with reported(diags, self.provider.failures, path=path):
            for text in machine_config.check(spec, images):
                diags.add_warning(text, path=["volumes"])
        with reported(diags, self.provider.failures, path=["volumes"]):
            machine_config.check_disks(spec, images, self.platform)
        with reported(diags, self.provider.failures, path=["wait_for"]):
            if planned.get("wait_for") == "healthy":
                machine_config.check_wait(spec, images)
        return not diags.has_errors()

    def create(self, diags: Diagnostics, planned: State) -> State | None:
        """Create and start the machine. One that fails half-way is kept in the state, as tainted."""
        if not self._check(diags, planned):
            return None
        spec = machine_state.to_spec(planned)
        with reported(diags, self.provider.failures):
            if self.platform.observe(spec.name) is not None:
                self._name_in_use(diags, spec.name)
                return None
            try:
                self.platform.create(spec)
                return {**planned, **machine_state.observed(self._settle(planned, "create"))}
            except InputError:
                raise  # nothing has been done
            except StonewareError as error:
                self.provider.failures.add(error)
                report(diags, error)
                rest = self.platform.observe(spec.name)
                return {**planned, **machine_state.observed(rest)} if rest else None
        return None

    def _settle(self, planned: State, what: str) -> Machine:
        """Bring a machine that has just been started to where it is wanted."""
        name, goal = planned["name"], planned.get("wait_for") or ""
        if not planned["running"]:
            self.platform.stop(name)
        elif goal:
            given = (planned.get("timeouts") or {}).get(what)
            timeout = parse_duration(given, what) if given else PATIENCE
            return wait_until(
                self.platform,
                name,
                goal,
                timeout,
                stopping=self.provider.stopping,
                helper_checks=self.provider.helper_checks,
            )
        return self._present(name)

    def _present(self, name: str) -> Machine:
        machine = self.platform.observe(name)
        if machine is None:
            raise InputError(
                f"the machine {name!r} is gone",
                details="it was removed while Terraform was at work",
                resolution="run the same command again: the machine will be recreated",
            )
        return machine

    def _name_in_use(self, diags: Diagnostics, name: str) -> None:
        error = InputError(
            f"the machine name {name!r} is in use",
            details="a machine of that name exists outside of this Terraform state",
            resolution=f"stoneware rm -f {name}    # or: terraform import ADDRESS {name}",
        )
        self.provider.failures.add(error)
        report(diags, error, path=["name"])

    def read(self, diags: Diagnostics, current: State) -> State | None:
        """Return what the machine is now, or None where it is gone."""
        with reported(diags, self.provider.failures):
            machine = self.platform.observe(current["name"])
            return machine_state.from_machine(machine, current) if machine else None
        return current

    def update(self, diags: Diagnostics, current: State, planned: State) -> State:
        """Change what can be changed of the machine where it stands, and start or stop it."""
        with reported(diags, self.provider.failures):
            name = planned["name"]
            self._amend(name, current, planned)
            machine = self._present(name)
            if runs(machine) != planned["running"]:
                if planned["running"]:
                    self.platform.start(name)
                machine = self._settle(planned, "update")
            return {**planned, **machine_state.observed(machine)}
        return self._as_it_is(current)

    def _amend(self, name: str, current: State, planned: State) -> None:
        one, other = machine_state.to_spec(current), machine_state.to_spec(planned)
        before, after = one.metadata, other.metadata
        changes: dict[str, str | None] = {key: None for key in before if key not in after}
        changes.update({key: value for key, value in after.items() if before.get(key) != value})
        differ = (key for key in CHANGED_BY_AMENDING if not machine_state.alike(key, one, other))
        amended = {key: getattr(other, key) for key in differ}
        if amended:
            self.platform.amend(name, **amended)  # secrets first: the configuration may name them
        if changes:
            self.platform.set_metadata(name, changes)

    def _as_it_is(self, current: State) -> State:
        """Return the state after an update that failed half-way."""
        machine = self.platform.observe(current["name"])
        return machine_state.from_machine(machine, current) if machine else current

    def delete(self, diags: Diagnostics, current: State) -> State | None:
        """Remove the machine, stopped in order unless it is a builder; that it is gone already is fine."""
        with reported(diags, self.provider.failures):
            name = current["name"]
            machine = self.platform.observe(name)
            if machine is not None and machine.kind == "machine" and _is_alive(machine):
                self._power_off(name, current)
            self.platform.destroy(name)
            return None
        return current

    def _power_off(self, name: str, current: State) -> None:
        given = (current.get("timeouts") or {}).get("delete")
        limit = None
        if given:
            limit = min(parse_duration(given, "delete"), machine_state.to_spec(current).stop_timeout)
        try:
            self.platform.stop(name, timeout=limit)
        except InputError:
            # Gone meanwhile, as was asked for.
            if self.platform.observe(name) is not None:
                raise

    def import_(self, diags: Diagnostics, identity: str) -> State | None:
        """Take over an existing machine by its name."""
        with reported(diags, self.provider.failures):
            return machine_state.from_machine(_existing(self.platform, identity))
        return None


class MachineDataSource(StonewareDataSource):
    """One existing machine, by name."""

    type_name = "stoneware_machine"
    schema = machine_schema.data_schema()

    def read(self, diags: Diagnostics, config: State) -> State | None:
        """Return the machine, or an error where there is none."""
        with reported(diags, self.provider.failures, path=["name"]):
            platform = self.provider.platform
            machine = _existing(platform, config["name"])
            return machine_state.described(machine, platform.guest_attributes(machine.name))
        return None


def _existing(platform: Platform, name: str) -> Machine:
    machine = platform.observe(name)
    if machine is None:
        raise InputError(
            f"there is no machine {name!r}", resolution="stoneware ps -a    # lists all machines"
        )
    return machine


def _is_alive(machine: Machine) -> bool:
    return runs(machine) or machine.phase is Phase.STOPPING
