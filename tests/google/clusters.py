"""Clusters for tests of the platform google: what is declared of them, as the cluster module gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stoneware.model.labels import CLUSTER_LABEL, MACHINE_LABEL, SERVICE_LABEL, SLOT_LABEL
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import PortMapping, VolumeMount
from stoneware.platforms.google.settings import Settings
from stoneware.terraform import variables

IMAGES = "https://www.googleapis.com/compute/v1/projects/debian-cloud/global/images"
SETTINGS = Settings(
    "proj-1", "us-central1", "bucket", ("us-central1-a", "us-central1-b"), subnetwork="default"
)


def spec(number: int, digit: str = "1", **changes: Any) -> MachineSpec:
    """Return the spec of a broker; `digit` tells its image."""
    short, full = f"kafka-{number}", f"shop-kafka-{number}"
    labels = {CLUSTER_LABEL: "shop", SERVICE_LABEL: "kafka", SLOT_LABEL: str(number), MACHINE_LABEL: short}
    made = MachineSpec(
        full,
        f"image:sha256:{digit * 64}",
        hostname=f"{short}.shop.internal",
        metadata={"stoneware-config": f"NODE_ID={number}\n", "stoneware-mode": "run"},
        volumes=(VolumeMount(f"{full}-data", "/var/lib/kafka"),),
        ports=(PortMapping("127.0.0.1", 9090 + number, 9092),),
        networks=("shop-default",),
        names=("kafka", short),
        image_ref="kafka:4",
        labels=labels,
        extras={"machine_type": "e2-small"},
    )
    return replace(made, **changes)


def declared(
    *specs: MachineSpec, recreate_on: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """Return what the cluster layer declares of machines with these specs."""
    machines = {
        one.labels[MACHINE_LABEL]: variables.machine(
            one, recreate_on=(recreate_on or {}).get(one.labels[MACHINE_LABEL], "")
        )
        for one in specs
    }
    return {
        "networks": {"shop-default": variables.network({CLUSTER_LABEL: "shop"}, internal=False)},
        "volumes": {mount.volume: variables.volume(one.labels, {}) for one in specs for mount in one.volumes},
        "machines": machines,
        "hosts": {
            one.labels[MACHINE_LABEL]: variables.host(one, int(one.labels[SLOT_LABEL])) for one in specs
        },
    }
