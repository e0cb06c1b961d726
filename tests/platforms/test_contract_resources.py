"""What every platform does with volumes, networks and secrets, the one in memory included."""

from __future__ import annotations

import pytest

from stoneware.errors import InputError
from stoneware.model.capability import Capability
from stoneware.model.resources import DIRECTORY, DISK, SecretMount, VolumeMount
from tests.platforms.conftest import Place


def test_volumes_outlive_machines(place: Place) -> None:
    platform, volume = place.platform, f"{place.name}-v"
    made = platform.create_volume(volume, {"a": "1"}, place.volume_size)
    assert (made.name, made.size) == (volume, place.volume_size)
    assert (dict(made.labels), made.machines) == ({"a": "1"}, ())
    assert platform.create_volume(volume, {"b": "2"}) == made  # as it is
    place.boot(volumes=(VolumeMount(volume, "/data"),))
    in_use = platform.volume(volume)
    assert in_use is not None
    assert in_use.machines == (place.name,)
    with pytest.raises(InputError, match="is in use"):
        platform.destroy_volume(volume)
    with pytest.raises(InputError, match="is in use"):
        platform.create(place.spec("2", volumes=(VolumeMount(volume, "/data"),)))
    platform.destroy(place.name)
    platform.label_volume(volume, {"c": "3"})
    for floor in ("2", "10", "9"):
        platform.raise_floor(volume, floor)
    free = platform.volume(volume)
    assert free is not None
    assert (free.machines, dict(free.labels), free.floor) == ((), {"c": "3"}, "10")
    assert volume in [found.name for found in platform.volumes()]
    platform.destroy_volume(volume)
    platform.destroy_volume(volume)
    assert platform.volume(volume) is None


def test_a_volume_gets_back_what_it_had(place: Place) -> None:
    platform, volume = place.platform, f"{place.name}-v"
    if not place.can(Capability.SNAPSHOTS):
        for refused in (
            lambda: platform.snapshot_volume(volume, "one"),
            platform.snapshots,
            lambda: platform.restore_volume(volume, "one"),
            lambda: platform.destroy_snapshot(volume, "one"),
        ):
            with pytest.raises(InputError, match="snapshots of volumes") as caught:
                refused()
            assert caught.value.resolution.startswith("gcloud compute ")
        return
    with pytest.raises(InputError, match="no volume"):
        platform.snapshot_volume(volume, "one")
    platform.create_volume(volume, {"a": "1"})
    made = platform.snapshot_volume(volume, "one")
    assert (made.volume, made.name, made.automatic, made.floor) == (volume, "one", False, "")
    with pytest.raises(InputError, match="has a snapshot 'one'"):
        platform.snapshot_volume(volume, "one")
    platform.raise_floor(volume, "2")
    place.boot(volumes=(VolumeMount(volume, "/data"),))
    with pytest.raises(InputError, match="is in use") as caught:
        platform.restore_volume(volume, "one")
    assert f"stoneware stop {place.name}" in caught.value.resolution
    platform.destroy(place.name)
    kept = platform.restore_volume(volume, "one")
    assert kept is not None
    assert (kept.volume, kept.automatic, kept.floor) == (volume, True, "2")
    restored = platform.volume(volume)
    assert restored is not None
    assert (dict(restored.labels), restored.floor) == ({"a": "1"}, "2")
    assert [one.name for one in platform.snapshots(volume)] == ["one", kept.name]
    platform.destroy_volume(volume)
    assert platform.restore_volume(volume, kept.name) is None  # there is nothing to keep
    again = platform.volume(volume)
    assert again is not None
    assert (dict(again.labels), again.floor) == ({"a": "1"}, "2")
    for _ in range(2):
        for name in ("one", kept.name):
            platform.destroy_snapshot(volume, name)
    assert platform.snapshots(volume) == []
    with pytest.raises(InputError, match="no snapshot 'one'"):
        platform.restore_volume(volume, "one")
    platform.destroy_volume(volume)


