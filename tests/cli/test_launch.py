from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.config import decode
from stoneware.errors import HostError, InputError, MachineError
from stoneware.launch.command import CommandOptions, run_command
from stoneware.launch.environment import service_environment
from stoneware.launch.flags import parse_image_labels, parse_port, parse_volume
from stoneware.launch.machine_search import find_machine
from stoneware.launch.plan import LaunchOptions, anonymous_volume, plan_launch
from stoneware.launch.preview import preview
from stoneware.launch.watch import (
    follow_consoles,
    follow_pieces,
    wait_until_stopped,
    wait_until_up,
)
from stoneware.machinefile.recipe import ImageConfig
from stoneware.model.machine import Health, Phase
from stoneware.model.resources import PortMapping, VolumeMount
from tests.cli.fakes import HEALTHY, FakePlatform, FakeStore

GREETING = {"GREETING": "hi"}


def no_sleep(seconds: float) -> None:
    assert seconds > 0


def test_a_launch_holds_all_that_was_asked_for(store: FakeStore, hello: str) -> None:
    wanted = LaunchOptions(
        image="hello",
        name="h1",
        values=GREETING,
        ports=parse_port("8080:80"),
        volumes=(parse_volume("disk:/srv:ro"),),
        hostname="web.local",
        memory=1 << 20,
        cpus=0.5,
        read_only=True,
        restart="always",
        labels={"team": "a"},
    )
    launch = plan_launch(store, wanted)
    spec = launch.spec
    assert (spec.name, spec.source, spec.image_ref) == ("h1", f"image:{hello}", "hello")
    assert (spec.hostname, spec.memory, spec.cpus) == ("web.local", 1 << 20, 0.5)
    assert (spec.read_only, spec.restart, spec.labels) == (True, "always", {"team": "a"})
    assert spec.ports == (PortMapping("0.0.0.0", 8080, 80),)
    assert decode(spec.metadata["stoneware-config"]) == GREETING
    assert spec.metadata["stoneware-mode"] == "run"
    assert spec.metadata["enable-guest-attributes"] == "TRUE"
    assert launch.has_health_check


def test_declared_volumes_get_one_of_their_own(store: FakeStore, hello: str) -> None:
    launch = plan_launch(store, LaunchOptions("hello", "h1", GREETING))
    volume = anonymous_volume("h1", "/var/lib/data")
    assert launch.spec.volumes == (VolumeMount(volume, "/var/lib/data"),)
    assert launch.anonymous == (volume,)


def test_a_named_volume_takes_the_declared_place(store: FakeStore, hello: str) -> None:
    options = LaunchOptions("hello", "h1", GREETING, volumes=(parse_volume("disk:/var/lib/data"),))
    launch = plan_launch(store, options)
    assert launch.spec.volumes == (VolumeMount("disk", "/var/lib/data"),)
    assert launch.anonymous == ()


def test_two_volumes_at_one_path_are_refused(store: FakeStore, hello: str) -> None:
    volumes = (parse_volume("a:/srv"), parse_volume("b:/srv"))
    with pytest.raises(InputError, match="same path"):
        plan_launch(store, LaunchOptions("hello", "h1", GREETING, volumes=volumes))


def test_publish_all_leaves_out_what_is_published_by_hand(store: FakeStore, hello: str) -> None:
    options = LaunchOptions("hello", "h1", GREETING, ports=parse_port("8080:80"), publish_all=True)
    ports = plan_launch(store, options).spec.ports
    assert ports == (PortMapping("0.0.0.0", 8080, 80), PortMapping("0.0.0.0", 0, 53, "udp"))


def test_a_made_up_name_is_a_host_name(store: FakeStore) -> None:
    store.add_image("team/my_web.app")
    names = {plan_launch(store, LaunchOptions("team/my_web.app")).spec.name for _ in range(5)}
    assert len(names) > 1
    assert all(name.startswith("my-web-app-") for name in names)


def test_a_missing_value_is_found_before_anything_is_made(store: FakeStore, hello: str) -> None:
    with pytest.raises(InputError) as failure:
        plan_launch(store, LaunchOptions("hello", "h1"))
    assert "GREETING" in failure.value.details
    assert "/etc/motd" in failure.value.details


