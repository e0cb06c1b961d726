"""`stoneware_network` and `stoneware_volume`: a name, labels, the size of a volume."""

from __future__ import annotations

from abc import abstractmethod

from stoneware.errors import InputError
from stoneware.model import names
from stoneware.model.limits import disk_problem
from stoneware.model.resources import Network, Volume
from stoneware.model.subnets import ranges_problem
from stoneware.provider.machine_checks import mismatch
from stoneware.provider.machine_state import timestamp
from stoneware.provider.reporting import Diagnostics, reported
from stoneware.provider.resource import State, StonewareResource
from stoneware.provider.schema import Schema
from stoneware.provider.values import Attribute, Bool, List, Map, Number, String, Unknown


def _schema(kind: str, description: str, *own: Attribute) -> Schema:
    """Return the attributes that all such things have, and `own` ones of this kind."""
    about_name = f"Name of the {kind}, unique in the store."
    return Schema(
        version=1,
        description=description,
        attributes=[
            Attribute("name", String(), about_name, required=True, requires_replace=True),
            Attribute("labels", Map(String()), f"Labels on the {kind}.", optional=True),
            *own,
            Attribute("id", String(), "Its name.", computed=True),
            Attribute("created", String(), "When it was created (RFC 3339).", computed=True),
        ],
    )


class LabelledResource(StonewareResource):
    """A thing that has a name and labels; all but the name is changed in place."""

    kind: str
    rule: tuple[str, str]
    commands: str  # which show and remove it

    @abstractmethod
    def find(self, name: str) -> Volume | Network | None:
        """Return the thing of a name."""

    @abstractmethod
    def make(self, planned: State) -> Volume | Network:
        """Make the thing."""

    @abstractmethod
    def change(self, current: State, planned: State) -> None:
        """Change its labels, and what else it has that can be."""

    def state(self, found: Volume | Network, written: State) -> State:
        """Return what Terraform keeps of the thing; `written` is what it knew."""
        # None may be written as null or as {}: what is equal stays as written, or Terraform sees a change.
        same = dict(written.get("labels") or {}) == dict(found.labels)
        labels = written.get("labels") if same else dict(found.labels) or None
        return {"name": found.name, "labels": labels, "id": found.name, "created": timestamp(found.created)}

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove it."""

    def validate(self, diags: Diagnostics, config: State) -> None:
        """Check the name."""
        super().validate(diags, config)
        for path, sentence in mismatch(["name"], config.get("name"), self.rule):
            diags.add_error("Bad value for name", sentence, path=path)

    def create(self, diags: Diagnostics, planned: State) -> State | None:
        """Make it; one that exists belongs to someone else."""
        name = planned["name"]
        with reported(diags, self.provider.failures, path=["name"]):
            if self.find(name) is not None:
                raise InputError(
                    f"the {self.kind} name {name!r} is in use",
                    details=f"a {self.kind} of that name exists outside of this Terraform state",
                    resolution=f"terraform import ADDRESS {name}    # or: another name",
                )
            return self.state(self.make(planned), planned)
        return None

    def read(self, diags: Diagnostics, current: State) -> State | None:
        """Return it as it is, or None where it is gone."""
        with reported(diags, self.provider.failures):
            found = self.find(current["name"])
            return self.state(found, current) if found else None
        return current

    def update(self, diags: Diagnostics, current: State, planned: State) -> State:
        """Change it in place."""
        with reported(diags, self.provider.failures):
            self.change(current, planned)
            return planned
        return current

    def delete(self, diags: Diagnostics, current: State) -> State | None:
        """Remove it; that it is gone already is fine."""
        with reported(diags, self.provider.failures):
            self.remove(current["name"])
            return None
        return current

    def import_(self, diags: Diagnostics, identity: str) -> State | None:
        """Take over an existing one by its name."""
        with reported(diags, self.provider.failures):
            found = self.find(identity)
            if found is None:
                raise InputError(f"there is no {self.kind} {identity!r}", resolution=self.commands)
            return self.state(found, {})
        return None


class VolumeResource(LabelledResource):
    """A persistent disk."""

    type_name = "stoneware_volume"
    kind = "volume"
    schema = _schema(
        "volume",
        "A persistent disk. A machine formats it at its first use, and it outlives machines. Destroying "
        "it destroys its data: `lifecycle { prevent_destroy = true }` is wise. Import by name.",
        Attribute(
            "size",
            Number(),
            "The most bytes that it may take. Without it a new volume may take a quarter of what is free, "
            "and one that has a size keeps it.",
            optional=True,
        ),
    )
    rule = (names.VOLUME.pattern, names.VOLUME.words)
    commands = "stoneware volume ls    # lists all volumes"

    def find(self, name: str) -> Volume | None:
        """Return the volume of a name."""
        return self.platform.volume(name)

    def validate(self, diags: Diagnostics, config: State) -> None:
        """Check the name and the size."""
        super().validate(diags, config)
        size = config.get("size")
        if size is None or size is Unknown:
            return
        whole = isinstance(size, int) or float(size).is_integer()
        problem = disk_problem(int(size)) if whole else f"{size} is no number of bytes"
        if problem:
            diags.add_error("Bad value for size", problem, path=["size"])

    def make(self, planned: State) -> Volume:
        """Make the volume."""
        return self.platform.create_volume(planned["name"], planned.get("labels") or {}, _size(planned))

    def change(self, current: State, planned: State) -> None:
        """Change the volume's labels and its size."""
        size = _size(planned)
        # Without a size it keeps what it has.
        if size is not None and size != _size(current):
            self.platform.create_volume(planned["name"], {}, size)  # one that is there gets the size alone
        self.platform.label_volume(planned["name"], planned.get("labels") or {})

    def state(self, found: Volume | Network, written: State) -> State:
        """Return what Terraform keeps: the size where the configuration has one, or nobody has said yet."""
        told = "size" not in written or written["size"] is not None
        size = found.size if told and isinstance(found, Volume) else None
        return {**super().state(found, written), "size": size}

    def remove(self, name: str) -> None:
        """Remove the volume and its data."""
        self.platform.destroy_volume(name)


