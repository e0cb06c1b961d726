"""Rollbacks to releases, and what is final: the limits of a rollback, and disks."""

from __future__ import annotations

from typing import Any

import pytest

from stoneware.cluster.rollback_limits import BelowFloor
from stoneware.errors import InputError, MachineError
from stoneware.model.capability import Capability
from stoneware.rollout.finalize import finalize, preview_finalize
from stoneware.rollout.history import history
from stoneware.rollout.image_retention import wanted_images
from stoneware.rollout.journal import journal_of
from stoneware.rollout.returning import prepare_return
from stoneware.rollout.session import RolloutBlocked
from stoneware.rollout.state import Outcome
from tests.rollout.bench import RolloutBench, app, image_id
from tests.rollout.simulation import Killed

pytestmark = pytest.mark.tool


def test_rollback_to_what_was_before_and_to_a_release(bench: RolloutBench) -> None:
    with pytest.raises(InputError):
        bench.rollback()
    bench.rollout(app("app:2"))
    bench.rollout(app("app:2", environment={"LOG_LEVEL": "debug"}))
    bench.rollout(app("app:4", environment={"LOG_LEVEL": "debug"}))
    state = bench.rollback()
    assert state is not None
    assert state.outcome is Outcome.COMPLETED
    assert bench.running()["app-1"] == "2"
    assert "debug" in bench.spec("shop-app-1").metadata["stoneware-config"]
    bench.rollback("r1")
    assert "info" in bench.spec("shop-app-1").metadata["stoneware-config"]
    assert bench.preview(app("app:2")).nothing
    with pytest.raises(InputError) as told:
        bench.rollback("r9")
    assert "r1" in told.value.details
    kinds = [(row.kind, row.outcome) for row in history(bench.journal(), 0.0)]
    assert kinds == [*[("rollout", "completed")] * 3, *[("rollback", "completed")] * 2]


def test_a_rollback_after_an_automatic_one_does_nothing(bench: RolloutBench) -> None:
    bench.rollout(app("app:2"))
    bench.platform.bad_images.add(image_id("4"))
    state = bench.rollout(app("app:4"))
    assert state is not None
    assert state.outcome is Outcome.ROLLED_BACK
    planned = prepare_return(bench.site, "shop")
    assert planned.nothing
    assert planned.notes == (
        "the last rollout, r2, was rolled back and has left nothing changed; "
        "to before r1: stoneware rollback r0",
    )
    assert bench.rollback() is None
    assert bench.running()["app-1"] == "2"
    assert image_id("1") in wanted_images(bench.site.clusters)
    bench.rollback("r0")
    assert bench.running()["app-1"] == "1"


def test_replicas_that_came_or_went_since_are_named(bench: RolloutBench) -> None:
    bench.rollout(app("app:2"))
    bench.up(app("app:2", replicas=3))
    planned = prepare_return(bench.site, "shop")
    assert [change.machine for change in planned.plan.changes] == ["app-1", "app-2"]
    [note] = planned.notes
    assert note.startswith("app-3 was added since")
    assert "app:2" in note
    bench.up(app("app:2", replicas=1))
    [note] = prepare_return(bench.site, "shop").notes
    assert note.startswith("app-2 is not there any more")
    bench.rollback()
    assert bench.running() == {"app-1": "1", "db-1": "d", "web-1": "e"}

    made = bench.rollout(app("app:1", replicas=2))  # a replica without a disk: a rollout may make it
    assert made is not None
    [note] = prepare_return(bench.site, "shop").notes
    assert note.startswith("app-2 was added since")


def test_all_that_was_declared_comes_back(bench: RolloutBench) -> None:
    def declared() -> list[tuple[object, ...]]:
        specs = [bench.spec(f"shop-app-{slot}") for slot in (1, 2)]
        return [(one.secrets[0].version, one.memory, one.labels.get("tier")) for one in specs]

    before, versions = declared(), bench.variables()["machines"]["app-1"]["secrets"]
    bench.secret = "another-battery"
    wanted = app("app:1", memory=1 << 29, labels={"tier": "x"})
    with pytest.raises(Killed):  # the second machine is being stopped
        bench.rollout(wanted, kill_after=7)
    assert declared()[0] != before[0]
    state = bench.session().roll_back()
    assert state is not None
    assert state.outcome is Outcome.ROLLED_BACK
    assert declared() == before

    state = bench.rollout(wanted)
    assert state is not None
    assert declared()[0][1:] == (1 << 29, "x")
    after = declared()
    bench.rollback()
    assert declared() == before
    assert bench.variables()["machines"]["app-1"]["secrets"] == versions
    bench.rollback()  # a rollout as well, so it can be returned from
    assert declared() == after
    assert bench.preview(wanted).nothing