def test_an_unknown_value_is_a_warning(store: FakeStore, hello: str) -> None:
    launch = plan_launch(store, LaunchOptions("hello", "h1", {**GREETING, "GREETNG": "x"}))
    assert "GREETNG" in launch.warnings[0]


@pytest.mark.parametrize(("label", "given", "seconds"), [(None, None, 10), ("6m", None, 360), ("6m", 3, 3)])
def test_the_stop_timeout_comes_from_the_flag_or_the_image(
    store: FakeStore, label: str | None, given: float | None, seconds: float
) -> None:
    labels = (("stoneware.stop-timeout", label),) if label else ()
    store.add_image("db", ImageConfig(labels=labels))
    assert plan_launch(store, LaunchOptions("db", stop_timeout=given)).spec.stop_timeout == seconds


def test_waiting_ends_when_healthy(platform: FakePlatform) -> None:
    platform.script = [
        {"phase": Phase.CONFIGURING},
        {"phase": Phase.RUNNING, "health": Health.STARTING},
        {"phase": Phase.RUNNING, "health": Health.HEALTHY},
    ]
    platform.create(replace(platform.add("x").spec, name="h1"))
    machine = wait_until_up(platform, "h1", health=True, timeout=5, sleep=no_sleep)
    assert machine.health is Health.HEALTHY


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"phase": Phase.FAILED, "error": "GREETING is not set"}, ("failed to start", "GREETING is not set")),
        ({"phase": Phase.STOPPED, "exit_code": 1}, ("failed to start", "phase stopped")),
        ({"phase": Phase.RUNNING, "health": Health.UNHEALTHY}, ("unhealthy", "health unhealthy")),
    ],
)
def test_waiting_says_why_it_is_in_vain(
    platform: FakePlatform, state: dict[str, object], words: tuple[str, str]
) -> None:
    platform.script = [state]
    platform.create(replace(platform.add("x").spec, name="h1"))
    with pytest.raises(MachineError) as failure:
        wait_until_up(platform, "h1", health=True, timeout=5, sleep=no_sleep)
    assert words[0] in failure.value.brief
    assert words[1] in failure.value.details
    assert "ready" in failure.value.details  # the end of the console
    assert failure.value.resolution == "stoneware logs h1"


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"phase": Phase.STOPPED, "exit_code": 3}, "seconds only, then it stopped (exit code 3)"),
        ({"phase": Phase.FAILED}, "seconds only, then it failed"),
        ({"phase": Phase.BOOTING}, "seconds only, then it was started again"),
        ({"phase": Phase.RUNNING, "started": 99.0}, "seconds only, then it was started again"),
    ],
)
def test_without_a_health_check_a_service_must_stay_up(
    platform: FakePlatform, last: dict[str, object], words: str
) -> None:
    platform.script = [{"phase": Phase.RUNNING}, {}, last]
    platform.create(replace(platform.add("x").spec, name="h1"))
    with pytest.raises(MachineError) as failure:
        wait_until_up(platform, "h1", timeout=5, settle=2, sleep=no_sleep)
    assert words in failure.value.brief
    assert "ready" in failure.value.details


def test_a_service_that_stays_up_is_up_after_its_time(platform: FakePlatform) -> None:
    platform.add("h1", phase=Phase.RUNNING)
    now = [4.0]  # the time to come up does not count for staying up

    def sleep(_seconds: float) -> None:
        now[0] += 0.5

    wait_until_up(platform, "h1", timeout=1, settle=2, clock=lambda: now[0], sleep=sleep)
    assert now[0] == 6.0


def test_waiting_has_an_end(platform: FakePlatform) -> None:
    platform.add("h1", phase=Phase.BOOTING)
    now = [0.0]

    def sleep(_seconds: float) -> None:
        now[0] += 2.5

    with pytest.raises(MachineError, match="not running within 5 seconds"):
        wait_until_up(platform, "h1", timeout=5, clock=lambda: now[0], sleep=sleep)
    assert now[0] == 5.0


