"""Machines of Compute Engine: looked at, told, stopped and removed. Those of clusters Terraform makes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stoneware.errors import InputError
from stoneware.guest import reports
from stoneware.model.machine import Machine, MachineSpec, removal_hint
from stoneware.model.machine_fields import written as checked
from stoneware.model.resources import PortMapping
from stoneware.platforms import together
from stoneware.platforms.google import builder_instance, errors, instance, names
from stoneware.platforms.google.api import AT_ONCE, Api
from stoneware.platforms.google.resources import GoogleResources

_FRESH = 6.0  # seconds that guest attributes are not asked for again: Google takes ten questions a minute
_MOST_REPORTS = 1000  # guest attributes of one machine
_OURS = "stoneware"  # how the namespaces of guest attributes begin that are read

ImageLink = Callable[[str], str]  # from an image's id to its link


class GoogleMachines(GoogleResources):
    """The machines of a project. `image_link` returns an image's link by its id."""

    at_once = AT_ONCE
    is_here = False

    def __init__(self, api: Api, image_link: ImageLink) -> None:
        super().__init__(api)
        self._image_link = image_link
        self._places: dict[str, str] = {}  # zones, by the names of instances
        self._asked: dict[str, tuple[float, dict[str, str]]] = {}  # reports, by the links of instances
        # An emulator has no such limit, and tests need not wait for it.
        self._fresh = 0.0 if api.settings.endpoint else _FRESH

    # -- life ----------------------------------------------------------------------------------------------

    def create(self, spec: MachineSpec) -> Machine:
        """Create a machine and start it. Raises InputError when its name is in use."""
        settings = self.api.settings
        there = self.observe(spec.name)
        if there is not None:
            raise InputError(
                f"the machine name {spec.name!r} is in use",
                resolution=f"{removal_hint(there)}    # or another --name",
            )
        # Before anything is made: what is refused here leaves nothing behind.
        self._check_equipment(spec)
        zone = self._zone_for(spec)
        for mount in spec.volumes:
            # Before the machine, and in its zone: no instance takes a disk of another one.
            self.make_disk(mount.volume, {}, zone)
        made = instance.instance_of(spec, settings, zone=zone, image=self._image_link(spec.source))
        body = _body(spec, made)
        self.api.operate("POST", f"zones/{zone}/instances", f"create the machine {spec.name}", body)
        return self._existing_machine(spec.name)

    def _check_equipment(self, spec: MachineSpec) -> None:
        for name in spec.networks:
            if self.network(name) is None:
                raise InputError(f"there is no network {name!r}", resolution=f"leave out {name}")
        self.check_secrets(spec.secrets)
        for mount in spec.volumes:
            volume = self.volume(mount.volume)
            if volume is not None and volume.machines and not mount.read_only:
                raise InputError(
                    f"the volume {mount.volume!r} is in use",
                    details=f"The machine {volume.machines[0]} has it.",
                    resolution=f"stoneware rm -f {volume.machines[0]}",
                )

    def _zone_for(self, spec: MachineSpec) -> str:
        """Return the zone of a machine: that of its disks, else the first."""
        for mount in spec.volumes:
            disk = self.find_disk(mount.volume)
            if disk is not None:
                return instance.zone_of(disk)
        return self.api.zones()[0]

    def start(self, name: str) -> Machine:
        """Start a stopped machine; a running one is left alone."""
        found = self._existing(name)
        status = found.get("status")
        if status in ("TERMINATED", "STOPPED", "STOPPING", "PENDING_STOP"):
            if status in ("STOPPING", "PENDING_STOP"):
                # An instance that is stopping refuses to start; a second stop waits for the first.
                self._operate(found, "stop", f"stop the machine {name}")  # until it has
            # What it reported before is not about the boot to come.
            self._forget(found)
            self._operate(found, "start", f"start the machine {name}")
        return self._existing_machine(name)

    def stop(self, name: str, *, timeout: float | None = None, removing: bool = False) -> None:  # noqa: ARG002
        """Power a machine off, by Google's own time: two minutes, or with `timeout` 0 at once."""
        found = self._existing(name)
        if found.get("status") in ("TERMINATED", "STOPPED"):
            return
        more = {"noGracefulShutdown": "true"} if timeout == 0 else {}
        self._operate(found, "stop", f"stop the machine {name}", **more)

    def destroy(self, name: str) -> None:
        """Remove a machine, running or not. Its volumes stay. A missing machine is no error."""
        found = self._find(name)
        if found is None:
            return
        path = f"zones/{instance.zone_of(found)}/instances/{found['name']}"
        # Somebody else may be as quick.
        with contextlib.suppress(errors.MissingError):
            self.api.operate("DELETE", path, f"remove the machine {name}")
        self._places.pop(str(found["name"]), None)
        self._forget(found)

    def _operate(self, found: Mapping[str, Any], verb: str, what: str, **query: str) -> None:
        path = f"zones/{instance.zone_of(found)}/instances/{found['name']}/{verb}"
        self.api.operate("POST", path, what, None, **query)

    # -- looking -------------------------------------------------------------------------------------------

    def observe(self, name: str) -> Machine | None:
        """Return the machine of that name as it is now, or None."""
        found = self._find(name)
        return None if found is None else instance.machine_of(found, self._reports(found))

    def machines(self) -> list[Machine]:
        """Return all machines, builders among them, sorted by name: one list, and the reports of those up."""
        everything = self.all_instances()
        # Builders have our label too, and no spec.
        listed = [one for one in everything if instance.SPEC in instance.metadata_of(one)]
        # No list has guest attributes: each machine is a request of its own.
        said = together.each(self, self._reports, listed)
        pairs = zip(listed, said, strict=True)
        found = [machine for one, its in pairs if (machine := instance.machine_of(one, its)) is not None]
        # Networks that are looked at next take their members from this list, without another request.
        self._seen = (time.monotonic(), self.api.changes, listed)  # all of this look is as old
        self._places |= {str(one["name"]): instance.zone_of(one) for one in listed}
        found += [builder_instance.machine(one) for one in everything if builder_instance.is_builder(one)]
        return sorted(found, key=lambda machine: machine.name)

    def _find(self, name: str) -> dict[str, Any] | None:
        """Return an instance of ours by a machine's name: from where it was seen last, else from the list."""
        if not name:
            return None
        called = names.cloud_name(name)
        what = f"look at the machine {name}"
        # By its zone an instance is one cheap request; without it, a list of all zones.
        zone = self._places.get(called)
        if zone and (found := self.api.find("compute", f"zones/{zone}/instances/{called}", what)):
            return found if instance.metadata_of(found).get(instance.SPEC) else None
        query = f'name = "{called}"'
        for one in self.api.items("compute", "aggregated/instances", what, filter=query):
            if one.get("name") == called and instance.SPEC in instance.metadata_of(one):
                self._places[called] = instance.zone_of(one)
                return one
        return None

    def _existing(self, name: str) -> dict[str, Any]:
        found = self._find(name)
        if found is None:
            raise InputError(f"there is no machine {name!r}", resolution="stoneware ps -a")
        return found

    def _existing_machine(self, name: str) -> Machine:
        machine = self.observe(name)
        if machine is None:
            raise InputError(f"there is no machine {name!r}", resolution="stoneware ps -a")
        return machine

    def port_faults(
        self,
        wanted: Mapping[str, Sequence[PortMapping]],
        *,
        besides: Collection[str] = (),  # noqa: ARG002 - no two machines share an address
    ) -> dict[str, list[str]]:
        """Return nothing: each machine has its own address, and so all ports."""
        return {name: [] for name in wanted}

    def console(self, name: str, offset: int = 0) -> tuple[bytes, int]:
        """Return a piece of the serial port's output; of a machine that is off Google keeps none."""
        found = self._existing(name)
        path = f"zones/{instance.zone_of(found)}/instances/{found['name']}/serialPort"
        try:
            piece = self.api.get("compute", path, f"read the console of {name}", port=1, start=offset)
        except errors.CloudError as error:
            # The serial port of an instance that is off cannot be read.
            if error.reason != "resourceNotReady":
                raise
            return b"", offset
        # `next` counts what has been cut off at the front of a long console as well: it is theirs to count.
        data = str(piece.get("contents") or "").encode()
        return data, int(piece.get("next") or offset) if data else offset

    def console_place(
        self, name: str, *, lines: int | None = None, since: float | None = None, until: float | None = None
    ) -> int:
        """Return where in the console the last lines begin, or its end; nothing in it has a time."""
        self._existing(name)
        if lines is None and until is None:
            return 0 if since is None else self._end(name)[1]
        kept, end = self._end(name)
        if lines is None:
            return end
        last = kept.splitlines(keepends=True)[-lines:] if lines else []
        return end - sum(map(len, last))

    def _end(self, name: str) -> tuple[bytes, int]:
        """Return what is kept of a console, and the offset of its end."""
        kept, end = b"", 0
        while True:
            piece, after = self.console(name, end)
            if not piece:
                return kept, end
            kept, end = kept + piece, after

    def console_times(self, name: str) -> Callable[[int], float | None]:
        """Return what tells of no byte when it came: the serial port does not say."""
        self._existing(name)
        return lambda _: None

    def guest_attributes(self, name: str) -> dict[str, str]:
        """Return what the machine reported: `namespace/key` to value."""
        return self._reports(self._existing(name))

    def _reports(self, found: Mapping[str, Any]) -> dict[str, str]:
        """Return the reports of an instance that runs, bounded as all that a machine says."""
        # Of an instance that is off Google has nothing, and would count the question.
        if found.get("status") not in ("RUNNING", "STOPPING"):
            return {}
        path = f"zones/{instance.zone_of(found)}/instances/{found['name']}/getGuestAttributes"
        # With its id: a machine that was replaced has the name of the one before, not its reports.
        key = f"{path}#{found.get('id')}"
        before = self._asked.get(key)
        if before and time.monotonic() - before[0] < self._fresh:
            return before[1]
        # 404 until the machine has reported something, which is no error.
        reply = self.api.find("compute", path, f"read the reports of {found['name']}", queryPath=f"{_OURS}/")
        items = ((reply or {}).get("queryValue") or {}).get("items") or []
        said = reports.texts(dict(_pairs(items)))
        self._asked[key] = (time.monotonic(), said)
        return said

    def _forget(self, found: Mapping[str, Any]) -> None:
        path = f"zones/{instance.zone_of(found)}/instances/{found['name']}/getGuestAttributes"
        self._asked.pop(f"{path}#{found.get('id')}", None)

    # -- telling -------------------------------------------------------------------------------------------

    def set_metadata(self, name: str, changes: Mapping[str, str | None]) -> None:
        """Change instance attributes (None removes one); those who wait for a change are told."""

        def change(found: Mapping[str, Any]) -> dict[str, str]:
            items = {
                **instance.metadata_of(found),
                **{key: text for key, text in changes.items() if text is not None},
            }
            return {key: text for key, text in items.items() if changes.get(key, "") is not None}

        self._change(name, change)

    def amend(self, name: str, **changes: Any) -> None:
        """Change fields of a machine's spec that a living machine takes on."""
        checked(changes)
        self.check_secrets(changes.get("secrets", ()))

        def change(found: Mapping[str, Any]) -> dict[str, str]:
            spec = replace(self._spec_of(name, found), **changes)
            others = {
                # The cluster's hosts come from Terraform and are in no spec, so they stay as they are.
                key: text
                for key, text in instance.metadata_of(found).items()
                if key == instance.HOSTS or key not in instance.WRITTEN
            }
            return {**others, **instance.written(spec, self.api.settings)}

        self._change(name, change)
        if "labels" in changes:
            self._set_labels(name, changes["labels"])

    def _spec_of(self, name: str, found: Mapping[str, Any]) -> MachineSpec:
        try:
            spec = instance.read_spec(found)
        except ValueError as error:
            raise InputError(
                f"the attribute {instance.SPEC} of {name} is damaged: {error}",
                resolution=f"stoneware rm -f {name}",
            ) from None
        if spec is None:
            raise InputError(f"there is no machine {name!r}", resolution="stoneware ps -a")
        return spec

    def _change(self, name: str, change: Callable[[Mapping[str, Any]], dict[str, str]]) -> None:
        """Change a machine's attributes; again where somebody else has changed them meanwhile."""

        def attempt() -> None:
            found = self._existing(name)
            before, after = instance.metadata_of(found), change(found)
            if before == after:
                return
            # Google refuses to change what has changed since it was read; `until_unchanged` reads again.
            fingerprint = (found.get("metadata") or {}).get("fingerprint")
            body = {"fingerprint": fingerprint, "items": instance.items_of(after)}
            path = f"zones/{instance.zone_of(found)}/instances/{found['name']}/setMetadata"
            self.api.operate("POST", path, f"change the attributes of {name}", body)

        errors.until_unchanged(attempt)

    def _set_labels(self, name: str, labels: Mapping[str, str]) -> None:
        def attempt() -> None:
            found = self._existing(name)
            spec = replace(self._spec_of(name, found), labels=labels)
            wanted = {**self.api.settings.labels, **instance.labels_of(spec)}
            body = {"labels": wanted, "labelFingerprint": found.get("labelFingerprint")}
            path = f"zones/{instance.zone_of(found)}/instances/{found['name']}/setLabels"
            self.api.operate("POST", path, f"change the labels of {name}", body)

        errors.until_unchanged(attempt)

    def check_helpers(self) -> None:
        """Do nothing: machines depend on nothing that we run."""