def test_finalize_and_the_floor(bench: RolloutBench) -> None:
    with pytest.raises(InputError):
        preview_finalize(bench.site, "shop")
    bench.own = {"finalize_after": "1h"}
    bench.rollout(app("app:3"))
    with pytest.raises(InputError) as early:
        finalize(bench.site, "shop")
    assert "--now" in early.value.resolution
    bench.platform.commands = lambda *_: (7, "not yet")
    with pytest.raises(MachineError) as failed:
        finalize(bench.site, "shop", now=True)
    assert (
        failed.value.details
        == "raise\nnot yet\n3 is the lowest version from now on, for what it may have done."
    )
    with pytest.raises(RolloutBlocked):  # the command may have written something before it failed
        bench.rollback()
    bench.platform.commands = lambda *_: (0, "raised")
    [done] = finalize(bench.site, "shop", now=True)
    assert (done.service, done.floor, done.output) == ("app", "3", "raised")
    assert finalize(bench.site, "shop") == []
    assert "run shop-app-1 /bin/sh -c raise" in bench.platform.calls
    with pytest.raises(RolloutBlocked) as told:
        bench.rollback()
    assert "3 is the lowest" in told.value.details
    assert told.value.resolution.startswith("use an image of that version or a later one")
    with pytest.raises(RolloutBlocked):
        bench.rollout(app("app:2"))
    state = bench.rollout(app("app:4"))
    assert state is not None
    assert state.outcome is Outcome.COMPLETED
    state = bench.rollback()
    assert state is not None
    assert bench.running()["app-1"] == "3"


def test_a_floor_belongs_to_the_disks(bench: RolloutBench) -> None:
    disk = {"volumes": {"/data": "data"}}
    bench.up(app("app:1", **disk), recreate=True)
    bench.rollout(app("app:3", **disk))
    found: list[dict[str, str]] = []

    def killed(*_: Any) -> tuple[int, str]:
        found.append({volume.name: volume.floor for volume in bench.platform.volumes()})
        raise KeyboardInterrupt

    bench.platform.commands = killed
    with pytest.raises(KeyboardInterrupt):
        finalize(bench.site, "shop")
    [floors] = found  # as they are when the command begins
    assert (floors["shop-app-1-data"], floors["shop-app-2-data"]) == ("3", "3")
    assert set(floors.values()) == {"3", ""}

    def refused(file: dict[str, Any], **options: Any) -> None:
        bench.platform.calls.clear()
        with pytest.raises(BelowFloor) as told:
            bench.up(file, **options)
        assert "app-1 would boot an image without a version on the disk shop-app-1-data" in str(
            told.value.details
        )
        assert bench.platform.calls == []

    refused(app("app:1", **disk), recreate=True)
    refused(app("app:1", **disk, replicas=1), recreate=True)
    bench.down()
    refused(app("app:1", **disk))
    bench.up(app("app:4", **disk))
    bench.platform.stop("shop-app-1")
    refused(app("app:1", **disk))
    with pytest.raises(RolloutBlocked):
        bench.rollout(app("app:2", **disk))
    bench.down(volumes=True)
    bench.up(app("app:1", **disk))


def test_finalize_takes_a_command_of_the_image_where_there_is_no_way_in(
    bench: RolloutBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.rollout(app("app:3"))
    kept = bench.platform.capabilities - {Capability.COMMANDS}
    monkeypatch.setattr(bench.platform, "capabilities", kept)
    before = len(journal_of(bench.site.directory("shop")).read())
    with pytest.raises(InputError, match="cannot run LABEL"):
        finalize(bench.site, "shop", now=True)
    assert len(journal_of(bench.site.directory("shop")).read()) == before


def test_finalize_refuses_where_a_machine_is_not_well(bench: RolloutBench) -> None:
    bench.rollout(app("app:3"))
    bench.platform.stop("shop-app-2")
    with pytest.raises(InputError) as told:
        finalize(bench.site, "shop")
    assert "app-2" in told.value.brief


def test_a_new_disk_is_refused(bench: RolloutBench) -> None:
    with pytest.raises(RolloutBlocked) as told:
        bench.rollout(app("app:5"))
    assert "/var/lib/new" in told.value.details
    planned = bench.preview({"services": {"app": {"replicas": 3}}})
    assert planned.blocked == ()  # it has no disk, so a rollout may make it
    db = bench.preview({"services": {"db": {"image": "app:2", "environment": {"NODE_ID": "1"}}}})
    assert any("would not have it any more" in text for text in db.blocked)