def test_waiting_ends_where_it_is_in_vain(platform: FakePlatform) -> None:
    """A full disk is no fault of the machine, which would never come up."""
    platform.add("h1", phase=Phase.BOOTING)
    now = [0.0]

    def sleep(_seconds: float) -> None:
        now[0] += 1.0

    def full() -> None:
        raise HostError("the disk is full")

    platform.check_helpers = full  # type: ignore[method-assign]
    with pytest.raises(HostError, match="the disk is full"):
        wait_until_up(platform, "h1", timeout=5, clock=lambda: now[0], sleep=sleep)
    assert now[0] == 1.0


def test_waiting_notices_a_removed_machine(platform: FakePlatform) -> None:
    with pytest.raises(MachineError, match="is gone"):
        wait_until_up(platform, "h1", timeout=5)


def test_following_gives_each_byte_once_and_ends_with_the_machine(platform: FakePlatform) -> None:
    platform.script = [
        {"output": b"one\n"},
        {"output": b"two\n"},
        {"output": b"three\n", "phase": Phase.STOPPED},
    ]
    platform.create(replace(platform.add("x").spec, name="h1"))
    chunks = [data for data, _ in follow_pieces(platform, "h1", sleep=no_sleep)]
    assert b"".join(chunks) == b"booting\r\nready\r\none\ntwo\nthree\n"
    assert wait_until_stopped(platform, "h1", sleep=no_sleep) == 0


def test_following_ends_when_the_machine_is_removed_meanwhile(platform: FakePlatform) -> None:
    platform.add("h1")

    def vanish(name: str, offset: int = 0) -> tuple[bytes, int]:
        platform.destroy(name)
        raise InputError("there is no machine 'h1'")

    platform.console = vanish  # type: ignore[method-assign]
    assert list(follow_pieces(platform, "h1", sleep=no_sleep)) == []


def test_consoles_of_several_machines_are_followed_until_all_have_stopped(platform: FakePlatform) -> None:
    """Each from its own offset; one that stops is read to its end, one that is removed is left out."""
    for name, console in {"h1": b"old\none\n", "h2": b"two\n", "h3": b"three\n"}.items():
        platform.add(name)
        platform.consoles[name] = console
    rounds: list[float] = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 1:
            platform.destroy("h3")
            platform.consoles["h1"] += b"last\n"
            platform.show("h1", phase=Phase.STOPPED, exit_code=0)
        if len(rounds) == 3:
            assert [name for name, _, _ in seen] == ["h1", "h2", "h3", "h1"]
            platform.consoles["h2"] += b"more\n"
        if len(rounds) == 4:
            platform.show("h2", phase=Phase.DAMAGED)

    seen: list[tuple[str, bytes, int]] = []
    for piece in follow_consoles(platform, {"h1": 4, "h2": 0, "h3": 0}, sleep=sleep):
        seen.append(piece)
    assert seen == [
        ("h1", b"one\n", 8),
        ("h2", b"two\n", 4),
        ("h3", b"three\n", 6),
        ("h1", b"last\n", 13),
        ("h2", b"more\n", 9),
    ]
    assert len(rounds) == 5
    assert all(seconds > 0 for seconds in rounds)


def test_machines_are_found_by_id_as_well(platform: FakePlatform) -> None:
    platform.add("h1", id="m1234567")
    platform.add("h2", id="m1299999")
    assert find_machine(platform, "m123").name == "h1"
    assert find_machine(platform, "h2").name == "h2"
    for name in ("m12", "m1", "h3"):
        with pytest.raises(InputError) as failure:
            find_machine(platform, name)
        assert "h1, h2" in failure.value.details