class NetworkResource(LabelledResource):
    """A network of machines."""

    type_name = "stoneware_network"
    kind = "network"
    schema = _schema(
        "network",
        "A network: its machines reach each other, by name too, and no others. While it exists, the name "
        "of a machine keeps its address, also when the machine is recreated. Import by name.",
        Attribute(
            "internal",
            Bool(),
            "Whether machines that are on internal networks only reach nothing outside of these, and no "
            "published port leads to them. Changed in place.",
            optional=True,
        ),
        Attribute(
            "subnets",
            List(String()),
            "Ranges of IPv4 addresses, as `10.5.0.0/16`, that its machines have theirs of; the first address "
            "of each is the gateway's. Changed in place; one in which a machine has its address stays.",
            optional=True,
        ),
    )
    rule = (names.NETWORK.pattern, names.NETWORK.words)
    commands = "stoneware ps -a    # shows what runs"

    def validate(self, diags: Diagnostics, config: State) -> None:
        """Check the name and the subnets."""
        super().validate(diags, config)
        subnets = config.get("subnets") or ()
        # What is not known yet the platform checks when it is.
        if subnets is Unknown or any(each is Unknown or each is None for each in subnets):
            return
        if problem := ranges_problem(subnets):
            diags.add_error("Bad value for subnets", problem, path=["subnets"])

    def find(self, name: str) -> Network | None:
        """Return the network of a name."""
        return self.platform.network(name)

    def make(self, planned: State) -> Network:
        """Make the network."""
        labels, internal = planned.get("labels") or {}, planned.get("internal") is True
        subnets = planned.get("subnets") or ()
        return self.platform.create_network(planned["name"], labels, internal=internal, subnets=subnets)

    def change(self, _current: State, planned: State) -> None:
        """Change the network's labels, its subnets, and whether it is internal."""
        labels, internal = planned.get("labels") or {}, planned.get("internal") is True
        subnets = planned.get("subnets") or ()
        self.platform.change_network(planned["name"], labels, internal=internal, subnets=subnets)

    def state(self, found: Volume | Network, written: State) -> State:
        """Return what Terraform keeps: where there is nothing to say, what was written of that."""
        internal = isinstance(found, Network) and found.internal
        said = True if internal else False if written.get("internal") is not None else None
        subnets = list(found.subnets) if isinstance(found, Network) else []
        ranges = subnets or ([] if written.get("subnets") is not None else None)
        return {**super().state(found, written), "internal": said, "subnets": ranges}

    def remove(self, name: str) -> None:
        """Remove the network."""
        self.platform.destroy_network(name)


def _size(state: State) -> int | None:
    size = state.get("size")
    return None if size is None else int(size)
