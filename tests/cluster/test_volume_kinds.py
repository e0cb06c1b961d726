"""Machines that change from one kind to the other, with their volumes; volumes that grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from stoneware.cluster.drift import find_drift
from stoneware.cluster.model import Action, Desired, Observed
from stoneware.cluster.observe import observe
from stoneware.cluster.plan import make_plan
from stoneware.cluster.tfvars import from_tfvars, to_tfvars
from stoneware.cluster.volume_kinds import check_kinds
from stoneware.cluster.volume_sizes import check_sizes
from stoneware.errors import InputError
from stoneware.model.capability import Capability
from stoneware.model.machine import Phase
from stoneware.model.resources import DIRECTORY, DISK, Volume
from tests.cluster.support import observation_of, wanted_of
from tests.platforms.memory import MemoryPlatform

pytestmark = pytest.mark.pure
DATA = "shop-db-1-data"
_GIB = 1 << 30


def moved(observed: Observed) -> tuple[Desired, Observed]:
    """Return the cluster with its database in a virtual machine, and what there is."""
    wanted = wanted_of()
    db = wanted.machines["db-1"]
    machine = replace(db, spec=replace(db.spec, vm=True))
    return replace(wanted, machines={**wanted.machines, "db-1": machine}), observed


def reasons_of(wanted: Desired, observed: Observed, kind: str, name: str) -> tuple[Action, str]:
    [step] = [it for it in make_plan(wanted, observed).steps if (it.kind, it.name) == (kind, name)]
    return step.action, "; ".join(step.reasons)


def fine(wanted: Mapping[str, str]) -> dict[str, list[str]]:
    return {}


def refuse(wanted: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: ["no"] for name in wanted}


@pytest.mark.parametrize("kinds", [{}, {DATA: DISK}, {"of-others": DIRECTORY}])
def test_a_volume_that_is_blank_or_of_its_kind_is_no_matter(kinds: dict[str, str]) -> None:
    wanted, observed = moved(replace(observation_of(wanted_of()), kinds=kinds))
    check_kinds(make_plan(wanted, observed), wanted, observed, refuse)
    assert "converts" not in reasons_of(wanted, observed, "machine", "db-1")[1]


def test_a_volume_of_the_cluster_is_converted_and_the_plan_says_so() -> None:
    wanted, observed = moved(replace(observation_of(wanted_of()), kinds={DATA: DIRECTORY}))
    check_kinds(make_plan(wanted, observed), wanted, observed, fine)
    action, reasons = reasons_of(wanted, observed, "machine", "db-1")
    assert action is Action.REPLACE
    assert f"converts its volume {DATA}: directory → disk, with all that is on it" in reasons
    gone = replace(observed, machines={k: it for k, it in observed.machines.items() if k != "db-1"})
    assert "converts" in reasons_of(wanted, gone, "machine", "db-1")[1]


def test_what_keeps_it_from_being_converted_is_said_before_anything_is_done() -> None:
    wanted, observed = moved(replace(observation_of(wanted_of()), kinds={DATA: DIRECTORY}))
    with pytest.raises(InputError) as caught:
        check_kinds(make_plan(wanted, observed), wanted, observed, refuse)
    assert caught.value.details == f"db-1 needs the volume {DATA} to be a disk: no"


def test_a_volume_of_somebody_else_is_left_to_them() -> None:
    wanted, observed = moved(replace(observation_of(wanted_of()), kinds={DATA: DIRECTORY}))
    observed = replace(observed, volumes=observed.volumes - {DATA})
    with pytest.raises(InputError) as caught:
        check_kinds(make_plan(wanted, observed), wanted, observed, fine)
    assert f"`stoneware volume convert {DATA} --to disk`" in caught.value.details
    assert "stoneware stop shop-db-1" in caught.value.details


def test_a_machine_that_stays_as_it_is_boots_nothing() -> None:
    wanted = wanted_of()
    observed = replace(observation_of(wanted), kinds={DATA: DISK})
    check_kinds(make_plan(wanted, observed), wanted, observed, fine)
    assert reasons_of(wanted, observed, "machine", "db-1") == (Action.NONE, "")


def test_one_that_is_down_is_made_again_for_a_volume_of_the_other_kind() -> None:
    wanted = wanted_of()
    observed = replace(observation_of(wanted), kinds={DATA: DISK})
    db = observed.machines["db-1"]
    down = replace(db, machine=replace(db.machine, phase=Phase.STOPPED, exit_code=0))
    observed = replace(observed, machines={**observed.machines, "db-1": down})
    action, reasons = reasons_of(wanted, observed, "machine", "db-1")
    assert (action, reasons.startswith("stopped; converts its volume")) == (Action.REPLACE, True)


def test_kinds_are_seen_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = MemoryPlatform()
    platform.create_volume("blank", {}, kind=DISK)
    platform._volumes["used"] = Volume("used", 0.0, {}, (), size=_GIB, kind=DISK)
    platform.create_volume("plain", {}, 5)
    found = observe(platform, "shop")
    assert (found.kinds, found.disks, found.limits) == (
        {"used": DISK},
        {"blank": 0, "used": _GIB},
        {"plain": 5},
    )
    monkeypatch.setattr(platform, "capabilities", frozenset(Capability) - {Capability.VOLUME_KINDS})
    found = observe(platform, "shop")
    # What is a disk has its size there, too, and may grow.
    assert (found.kinds, found.disks, found.limits) == ({}, {"blank": 0, "used": _GIB}, {})


def sized(size: int | None) -> Desired:
    wanted = wanted_of()
    volume = replace(wanted.volumes[DATA], size=size, place="machines.yaml:9:7")
    return replace(wanted, volumes={**wanted.volumes, DATA: volume})


@pytest.mark.parametrize(
    ("disk", "limit", "size", "words"),
    [
        (_GIB, 0, 2 * _GIB, "grows from 1 GiB to 2 GiB, and what is on it stays"),
        (_GIB, 0, 1536 << 20, "grows from 1 GiB to 1536 MiB, and what is on it stays"),
        (3 * _GIB, 0, 2 * _GIB, ""),  # by `volume resize`
        (_GIB, 0, None, ""),
        (0, _GIB, 2 * _GIB, "may take 2 GiB instead of 1 GiB"),
        (0, 2 * _GIB, _GIB, "may take 1 GiB instead of 2 GiB"),
        (0, None, 5, "may take 5 bytes"),
        (0, 5, None, ""),
        (0, 0, 5, ""),  # a platform without sizes
    ],
)
def test_a_size_that_changes_is_a_line_of_the_plan(
    disk: int, limit: int | None, size: int | None, words: str
) -> None:
    disks, limits = ({DATA: disk} if disk else {}), ({} if limit == 0 else {DATA: limit})
    observed = replace(observation_of(wanted_of()), disks=disks, limits=limits)
    action = Action.UPDATE if words else Action.NONE
    assert reasons_of(sized(size), observed, "volume", DATA) == (action, words)
    drift = find_drift(sized(size), observed, [], MemoryPlatform().infrastructure).items
    assert [(item.machine, item.what) for item in drift] == ([(DATA, "size")] if words else [])


def test_a_disk_never_becomes_smaller() -> None:
    observed = replace(observation_of(wanted_of()), disks={DATA: 3 * _GIB})
    check_sizes(sized(_GIB), observed, None)  # it is not known what was asked for before
    check_sizes(sized(_GIB), observed, sized(_GIB))  # grown by hand
    with pytest.raises(InputError, match="a disk only grows") as caught:
        check_sizes(sized(_GIB), observed, sized(2 * _GIB))
    assert (caught.value.location, caught.value.resolution) == (
        "machines.yaml:9:7",
        "write size: 3g, or more",
    )


def test_the_size_that_was_applied_is_kept() -> None:
    written = to_tfvars(sized(_GIB), None, ["db-1"])
    assert written["volumes"][DATA]["size"] == _GIB
    assert from_tfvars("shop", written).volumes[DATA].size == _GIB
