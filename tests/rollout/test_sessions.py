"""Rollouts from begin to end, over machines in memory and the real Terraform."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stoneware.compose.model import FailureAction
from stoneware.errors import HostError, InputError
from stoneware.platforms.cluster_files import FileLog
from stoneware.platforms.cluster_records import Document
from stoneware.rollout.history import history
from stoneware.rollout.image_retention import wanted_images
from stoneware.rollout.journal import Event
from stoneware.rollout.lock import RolloutUnfinished, check_unlocked, read_lock
from stoneware.rollout.prepare import prepare
from stoneware.rollout.session import RolloutBlocked, latest
from stoneware.rollout.state import Mode, Outcome
from tests.rollout.bench import FAST, RolloutBench, app, image_id
from tests.rollout.simulation import Killed

pytestmark = pytest.mark.tool


def test_machines_are_replaced_one_by_one(bench: RolloutBench) -> None:
    disks = bench.volumes()
    addresses = {machine.name: machine.id for machine in bench.platform.machines()}
    state = bench.rollout(app("app:2"))
    assert state is not None
    assert state.outcome is Outcome.COMPLETED
    assert bench.running() == {"app-1": "2", "app-2": "2", "db-1": "d", "web-1": "e"}
    calls = [call for call in bench.platform.calls if call.split()[0] in ("stop", "destroy", "create")]
    assert [call.split()[:2] for call in calls] == [
        [verb, f"shop-app-{slot}"] for slot in (1, 2) for verb in ("stop", "destroy", "create")
    ]
    assert bench.volumes() == disks
    same = {machine.name for machine in bench.platform.machines() if addresses[machine.name] == machine.id}
    assert same == {"shop-db-1", "shop-web-1"}
    assert not (bench.site.directory("shop").path / Document.DRIVER).exists()
    assert bench.rollout(app("app:2")) is None
    assert bench.preview(app("app:2")).nothing
    assert bench.variables()["machines"]["app-1"]["source"] == f"image:{image_id('2')}"


def test_a_config_is_reloaded_in_place(bench: RolloutBench) -> None:
    before = {machine.name: machine.id for machine in bench.platform.machines()}
    state = bench.rollout({"services": {"web": {"environment": {"COLOUR": "blue"}}}})
    assert state is not None
    assert state.outcome is Outcome.COMPLETED
    assert {machine.name: machine.id for machine in bench.platform.machines()} == before
    assert not any(call.startswith(("stop", "create")) for call in bench.platform.calls)
    assert "blue" in bench.spec("shop-web-1").metadata["stoneware-config"]


def test_a_failing_image_goes_back(bench: RolloutBench) -> None:
    bench.platform.bad_images.add(image_id("2"))
    state = bench.rollout(app("app:2"))
    assert state is not None
    assert state.outcome is Outcome.ROLLED_BACK
    assert "the broker cannot start" in state.reason
    assert bench.running()["app-1"] == "1"
    assert bench.variables()["machines"]["app-1"]["source"] == f"image:{image_id('1')}"
    assert not (bench.site.directory("shop").path / Document.DRIVER).exists()
    assert bench.preview().nothing
    [row] = history(bench.journal(), 0.0)
    assert (row.outcome, row.machines[0].result, row.machines[1].result) == (
        "rolled back",
        "returned",
        "pending",
    )


def test_a_kill_at_any_line_is_resumed(bench: RolloutBench) -> None:
    images = ["app:2", "app:1"]
    for line in range(1, 30):
        wanted = images[(line + 1) % 2]
        try:
            bench.rollout(app(wanted), kill_after=line)
        except Killed:
            if bench.journal()[-1].name == "ended":  # killed before the mark was removed
                check_unlocked(bench.site.directory("shop"))
                assert bench.rollout(app(wanted)) is None
                return
            with pytest.raises(RolloutUnfinished):
                bench.rollout(app(wanted))
            state = bench.session().resume()
            assert state.outcome is Outcome.COMPLETED, line
            assert set(bench.running().values()) == {wanted[-1], "d", "e"}
            assert bench.preview(app(wanted)).nothing
    pytest.fail("it never ended")


def test_a_killed_rollout_is_returned(bench: RolloutBench) -> None:
    with pytest.raises(Killed):
        bench.rollout(app("app:2"), kill_after=7)  # the second machine is being stopped
    assert bench.running()["app-1"] == "2"
    state = bench.session().roll_back()
    assert state is not None
    assert state.outcome is Outcome.ROLLED_BACK
    assert bench.running()["app-1"] == bench.running()["app-2"] == "1"
    assert bench.preview().nothing


def test_nothing_else_changes_a_cluster_meanwhile(bench: RolloutBench) -> None:
    with pytest.raises(Killed):
        bench.rollout(app("app:2"), kill_after=2)
    directory = bench.site.directory("shop")
    with pytest.raises(RolloutUnfinished) as told:
        check_unlocked(directory)
    lock = read_lock(directory)
    assert lock is not None
    assert lock.alive
    assert str(lock.pid) in told.value.details
    path = directory.path / Document.DRIVER
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": 1}))
    with pytest.raises(RolloutUnfinished) as told:
        bench.rollout(app("app:2"))
    assert "is gone" in told.value.details
    assert "rollout resume" in told.value.resolution
    bench.session().resume()
    check_unlocked(directory)


def test_a_mark_without_a_first_line_is_no_rollout(bench: RolloutBench) -> None:
    path = bench.site.directory("shop").path / Document.DRIVER
    path.write_text(json.dumps({"rollout": "r1", "who": "me", "host": "here", "pid": 1, "since": "now"}))
    state = bench.rollout(app("app:2"))
    assert state is not None
    assert state.outcome is Outcome.COMPLETED


def test_pause_and_abort_without_a_driver(bench: RolloutBench) -> None:
    with pytest.raises(InputError):
        bench.session().pause()
    with pytest.raises(Killed):
        bench.rollout(app("app:2"), kill_after=2)
    assert "paused" in bench.session().pause()
    assert "already" in bench.session().pause()
    assert "app-1" in bench.session().abort()
    state = latest(bench.site.directory("shop"))
    assert state is not None
    assert (state.mode, state.outcome) == (Mode.ENDED, Outcome.ABORTED)
    with pytest.raises(InputError):
        bench.session().resume()


def test_a_living_driver_is_asked(bench: RolloutBench) -> None:
    # The driver is this process: it holds the lock, and takes the request between two machines.
    asked: list[str] = []

    def ask(event: Event, state: object) -> None:
        if event.name == "stopping" and not asked:
            asked.append(bench.session().pause())

    session = bench.session()
    session.observer.event = ask  # type: ignore[method-assign]
    state = session.begin(lambda: prepare(bench.file(app("app:2")), bench.site, bench.environment))
    assert state is not None
    assert state.mode is Mode.PAUSED
    assert "asked process" in asked[0]
    assert bench.running()["app-1"] == "2"
    assert bench.running()["app-2"] == "1"
    assert bench.session().resume().outcome is Outcome.COMPLETED


def test_variables_edited_by_hand_are_noticed(bench: RolloutBench) -> None:
    bench.edit("db-1", memory=1_000_000_000)
    text = bench.site.directory("shop").path.joinpath(Document.DECLARED).read_text()
    state = bench.rollout(app("app:2"))
    assert state is not None
    assert state.mode is Mode.PAUSED
    assert 'stoneware_machine.machine["db-1"]' in state.reason
    assert "edited by hand" in state.reason
    assert bench.variables() == json.loads(text)
    assert bench.running()["app-1"] == "1"
    bench.edit("db-1", memory=None)
    assert bench.session().resume().outcome is Outcome.COMPLETED


def test_a_config_edited_by_hand_is_noticed_as_well(bench: RolloutBench) -> None:
    metadata = {**bench.variables()["machines"]["web-1"]["metadata"], "stoneware-config": "COLOUR=green\n"}
    bench.edit("web-1", metadata=metadata)
    state = bench.rollout(app("app:2"))
    assert state is not None
    assert state.mode is Mode.PAUSED
    assert "web-1" in state.reason
    assert "green" not in bench.spec("shop-web-1").metadata["stoneware-config"]


def test_an_image_edited_by_hand_blocks(bench: RolloutBench) -> None:
    bench.edit("app-1", source=f"image:{image_id('4')}")
    with pytest.raises(RolloutBlocked) as told:
        bench.rollout(app("app:2"))
    assert "edited by hand" in told.value.details


def test_machines_of_others_stay_as_they_are(bench: RolloutBench) -> None:
    bench.platform.bad_images.add(image_id("2"))
    bench.update = replace(FAST, parallelism=2)
    bench.platform.destroy("shop-web-1")
    state = bench.rollout(app("app:2"))
    assert state is not None
    assert state.outcome is Outcome.ROLLED_BACK
    # One that is gone is made before any other goes down, and has nothing to go back from.
    assert bench.running() == {"app-1": "1", "app-2": "1", "db-1": "d", "web-1": "e"}
    assert "web-1" in bench.variables()["machines"]


def test_canary(bench: RolloutBench) -> None:
    with pytest.raises(InputError):
        bench.rollout(app("app:2"), canary=["app-7"])
    with pytest.raises(InputError):
        bench.rollout(app("app:2"), canary=["db-1"])
    bench.yes = False
    state = bench.rollout(app("app:2"), canary=["app-2"])
    assert state is not None
    assert state.mode is Mode.HOLDING
    assert bench.running()["app-2"] == "2"
    assert bench.running()["app-1"] == "1"
    assert bench.session().resume().outcome is Outcome.COMPLETED
    assert bench.running()["app-1"] == "2"


def test_images_that_are_needed(bench: RolloutBench) -> None:
    assert set(wanted_images(bench.site.clusters)) == {image_id(digit) for digit in "1de"}
    with pytest.raises(Killed):
        bench.rollout(app("app:2"), kill_after=2)
    assert "has not ended" in wanted_images(bench.site.clusters)[image_id("2")]
    bench.session().resume()
    assert "rollback" in wanted_images(bench.site.clusters)[image_id("1")]
    bench.rollout(app("app:4"))
    assert set(wanted_images(bench.site.clusters)) == {image_id(digit) for digit in "24de"}


def test_a_full_disk_stops_before_acting(bench: RolloutBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FileLog, line: bytes) -> None:
        if b'"stopping"' in line:
            raise OSError(28, "No space left on device")
        write(self, line)

    write = FileLog._write
    monkeypatch.setattr(FileLog, "_write", full)
    with pytest.raises(HostError) as told:
        bench.rollout(app("app:2"))
    assert "resume" in told.value.resolution
    assert not any(call.startswith("stop") for call in bench.platform.calls)
    monkeypatch.undo()
    assert bench.session().resume().outcome is Outcome.COMPLETED


def test_pausing_is_what_a_failure_does_by_default(bench: RolloutBench) -> None:
    bench.update = replace(FAST, failure_action=FailureAction.PAUSE)
    bench.platform.bad_images.add(image_id("2"))
    state = bench.rollout(app("app:2"))
    assert state is not None
    assert state.mode is Mode.PAUSED
    lock = read_lock(bench.site.directory("shop"))
    assert lock is not None  # it stays until somebody acts
    bench.platform.bad_images.clear()
    assert bench.session().resume().outcome is Outcome.COMPLETED
