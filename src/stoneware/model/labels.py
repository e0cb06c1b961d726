"""Labels with a meaning of ours, on machines, volumes, networks and images."""

from __future__ import annotations

from collections.abc import Mapping

OWN_LABELS = "stoneware."  # what those begin with that nobody else sets on machines and disks
# Of machines; the first of a cluster's volumes and networks as well.
CLUSTER_LABEL = "stoneware.cluster"
SERVICE_LABEL = "stoneware.service"
SLOT_LABEL = "stoneware.slot"  # its number in the service
MACHINE_LABEL = "stoneware.machine"  # its name in the cluster

DAMAGED_LABEL = "stoneware.damaged"  # of a volume or network in a list, whose own labels cannot be read

# Of images.
RELOAD_LABEL = "stoneware.reload"  # the command that takes a new configuration on while the machine runs
STOP_TIMEOUT_LABEL = "stoneware.stop-timeout"  # an image's own default of --stop-timeout: `90s`, `5m`
VERSION_LABELS = ("stoneware.version", "org.opencontainers.image.version")
FLOOR_LABEL = "stoneware.rollback-floor"
FINALIZE_LABEL = "stoneware.finalize"  # the command of `rollout finalize`
KERNEL_LABEL = "stoneware.kernel"  # which kernel an image gets where it is made a disk
KERNELS = ("cloud", "generic", "none")  # the first is what an image without the label gets


def kernel_problem(labels: Mapping[str, str]) -> str:
    """Return what is wrong with the kernel that labels of an image ask for; nothing where all is well."""
    kernel = labels.get(KERNEL_LABEL, KERNELS[0])
    return "" if kernel in KERNELS else f"there is no {KERNEL_LABEL}={kernel}"
