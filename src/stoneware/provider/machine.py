"""`stoneware_machine`: the resource and the data source over the platform protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf.iface import DataSource, Resource
from tf.schema import Schema
from tf.types import Unknown

from stoneware.errors import InputError, StonewareError
from stoneware.provider import machine_schema
from stoneware.provider.reporting import report, reported

if TYPE_CHECKING:
    from stoneware.platform import Platform
    from stoneware.provider.provider import StonewareProvider

State = dict[str, Any]


class MachineResource(Resource):  # type: ignore[misc]  # the framework has no type hints
    """One machine: made and removed, its metadata changed in place, everything else by replacement."""

    def __init__(self, provider: StonewareProvider) -> None:
        self._provider = provider

    @property
    def _platform(self) -> Platform:
        return self._provider.platform

    @classmethod
    def get_name(cls) -> str:
        """Return the name without the provider's prefix."""
        return "machine"

    @classmethod
    def get_schema(cls) -> Schema:
        """Return the attributes."""
        return machine_schema.resource_schema()

    def validate(self, diags: Any, type_name: str, config: State) -> None:
        """Check what the configuration says, as far as it is known."""
        super().validate(diags, type_name, config)
        for path, sentence in machine_schema.problems(config):
            diags.add_error(f"Bad value for {path[0]}", sentence, path=path)

    def plan(self, _ctx: Any, current: State | None, planned: State) -> State:
        """Say which computed attributes an update in place may change."""
        changed = {name for name in planned if current is None or planned[name] != current.get(name)}
        if changed:
            planned.update(phase=Unknown, health=Unknown)
        return planned

    def create(self, ctx: Any, planned: State) -> State | None:
        """Create and start the machine. One that fails half-way is kept in the state, as tainted."""
        spec = machine_schema.to_spec(planned)
        with reported(ctx.diagnostics, self._provider.failures):
            if self._platform.observe(spec.name) is not None:
                self._name_in_use(ctx, spec.name)
                return None
            try:
                machine = self._platform.create(spec)
            except InputError:
                raise  # nothing has been done
            except StonewareError as error:
                self._provider.failures.add(error)
                report(ctx.diagnostics, error)
                rest = self._platform.observe(spec.name)
                return {**planned, **machine_schema.observed(rest)} if rest else None
            return {**planned, **machine_schema.observed(machine)}
        return None

    def _name_in_use(self, ctx: Any, name: str) -> None:
        error = InputError(
            f"the machine name {name!r} is in use",
            details="a machine of that name exists outside of this Terraform state",
            resolution=f"stoneware rm -f {name}    # or: terraform import ADDRESS {name}",
        )
        self._provider.failures.add(error)
        report(ctx.diagnostics, error, path=["name"])

    def read(self, ctx: Any, current: State) -> State | None:
        """Return what the machine is now, or None where it is gone."""
        with reported(ctx.diagnostics, self._provider.failures):
            machine = self._platform.observe(current["name"])
            return machine_schema.from_machine(machine, current) if machine else None
        return current

    def update(self, ctx: Any, current: State, planned: State) -> State:
        """Change the metadata of the machine where it stands."""
        before, after = current.get("metadata") or {}, planned.get("metadata") or {}
        changes: dict[str, str | None] = {key: None for key in before if key not in after}
        changes.update({key: value for key, value in after.items() if before.get(key) != value})
        with reported(ctx.diagnostics, self._provider.failures):
            name = planned["name"]
            if changes:
                self._platform.set_metadata(name, changes)
            machine = self._platform.observe(name)
            if machine is None:
                raise InputError(
                    f"the machine {name!r} is gone",
                    details="it was removed while Terraform was at work",
                    resolution="run the same command again: it will be created anew",
                )
            return {**planned, "phase": str(machine.phase), "health": str(machine.health)}
        return current

    def delete(self, ctx: Any, current: State) -> State | None:
        """Remove the machine; that it is gone already is fine."""
        with reported(ctx.diagnostics, self._provider.failures):
            self._platform.destroy(current["name"])
            return None
        return current

    def import_(self, ctx: Any, id: str) -> State | None:  # the framework passes it by name
        """Take over an existing machine by its name."""
        with reported(ctx.diagnostics, self._provider.failures):
            return machine_schema.from_machine(_existing(self._platform, id))
        return None


class MachineDataSource(DataSource):  # type: ignore[misc]
    """One existing machine, by name."""

    def __init__(self, provider: StonewareProvider) -> None:
        self._provider = provider

    @classmethod
    def get_name(cls) -> str:
        """Return the name without the provider's prefix."""
        return "machine"

    @classmethod
    def get_schema(cls) -> Schema:
        """Return the attributes."""
        return machine_schema.data_schema()

    def read(self, ctx: Any, config: State) -> State | None:
        """Return the machine, or an error where there is none."""
        with reported(ctx.diagnostics, self._provider.failures):
            machine = _existing(self._provider.platform, config["name"])
            return {"name": machine.name, **machine_schema.observed(machine)}
        return None


def _existing(platform: Platform, name: str) -> Any:
    machine = platform.observe(name)
    if machine is None:
        raise InputError(
            f"there is no machine {name!r}", resolution="stoneware ps -a    # lists all machines"
        )
    return machine