def test_a_volume_is_of_one_kind_and_becomes_the_other(place: Place) -> None:
    platform, volume = place.platform, f"{place.name}-v"
    if not place.can(Capability.VOLUME_KINDS):
        for refused in (
            lambda: platform.resize_volume(volume, 1 << 30),
            lambda: platform.convert_volume(volume, DISK),
        ):
            with pytest.raises(InputError, match="disks or directories"):
                refused()
        return
    for missing in (
        lambda: platform.resize_volume(volume, 1 << 30),
        lambda: platform.convert_volume(volume, DISK),
    ):
        with pytest.raises(InputError, match="no volume"):
            missing()
    assert platform.create_volume(volume, {"a": "1"}).kind == DIRECTORY
    with pytest.raises(InputError, match="is a directory"):
        platform.resize_volume(volume, 1 << 30)
    platform.convert_volume(volume, DISK, 1 << 30)
    platform.resize_volume(volume, 2 << 30)
    with pytest.raises(InputError, match="only grows"):
        platform.resize_volume(volume, 1 << 30)
    disk = platform.volume(volume)
    assert disk is not None
    assert (disk.kind, disk.size, dict(disk.labels)) == (DISK, 2 << 30, {"a": "1"})
    with pytest.raises(InputError, match="a disk already"):
        platform.convert_volume(volume, DISK)
    platform.destroy_volume(volume)


def test_networks_stay_while_they_have_machines(place: Place) -> None:
    platform, network = place.platform, f"{place.name}-n"
    made = platform.create_network(network, {"a": "1"})
    assert platform.create_network(network, {"b": "2"}) == made
    with pytest.raises(InputError, match="network"):
        platform.create(place.spec("2", networks=(f"{place.name}-none",)))
    place.boot(networks=(network,))
    assert platform.network(network) is not None
    with pytest.raises(InputError, match="has machines"):
        platform.destroy_network(network)
    own = place.can(Capability.OWN_NETWORKS)
    if own:
        _gets_and_loses_subnets(place, network)
    else:
        with pytest.raises(InputError, match=r"internal|range"):
            platform.change_network(network, {}, internal=True)
    platform.destroy(place.name)
    platform.change_network(network, {"c": "3"}, internal=own)
    free = platform.network(network)
    assert free is not None
    assert (free.machines, dict(free.labels), free.internal) == ((), {"c": "3"}, own)
    assert network in [found.name for found in platform.networks()]
    platform.destroy_network(network)
    platform.destroy_network(network)
    assert platform.network(network) is None


def _gets_and_loses_subnets(place: Place, network: str) -> None:
    platform = place.platform
    platform.change_network(network, {"c": "3"}, internal=True)
    platform.change_network(
        network, {"c": "3"}, internal=True, subnets=("198.18.250.0/28", "198.18.251.0/28")
    )
    there = platform.network(network)
    assert there is not None
    assert there.subnets == ("198.18.250.0/28", "198.18.251.0/28")
    asking = place.spec("2", networks=(network,), addresses={network: "198.18.251.5"})
    assert platform.create(asking).ip == "198.18.251.5"
    with pytest.raises(InputError, match="cannot lose the subnet"):
        platform.change_network(network, {"c": "3"}, internal=True, subnets=("198.18.250.0/28",))
    platform.destroy(asking.name)


def test_a_secrets_version_tells_its_value(place: Place) -> None:
    platform, name = place.platform, place.secret_name("s")
    first, second = place.secret("s", b"one"), place.secret("s", b"two")
    assert first != second
    assert place.secret("s", b"two") == second
    assert platform.secret_version(name, b"two") == second
    assert platform.secret_version(name, b"three") is None
    assert platform.has_secret(name, second)
    assert not platform.has_secret(name, "another")
    platform.destroy_secret(name)
    platform.destroy_secret(name)
    assert not platform.has_secret(name, second)
    with pytest.raises(InputError, match="no secret"):
        platform.create(place.spec(secrets=(SecretMount(name, "/run/secrets/s", second),)))
