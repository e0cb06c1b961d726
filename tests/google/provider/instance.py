"""Instances of Compute Engine: one with a boot disk of its own, disks of others, and interfaces."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from tests.google.provider.client import ApiError
from tests.google.provider.compute import ID, NEW
from tests.google.provider.documents import Document, Field, Table
from tests.google.provider.kinds import Image, Int64, Items, Link, Name, Scopes, Unordered, path
from tests.google.provider.planning import Path
from tests.google.provider.resource import Change, Resource, set_labels
from tests.google.provider.schema import Values

DISK = Link("disks", "zones")
STOP_IT = (
    "Changing the machine_type, min_cpu_platform, service_account, enable_display, shielded_instance_config, "
    "scheduling.node_affinities or network_interface.[#d].(network/subnetwork/subnetwork_project) or "
    "advanced_machine_features on a started instance requires stopping it. To acknowledge this, please set "
    "allow_stopping_for_update = true in your config. You can also stop it by setting desired_status = "
    '"TERMINATED", but the instance will not be restarted after the update.'
)

BOOT = {
    "auto_delete": Field(default=True),
    "kms_key_self_link": Field("diskEncryptionKey.kmsKeyName", replaces=True),
    "device_name": NEW,
    "mode": Field(replaces=True, default="READ_WRITE"),
    "source": Field(kind=DISK, replaces=True),
    "initialize_params": Field(
        keeps=True,
        fields={
            "image": Field("sourceImage", Image(), replaces=True),
            "labels": Field(),
            "size": Field("diskSizeGb", Int64()),
            "type": Field("diskType", Name("diskTypes", "zones"), replaces=True),
        },
    ),
}
INTERFACE = {
    "name": Field(sent=False),
    "network": Field(kind=Link("networks", "global")),
    "subnetwork": Field(kind=Link("subnetworks", "regions")),
    "subnetwork_project": Field(sent=False),
    "network_ip": Field("networkIP", replaces=True),
    "nic_type": NEW,
    "access_config": Field("accessConfigs", fields={"nat_ip": Field("natIP")}),
}
SCHEDULING = {
    "automatic_restart": Field(default=True, always=True),
    "preemptible": Field(replaces=True, default=False),
    "provisioning_model": NEW,
    "max_run_duration": Field(
        replaces=True,
        fields={"seconds": Field(kind=Int64(), replaces=True), "nanos": NEW},
    ),
}


def _metadata(instance: Any, old: Values, new: Values) -> None:
    now = instance.fetch(new)["metadata"]
    items = Items().write(new["metadata"] or {}, instance.place(new))
    instance.act(new, "setMetadata", {"fingerprint": now.get("fingerprint", ""), "items": items})


def _tags(instance: Any, old: Values, new: Values) -> None:
    body = {"fingerprint": old["tags_fingerprint"], "items": new["tags"] or []}
    instance.act(new, "setTags", body)


def _scheduling(instance: Any, old: Values, new: Values) -> None:
    instance.act(new, "setScheduling", instance.body(new)["scheduling"])


def _access(instance: Any, old: Values, new: Values) -> None:
    """Take the external address, and give the one that is wanted."""
    for interface in instance.live["networkInterfaces"]:
        for config in interface.get("accessConfigs", ()):
            given = {"accessConfig": config["name"], "networkInterface": interface["name"]}
            instance.act(new, "deleteAccessConfig", **given)
    for interface, had in zip(
        instance.body(new)["networkInterfaces"], instance.live["networkInterfaces"], strict=True
    ):
        for config in interface.get("accessConfigs", ()):
            instance.act(new, "addAccessConfig", config, networkInterface=had["name"])
    instance.live = instance.fetch(new)


def _disks(instance: Any, old: Values, new: Values) -> None:
    """Detach and attach each disk of which anything is another."""
    before, after = (instance.body(values)["disks"][1:] for values in (old, new))
    there = {disk["deviceName"] for disk in instance.live["disks"] if not disk.get("boot")}
    for disk in before:
        if disk not in after and disk["deviceName"] in there:
            instance.act(new, "detachDisk", deviceName=disk["deviceName"])
    for disk in after:
        if disk not in before:
            instance.act(new, "attachDisk", disk)


def _auto_delete(instance: Any, old: Values, new: Values) -> None:
    boot = new["boot_disk"][0]
    given = {"autoDelete": str(boot["auto_delete"]).lower(), "deviceName": boot["device_name"]}
    instance.act(new, "setDiskAutoDelete", **given)


def _boot_disk(instance: Any, new: Values, action: str, body: Document) -> None:
    url = f"{instance.client.settings.endpoint('compute')}{path(new['boot_disk'][0]['source'])}/{action}"
    instance.finish(instance.client.call("POST", url, body), new, f"{action} of boot disk", "update")


def _boot_size(instance: Any, old: Values, new: Values) -> None:
    size = new["boot_disk"][0]["initialize_params"][0]["size"]
    _boot_disk(instance, new, "resize", {"sizeGb": size})


def _boot_labels(instance: Any, old: Values, new: Values) -> None:
    url = instance.client.settings.endpoint("compute") + path(new["boot_disk"][0]["source"])
    print_ = instance.client.get(url)["labelFingerprint"]
    labels = new["boot_disk"][0]["initialize_params"][0]["labels"] or {}
    _boot_disk(instance, new, "setLabels", {"labels": labels, "labelFingerprint": print_})


def _protection(instance: Any, old: Values, new: Values) -> None:
    given = {"deletionProtection": str(bool(new["deletion_protection"])).lower()}
    instance.act(new, "setDeletionProtection", **given)


def _description(instance: Any, old: Values, new: Values) -> None:
    _put(instance, new, {"description": new["description"] or ""})


def _forwarding(instance: Any, old: Values, new: Values) -> None:
    _put(instance, new, {"canIpForward": bool(new["can_ip_forward"])})


def _put(instance: Any, new: Values, changed: Document) -> None:
    now = instance.fetch(new) | changed
    operation = instance.client.call("PUT", instance.url(new), now)
    instance.finish(operation, new, "instance to update", "update")


def _status(instance: Any, old: Values, new: Values) -> None:
    if new["desired_status"]:
        instance.act(new, "start" if new["desired_status"] == "RUNNING" else "stop")


def _machine_type(instance: Any, old: Values, new: Values) -> None:
    kind = Name("machineTypes", "zones").write(new["machine_type"], instance.place(new))
    instance.act(new, "setMachineType", {"machineType": kind})


def _platform(instance: Any, old: Values, new: Values) -> None:
    instance.act(new, "setMinCpuPlatform", {"minCpuPlatform": new["min_cpu_platform"]})


def _account(instance: Any, old: Values, new: Values) -> None:
    found = instance.body(new).get("serviceAccounts") or [{"email": "", "scopes": []}]
    instance.act(new, "setServiceAccount", found[0])


class Instance(Resource):
    """An instance."""

    type = "google_compute_instance"
    noun = "instance"
    collection = "projects/{project}/zones/{zone}/instances"
    table: ClassVar[Table] = {
        "name": NEW,
        "zone": Field(kind=Name("zones", ""), replaces=True, sent=False),
        "hostname": NEW,
        "instance_id": ID,
        "current_status": Field("status", sent=False),
        "desired_status": Field("x-desired", sent=False),
        "allow_stopping_for_update": Field(path=None),
        "can_ip_forward": Field(default=False),
        "deletion_protection": Field(default=False),
        "machine_type": Field(kind=Name("machineTypes", "zones")),
        "metadata": Field("metadata.items", Items()),
        "metadata_fingerprint": Field("metadata.fingerprint"),
        "tags": Field("tags.items", Unordered()),
        "tags_fingerprint": Field("tags.fingerprint"),
        "boot_disk": Field(fields=BOOT),
        "attached_disk": Field(
            "attachedDisks", fields={"source": Field(kind=DISK), "mode": Field(default="READ_WRITE")}
        ),
        "network_interface": Field("networkInterfaces", replaces=True, fields=INTERFACE),
        "scheduling": Field(keeps=True, fields=SCHEDULING),
        "service_account": Field(
            "serviceAccounts", many=True, fields={"scopes": Field(kind=Scopes(), always=True)}
        ),
        "shielded_instance_config": Field(
            keeps=True,
            fields={
                "enable_secure_boot": Field(default=False, always=True),
                "enable_vtpm": Field(default=True, always=True),
                "enable_integrity_monitoring": Field(default=True, always=True),
            },
        ),
    }
    # In the order of the requests.
    changes = (
        Change("description", _description),
        Change("metadata", _metadata),
        Change("tags", _tags),
        Change("labels", set_labels),
        Change("scheduling", _scheduling),
        Change("network_interface.access_config", _access),
        Change("boot_disk.initialize_params.size", _boot_size),
        Change("boot_disk.initialize_params.labels", _boot_labels),
        Change("attached_disk", _disks),
        Change("boot_disk.auto_delete", _auto_delete),
        Change("deletion_protection", _protection),
        Change("can_ip_forward", _forwarding),
        Change("desired_status", _status),
        Change("min_cpu_platform", _platform, stopped=True),
        Change("machine_type", _machine_type, stopped=True),
        Change("service_account", _account, stopped=True),
    )
    live: Document

    def outward(self, document: Document, values: Values) -> Document:
        """Put the disks together, and say what the provider always says."""
        boot = {"boot": True, **document.pop("bootDisk")}
        disks = [boot, *document.pop("attachedDisks", ())]
        for interface in document["networkInterfaces"]:
            for config in interface.get("accessConfigs", ()):
                config["type"] = "ONE_TO_ONE_NAT"
        for account in document.get("serviceAccounts", ()):
            account.setdefault("email", "default")
        document.setdefault("metadata", {})
        document.setdefault("tags", {})
        document["scheduling"] = _strange(document.get("scheduling"))
        return document | {"disks": disks, "params": {}}

    def inward(self, document: Document, before: Values) -> Document:
        """Take the disks apart, in the order of the configuration, with what the boot disk itself says."""
        desired = document.get("status") if before.get("desired_status") else None
        boot = next(disk for disk in document["disks"] if disk.get("boot"))
        itself = self.client.get(self.client.settings.endpoint("compute") + path(boot["source"]))
        params = {"diskSizeGb": itself.get("sizeGb"), "diskType": itself.get("type")}
        params |= {"sourceImage": itself.get("sourceImage"), "labels": itself.get("labels", {})}
        wanted = [disk["source"] for disk in before.get("attached_disk") or ()]
        others = [disk for disk in document["disks"] if not disk.get("boot")]
        others.sort(key=lambda disk: _rank(disk["source"], wanted))
        interfaces = [
            each | {"subnetworkProject": path(each["subnetwork"]).split("/")[1]}
            for each in document["networkInterfaces"]
        ]
        view = {"bootDisk": boot | {"initializeParams": params}, "attachedDisks": others}
        return document | view | {"networkInterfaces": interfaces, "x-desired": desired}

    def customize(self, planned: Values, have: Values | None, replaced: list[Path]) -> None:
        """An instance is made running."""
        if have is None and planned["desired_status"] not in (None, "RUNNING"):
            raise ApiError(None, "When creating an instance, desired_status can only accept RUNNING value")

    def created(self, values: Values) -> None:
        """Wait until it runs, within the time of updates."""
        limit = self.limit(values, "update")
        deadline = time.monotonic() + limit
        while True:
            time.sleep(self.client.settings.poll_interval)
            status = self.fetch(values)["status"]
            if status == "RUNNING":
                return
            if time.monotonic() > deadline:
                late = f"timeout while waiting for state to become 'RUNNING' (timeout: {limit:g}s)"
                what = "Error waiting for instance to reach desired status RUNNING"
                raise ApiError(None, f"Error waiting for status: {what}: {late}")

    def update(self, old: Values, new: Values) -> Values:
        """Change what differs; what needs a stop is done at the end, and the instance started again."""
        self.live = self.fetch(new)
        names = self.changed(old, new)
        stopped = self.due(names, stopped=True)
        for change in self.due(names):
            if not (stopped and change.of == "desired_status"):
                change.make(self, old, new)
        if stopped:
            self._stopped(stopped, old, new)
        return self.present(new)

    def _stopped(self, changes: list[Change], old: Values, new: Values) -> None:
        status, desired = self.live["status"], new["desired_status"]
        if status == "RUNNING" and desired != "TERMINATED" and not new["allow_stopping_for_update"]:
            raise ApiError(None, STOP_IT)
        if status != "TERMINATED":
            self.act(new, "stop")
        for change in changes:
            change.make(self, old, new)
        if (status == "RUNNING" and desired != "TERMINATED") or (status, desired) == (
            "TERMINATED",
            "RUNNING",
        ):
            self.act(new, "start")

    def before_delete(self, values: Values) -> None:
        """Keep one that is protected."""
        if values["deletion_protection"]:
            raise ApiError(
                None,
                f"Cannot delete instance {values['name']}: instance Deletion Protection is enabled. Set "
                'deletion_protection to false for this resource and run "terraform apply" before attempting '
                "to delete it.",
            )


def _strange(given: Document | None) -> Document:
    """Return scheduling as the provider sends it: with texts that are empty, and nulls."""
    if given is None:
        return {"automaticRestart": True}
    return {"instanceTerminationAction": "", "maxRunDuration": None, "nodeAffinities": [None]} | given


def _rank(source: str, wanted: list[str]) -> int:
    return next((at for at, each in enumerate(wanted) if DISK.same(source, each)), len(wanted))