def _pairs(items: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    # Each process of a machine may report: what it says must not fill the memory here.
    for number, item in enumerate(items):
        value = item.get("value")
        if number >= _MOST_REPORTS:
            return
        if isinstance(value, str) and len(value) <= reports.MOST_BYTES:
            yield f"{item.get('namespace')}/{item.get('key')}", value


def _body(spec: MachineSpec, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that inserts a machine that belongs to no cluster."""
    boot: dict[str, Any] = {"sourceImage": made["image"], "labels": made["labels"]}
    boot["diskType"] = f"zones/{made['zone']}/diskTypes/{made['boot_type']}"
    if made["boot_size"]:
        boot["diskSizeGb"] = str(made["boot_size"])
    where: dict[str, Any] = (
        {"subnetwork": made["subnetwork"]} if made["subnetwork"] else {"network": _network(made["network"])}
    )
    if made["external_ip"]:
        where["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT"}]
    body: dict[str, Any] = {
        "name": made["name"],
        "machineType": f"zones/{made['zone']}/machineTypes/{made['machine_type']}",
        "labels": made["labels"],
        "tags": {"items": made["tags"]},
        "disks": [{"boot": True, "autoDelete": True, "deviceName": "boot", "initializeParams": boot}],
        "networkInterfaces": [where],
        "metadata": {"items": instance.items_of({**spec.metadata, **made["metadata"]})},
    }
    # Without autoDelete, which then is false: data outlives the machine.
    body["disks"] += [
        {
            "source": disk["source"],
            "deviceName": disk["device"],
            "mode": "READ_ONLY" if disk["read_only"] else "READ_WRITE",
        }
        for disk in made["disks"]
    ]
    if made["service_account"]:
        body["serviceAccounts"] = [{"email": made["service_account"], "scopes": made["scopes"]}]
    if made["hostname"]:
        body["hostname"] = made["hostname"]
    if made["deletion_protection"]:
        body["deletionProtection"] = True
    if made["spot"]:
        body["scheduling"] = {"provisioningModel": "SPOT", "instanceTerminationAction": "STOP"}
    return body


def _network(name: str) -> str:
    return name if "/" in name else f"global/networks/{name}"