def test_a_command_gets_what_the_service_would_have(
    store: FakeStore, platform: FakePlatform, hello: str
) -> None:
    platform.code = 7
    options = LaunchOptions("hello", "h1", {**GREETING, "ACCENT": "blue"}, command_mode=True, remove=True)
    launch = plan_launch(store, options)
    code = run_command(platform, launch, CommandOptions(("-t",)))
    assert code == 7
    assert launch.spec.metadata["stoneware-mode"] == "command"
    done = platform.executions[0]
    assert done.argv == ("nginx", "-t")
    assert (done.options["user"], done.options["workdir"]) == ("web", "/srv")
    env = done.options["env"]
    assert env["STONEWARE_IP"].startswith("10.1.0.")
    assert (env["ACCENT"], env["GREETING"], env["STONEWARE_NAME"]) == ("blue", "hi", "h1")
    assert platform.calls[-1] == "destroy h1"


def test_a_command_may_replace_entrypoint_user_and_directory(
    store: FakeStore, platform: FakePlatform, hello: str
) -> None:
    launch = plan_launch(store, LaunchOptions("hello", "h1", GREETING, command_mode=True))
    asked = CommandOptions(("id",), user="root", workdir="/new/a", entrypoint=(), tty=True, interactive=True)
    run_command(platform, launch, asked)
    made, done = platform.executions
    assert made.argv == ("mkdir", "-p", "--", "/new/a")
    assert (done.argv, done.options["workdir"]) == (("id",), "/new/a")
    assert done.options["user"] == "root"
    assert done.options["tty"]
    assert platform.calls[-1] == "stop h1 None"


@pytest.mark.parametrize("remove", [True, False])
def test_a_machine_that_does_not_come_up_is_cleaned_up(
    store: FakeStore, platform: FakePlatform, hello: str, remove: bool
) -> None:
    platform.script = [{"phase": Phase.FAILED}]
    launch = plan_launch(store, LaunchOptions("hello", "h1", GREETING, command_mode=True, remove=remove))
    with pytest.raises(MachineError):
        run_command(platform, launch, CommandOptions(("id",)))
    assert platform.calls[-1] == ("destroy h1" if remove else "stop h1 None")
    assert platform.executions == []


def test_a_preview_renders_as_the_machine_would(store: FakeStore, hello: str) -> None:
    found = preview(store, "hello", {"GREETING": "$(id) `id` 'x' \"y\" \\ ü"}, name="h1")
    assert found == {"/etc/motd": "$(id) `id` 'x' \"y\" \\ ü in red on h1\n".encode()}


def test_a_preview_never_follows_a_link_out_of_the_image(store: FakeStore, tmp_path: Path) -> None:
    image_id = store.add_image("evil")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("this computer's own")
    place = store.image_rootfs(image_id) / "etc/stoneware"
    place.mkdir(parents=True)
    (place / "templates").symlink_to(secret)
    assert preview(store, "evil", {}) == {}
    (place / "templates").unlink()
    (place / "templates").mkdir()
    (place / "templates" / "key").symlink_to(secret / "key")
    assert preview(store, "evil", {}) == {}


def test_the_configuration_is_what_the_image_says(store: FakeStore, hello: str) -> None:
    assert plan_launch(store, LaunchOptions("hello", "h1", GREETING)).config == HEALTHY


@pytest.mark.parametrize(("commit", "shown"), [("c" * 40, "c" * 40), (None, "")])
def test_an_image_of_no_commit_has_an_empty_one(
    store: FakeStore, platform: FakePlatform, commit: str | None, shown: str
) -> None:
    """In what the contract is asked, in what a preview renders, and in what the service has."""
    image_id = store.add_image("known", HEALTHY, {"/etc/motd": b"<$STONEWARE_COMMIT>"}, commit=commit)
    machine = platform.add("h1", image_id=image_id)
    assert preview(store, "known", {}) == {"/etc/motd": f"<{shown}>".encode()}
    assert service_environment(store.manifest(image_id), machine)["STONEWARE_COMMIT"] == shown
    assert plan_launch(store, LaunchOptions("known", "h1")).spec.source == f"image:{image_id}"


def test_a_label_without_a_value_is_one() -> None:
    assert parse_image_labels(["tier", "stage=", "a=b=c"]) == {"tier": "", "stage": "", "a": "b=c"}
    with pytest.raises(InputError, match="invalid --label"):
        parse_image_labels(["=x"])
