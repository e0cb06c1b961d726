"""The driver against builders that fail in every way they can, on a clock of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from stoneware.bake.events import StepFailed, StepFinished, StepOutput
from stoneware.errors import BuildError, HostError, MachineError
from stoneware.machinefile.recipe import Mount
from stoneware.model import guest_protocol
from stoneware.model.machine import Phase
from tests.bake.scripted import NAME, TOKEN, ScriptedPlatform, Told, driver
from tests.platforms.memory import MemoryBuilder


@pytest.fixture
def platform() -> ScriptedPlatform:
    return ScriptedPlatform()


@pytest.fixture
def told() -> Told:
    return Told()


def nothing(*_: object) -> None:
    pass


def fails(platform: ScriptedPlatform, told: Told, steps: int = 1, *, boot_limit: float = 120.0) -> BuildError:
    with pytest.raises(BuildError) as caught:
        driver(platform, told, steps, boot_limit).run_steps(nothing)
    assert caught.value.resolution
    return caught.value


def test_each_step_is_checkpointed_before_the_next(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("running", 1), platform.say("1 start RUN", "1| hello"))
    platform.at(3, platform.say("1 exit 0"), platform.step_report("done", 1))
    platform.at(4, platform.step_report("running", 2), platform.say("2| there"))
    platform.at(6, platform.say("2 exit 0"), platform.step_report("done", 2))
    seconds = driver(platform, told, 2).run_steps(nothing)
    assert seconds == {1: pytest.approx(2, abs=0.1), 2: pytest.approx(2, abs=0.1)}
    assert list(platform.checkpoints) == ["key1", "key2"]
    assert platform.checkpoints["key1"]["n"] == 1
    assert platform.metadata()["stoneware-go"] == "2"
    output = [event for event in told.events if isinstance(event, StepOutput)]
    assert [(event.index, event.texts) for event in output] == [(1, ["hello"]), (2, ["there"])]
    assert told.names().index("StepFinished") > told.names().index("StepOutput")


def test_what_a_builder_depends_on_is_tended_while_it_works(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(10, platform.step_report("done", 1), platform.say("1 exit 0"))
    driver(platform, told, 1).run_steps(nothing)
    gaps = [
        later - before
        for before, later in zip(platform.helpers_checked, platform.helpers_checked[1:], strict=False)
    ]
    assert len(gaps) >= 8
    assert max(gaps) < 1.2


def test_a_full_disk_ends_the_wait(platform: ScriptedPlatform, told: Told) -> None:
    def full() -> None:
        if platform.now > 5:
            raise HostError("the store is full", resolution="stoneware prune")

    platform.on_tend = full
    platform.at(1, platform.step_report("running", 1))
    with pytest.raises(HostError, match="the store is full"):
        driver(platform, told, 1).run_steps(nothing)
    assert platform.now < 8


def test_a_failed_step_is_told_with_its_last_lines(platform: ScriptedPlatform, told: Told) -> None:
    lines = [f"1| line {number}" for number in range(50)]
    platform.at(1, platform.step_report("running", 1))
    platform.at(2, platform.step_report("failed", 1, exit=7), platform.say(*lines))
    platform.at(2.5, platform.say("1| the last word", "1 exit 7"))  # the console lags behind
    shells: list[float] = []
    with pytest.raises(BuildError) as caught:
        driver(platform, told, 1).run_steps(lambda _step: shells.append(platform.now))
    assert "failed with exit code 7" in caught.value.brief
    assert caught.value.location == "Machinefile:2"
    assert caught.value.details.splitlines()[-1].strip() == "the last word"
    assert "line 31" in caught.value.details
    assert "line 30" not in caught.value.details
    assert len(shells) == 1
    assert [event.exit_code for event in told.events if isinstance(event, StepFailed)] == [7]
    assert platform.checkpoints == {}


def test_a_failed_step_names_the_optional_secrets_it_ran_without(
    platform: ScriptedPlatform, told: Told
) -> None:
    mounts = tuple(Mount("secret", f"/run/secrets/{name}", id=name) for name in ("npmrc", "token", "npmrc"))
    platform.at(1, platform.step_report("running", 1), platform.step_report("secrets", 1))
    platform.at(2, platform.say("1| no credentials", "1 exit 1"), platform.step_report("failed", 1, exit=1))
    bake = driver(platform, told, 1, mounts=mounts, secrets={1: ("secret-token",)})
    with pytest.raises(BuildError) as caught:
        bake.run_steps(nothing)
    assert caught.value.resolution.splitlines()[0].startswith("stoneware bake --secret id=npmrc,src=FILE")
    assert caught.value.resolution.splitlines()[0].endswith("build: {secrets: [npmrc]}")
    assert caught.value.resolution.count("--secret") == 1
    assert "without the secret 'npmrc', which was not given" in caught.value.details
    assert "token" not in caught.value.details


def test_a_console_that_goes_on_is_read_to_its_end(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("done", 1))
    for second in range(2, 22):  # far behind, but it says something every second
        platform.at(second, platform.say(f"1| {second}"))
    platform.at(22, platform.say("1 exit 0"))
    driver(platform, told, 1).run_steps(nothing)
    assert sum(isinstance(event, StepOutput) for event in told.events) == 20


def test_a_lost_console_does_not_hold_the_bake(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("done", 1))
    driver(platform, told, 1).run_steps(nothing)
    assert platform.now < 10
    assert [event.index for event in told.events if isinstance(event, StepFinished)] == [1]


@pytest.mark.parametrize("report", ["running", None])
def test_a_builder_that_dies_is_told(platform: ScriptedPlatform, told: Told, report: str | None) -> None:
    if report:
        platform.at(1, platform.step_report(report))
    platform.at(2, platform.say("a last cry", mark=""), platform.end(error="killed"))
    error = fails(platform, told)
    assert error.brief.startswith("the builder ended before its work was done")
    assert ("during step 1 of stage '0'" in error.brief) is (report is not None)
    assert "killed" in error.details
    assert "a last cry" in error.details
    assert platform.now < 3


def test_a_builder_that_fails_to_boot_is_told(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(2, platform.end(phase=Phase.FAILED, error="its root is damaged"))
    assert "its root is damaged" in fails(platform, told).details


def test_a_builder_that_is_removed_is_told(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("running", 1))
    platform.at(2, platform.vanish())
    assert fails(platform, told).brief == "the builder was removed before its work was done"


def test_a_builder_that_is_removed_before_it_is_told_to_go_on_is_told(
    platform: ScriptedPlatform, told: Told
) -> None:
    class Removed(MemoryBuilder):
        def tell(self, changes: Mapping[str, str | None]) -> None:
            platform.vanish()()
            super().tell(changes)

    platform.at(1, platform.say("1 exit 0"), platform.step_report("done", 1, boot="b"))
    with pytest.raises(BuildError) as caught:
        driver(platform, told, 1, builder=Removed(platform, NAME)).run_steps(lambda _: None)
    assert caught.value.brief == "the builder was removed before its work was done"


def test_a_builder_that_never_reports_is_given_up(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.say("waiting for the network", mark=""))
    error = fails(platform, told, boot_limit=30.0)
    assert "did not report within 30 s" in error.brief
    assert "waiting for the network" in error.details
    assert "stoneware doctor" in error.resolution
    assert 30 < platform.now < 32


def test_the_boot_limit_ends_with_the_first_report(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(29, platform.step_report("running", 1))
    platform.at(500, platform.step_report("done", 1), platform.say("1 exit 0"))
    driver(platform, told, 1, boot_limit=30.0).run_steps(nothing)


REPORTS_OF_NOBODY = [
    '{"token": "ffffffffffffffff", "step": 1, "state": "done"}',  # of the bake before
    '{"step": 1, "state": "done"}',
    f'{{"token": "{TOKEN}"}}',
    f'{{"token": "{TOKEN}", "step": "1", "state": "done"}}',
    "not JSON",
    "[]",
    "",
    "\x00\x01",
]


@pytest.mark.parametrize("text", REPORTS_OF_NOBODY)
def test_reports_that_are_not_the_agents_count_as_none(
    platform: ScriptedPlatform, told: Told, text: str
) -> None:
    platform.at(1, platform.raw_report(text))
    assert "did not report" in fails(platform, told, boot_limit=5.0).brief
    assert platform.checkpoints == {}


def test_checks_that_fail_are_named_with_what_they_found(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("sealing"))
    platform.at(
        2,
        platform.step_report("failed", message="the image did not pass its checks"),
        platform.say(
            "check machine-id error pass",
            "check ssh-host-keys error fail /etc/ssh/key",
            "check logs warning fail /x",
        ),
    )
    with pytest.raises(BuildError) as caught:
        driver(platform, told, 0).seal()
    assert caught.value.brief == "the image did not pass 1 of its checks: ssh-host-keys"
    assert "/etc/ssh/key" in caught.value.details
    assert "--skip-check" in caught.value.resolution


def test_a_seal_that_fails_otherwise_says_why(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("failed", message="the lists failed: no space left on device"))
    with pytest.raises(BuildError, match="no space left on device"):
        driver(platform, told, 0).seal()


def test_what_a_step_says_before_it_is_reported_is_kept(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.say("1| early"))
    platform.at(2, platform.step_report("running", 1))
    platform.at(3, platform.say("1| late", "1 exit 7"), platform.step_report("failed", 1))
    with pytest.raises(BuildError) as caught:
        driver(platform, told, 1).run_steps(nothing)
    assert told.names()[:3] == ["StepStarted", "StepOutput", "StepOutput"]
    assert "  early\n  late" in str(caught.value.details)


@pytest.mark.parametrize("said", ["quiet", ""])
def test_the_seal_says_whether_the_builder_may_just_be_switched_off(
    platform: ScriptedPlatform, told: Told, said: str
) -> None:
    platform.at(1, platform.step_report("sealed", message=said))
    sealed = driver(platform, told, 0)
    sealed.seal()
    assert sealed.run.quiet == (said == "quiet")


@pytest.mark.parametrize("listed", [True, False])
def test_a_builder_that_asks_is_told_whether_its_files_were_listed(
    platform: ScriptedPlatform, told: Told, listed: bool
) -> None:
    class Listing(MemoryBuilder):
        asked: ClassVar[list[str]] = []

        def list_files(self, base: str) -> bool:
            self.asked.append(base)
            platform.at(platform.now + 1, platform.step_report("sealed"))
            return listed

    Listing.asked.clear()
    platform.at(1, platform.step_report("listing"))
    driver(platform, told, 0, builder=Listing(platform, NAME), lists_from="checkpoint:base").seal()
    assert Listing.asked == ["checkpoint:base"]
    assert platform.metadata()[guest_protocol.LISTED] == ("TRUE" if listed else "FALSE")


def test_a_builder_that_does_not_ask_is_not_listed(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("sealed"))
    driver(platform, told, 0, lists_from="checkpoint:base").seal()
    assert guest_protocol.LISTED not in platform.metadata()


def test_the_manifest_is_handed_over(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("finished"))
    driver(platform, told, 0).finish(b'{"a": 1}', env="A=1\n", contract="")
    assert platform.metadata()["stoneware-manifest"] == '{"a": 1}'
    assert platform.metadata()["stoneware-env"] == "A=1\n"


def test_a_builder_that_dies_with_the_manifest_in_hand_is_told(
    platform: ScriptedPlatform, told: Told
) -> None:
    platform.at(0.5, platform.step_report("sealed"))
    platform.at(1, platform.end())
    with pytest.raises(BuildError, match="ended before its work was done"):
        driver(platform, told, 0).finish(b"{}", env="", contract="")


def test_lines_that_look_like_the_agents_are_harmless(platform: ScriptedPlatform, told: Told) -> None:
    platform.at(1, platform.step_report("running", 1))
    odd = ["check", "check a", "check a b", "exit", "x| y", "99999999999999999999| far", "", "note"]
    platform.at(2, platform.say(*odd), platform.say("\x00\x1b[2J\x07binary", mark=""))
    platform.at(3, platform.say("1 exit 0"), platform.step_report("done", 1))
    driver(platform, told, 1).run_steps(nothing)
    assert list(platform.checkpoints) == ["key1"]


def test_a_step_that_cannot_be_kept_is_named(
    platform: ScriptedPlatform, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that made a subvolume, which snapshots leave out."""

    def refuse(*_: object, **__: object) -> None:
        raise MachineError("there is a btrfs subvolume in it", details="/srv/x", resolution="undo it")

    monkeypatch.setattr(platform, "checkpoint", refuse)
    platform.at(1, platform.step_report("running", 1))
    platform.at(2, platform.say("1 exit 0"), platform.step_report("done", 1))
    error = fails(platform, told)
    assert error.brief == "step 1 of stage '0' cannot be kept: there is a btrfs subvolume in it"
    assert error.details == "  2 | RUN step 1\n/srv/x"
    assert (error.resolution, error.location) == ("undo it", "Machinefile:2")
    assert [event.index for event in told.events if isinstance(event, StepFailed)] == [1]
    assert "stoneware-go" not in platform.metadata()
