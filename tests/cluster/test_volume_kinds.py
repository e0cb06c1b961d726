"""Machines that change from one kind to the other: their volumes have to be converted first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoneware.cluster.model import Desired, Observed
from stoneware.cluster.observe import observe
from stoneware.cluster.plan import make_plan
from stoneware.cluster.volume_kinds import check_kinds
from stoneware.errors import InputError
from stoneware.model.capability import Capability
from stoneware.model.resources import DIRECTORY, DISK, Volume
from tests.cluster.support import observation_of, wanted_of
from tests.platforms.memory import MemoryPlatform

pytestmark = pytest.mark.pure
DATA = "shop-db-1-data"


def moved(observed: Observed) -> tuple[Desired, Observed]:
    """Return the cluster with its database in a virtual machine, and what there is."""
    wanted = wanted_of()
    db = wanted.machines["db-1"]
    machine = replace(db, spec=replace(db.spec, vm=True))
    return replace(wanted, machines={**wanted.machines, "db-1": machine}), observed


@pytest.mark.parametrize("kinds", [{}, {DATA: DISK}, {"of-others": DIRECTORY}])
def test_a_volume_that_is_blank_or_of_its_kind_is_no_matter(kinds: dict[str, str]) -> None:
    wanted, observed = moved(replace(observation_of(wanted_of()), kinds=kinds))
    check_kinds(make_plan(wanted, observed), wanted, observed)


def test_a_directory_for_a_virtual_machine_is_refused_before_anything_is_done() -> None:
    wanted, observed = moved(replace(observation_of(wanted_of()), kinds={DATA: DIRECTORY}))
    with pytest.raises(InputError) as caught:
        check_kinds(make_plan(wanted, observed), wanted, observed)
    assert f"`stoneware volume convert {DATA} --to disk`" in caught.value.details
    assert "stoneware stop shop-db-1" in caught.value.details


def test_a_machine_that_stays_as_it_is_boots_nothing() -> None:
    wanted = wanted_of()
    observed = replace(observation_of(wanted), kinds={DATA: DISK})
    check_kinds(make_plan(wanted, observed), wanted, observed)


def test_kinds_are_seen_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = MemoryPlatform()
    platform.create_volume("blank", {}, kind=DISK)
    platform._volumes["used"] = Volume("used", 0.0, {}, (), kind=DISK)
    assert observe(platform, "shop").kinds == {"used": DISK}
    monkeypatch.setattr(platform, "capabilities", frozenset(Capability) - {Capability.VOLUME_KINDS})
    assert observe(platform, "shop").kinds == {}
