"""Records of machines, and a platform over them that nothing runs on."""

from __future__ import annotations

from stoneware.files import write_json
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import SecretMount
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.platform import LocalPlatform

MOUNT = SecretMount("x-key", "key", "v1", 0o440)


def machine(platform: LocalPlatform, spec: MachineSpec) -> Paths:
    """Write a machine's records as `create` does."""
    paths = Paths(platform.store.data / "machines" / spec.name)
    paths.root.mkdir()
    write_json(paths.root / "spec.json", machine_record.spec_document(spec))
    write_json(paths.root / "metadata.json", {"attributes": dict(spec.metadata)})
    return paths
