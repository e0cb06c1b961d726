"""What every platform does: the same tests on machines of this computer, in memory, and on Google's API.

The latter is the emulator, with machines in memory behind its instances. What not every platform can do is
asked of its capabilities, or is data of its `Place` in `conftest.py`, where one to come is put as well.
"""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path

import pytest

from stoneware.errors import InputError, MachineError, StonewareError
from stoneware.files import sha256_hex
from stoneware.model.capability import Capability
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.model.resources import PortMapping, SecretMount
from stoneware.platforms.builders import Builder
from stoneware.platforms.google.platform import GooglePlatform
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.protocols import Platform
from tests.platforms.conftest import Place
from tests.platforms.memory import MemoryPlatform

METHODS = [name for name, _ in inspect.getmembers(Platform, inspect.isfunction) if name[0] != "_"]


@pytest.mark.parametrize("platform", [LocalPlatform, MemoryPlatform, GooglePlatform])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_protocols_parameters(name: str, platform: type) -> None:
    wanted = inspect.signature(getattr(Platform, name)).parameters
    assert inspect.signature(getattr(platform, name)).parameters == wanted


def test_there_are_methods_to_compare() -> None:
    assert {"create", "prepare_builder", "create_volume", "put_secret", "execute", "check_helpers"} <= set(
        METHODS
    )


# --- machines -------------------------------------------------------------------------------------------


def test_life_of_a_machine(place: Place) -> None:
    platform, name = place.platform, place.name
    made = place.boot(hostname="host-1", metadata={"a": "1"}, labels={"l": "v"})
    assert (made.name, made.phase, made.exit_code, made.error) == (name, Phase.RUNNING, None, "")
    assert (made.spec.hostname, dict(made.spec.labels)) == ("host-1", {"l": "v"})
    assert name in [machine.name for machine in platform.machines()]
    assert [m.name for m in platform.machines()] == sorted(m.name for m in platform.machines())
    platform.stop(name)
    stopped = place.seen()
    assert (stopped.phase, stopped.exit_code) == (Phase.STOPPED, 0)
    platform.stop(name)  # once more is no error
    again = platform.start(name)
    assert (again.id, again.ip, again.exit_code) == (made.id, made.ip, None)
    assert platform.start(name).started == again.started  # a running one is left alone
    platform.destroy(name)
    platform.destroy(name)  # a missing one is no error
    assert platform.observe(name) is None


def test_a_name_is_one_machines(place: Place) -> None:
    place.boot()
    with pytest.raises(InputError, match=f"name '{place.name}' is in use"):
        place.platform.create(place.spec())


def test_what_is_not_there_is_told(place: Place) -> None:
    platform, name = place.platform, place.name
    assert platform.observe(name) is None
    asked = (
        lambda: platform.start(name),
        lambda: platform.stop(name),
        lambda: platform.console(name),
        lambda: platform.console_place(name),
        lambda: platform.guest_attributes(name),
        lambda: platform.set_metadata(name, {}),
        lambda: platform.amend(name, image_ref="x"),
        *([lambda: platform.run(name, ["true"], timeout=5)] if place.can(Capability.COMMANDS) else []),
    )
    for ask in asked:
        with pytest.raises(InputError, match=f"no machine '{name}'"):
            ask()
    for refused in (
        lambda: platform.label_volume(name, {}),
        lambda: platform.raise_floor(name, "1"),
        lambda: platform.change_network(name, {}),
    ):
        with pytest.raises(InputError, match=name):
            refused()


def test_metadata_and_what_may_be_amended(place: Place) -> None:
    platform, name = place.platform, place.name
    version = place.secret("key", b"value")
    place.boot(metadata={"a": "1", "b": "2"}, stop_timeout=7.0, image_ref="app:1")
    platform.set_metadata(name, {"a": None, "b": "3", "c": "4"})
    changed = dict(place.seen().spec.metadata)
    assert (changed.get("a"), changed["b"], changed["c"]) == (None, "3", "4")
    mount = SecretMount(place.secret_name("key"), "/run/secrets/key", version)
    platform.amend(name, image_ref="app:2", labels={"x": "y"}, secrets=(mount,), stop_timeout=9.0)
    machine = place.seen()
    assert (machine.image, dict(machine.spec.labels), machine.spec.stop_timeout) == ("app:2", {"x": "y"}, 9.0)
    assert machine.spec.secrets == (mount,)
    platform.amend(name, stop_timeout=3.0)  # the rest stays as it is
    machine = place.seen()
    assert (machine.image, machine.spec.secrets, machine.spec.stop_timeout) == ("app:2", (mount,), 3.0)
    lost = SecretMount(place.secret_name("lost"), "/run/secrets/lost", version)
    with pytest.raises(InputError, match="no secret"):
        platform.amend(name, secrets=(lost,))


def test_a_console_is_read_from_a_place_on(place: Place) -> None:
    platform, name = place.platform, place.name
    place.boot()
    if place.keeps_console:
        platform.stop(name)
    whole, offset = b"", platform.console_place(name)
    while (piece := platform.console(name, offset))[0]:
        whole, offset = whole + piece[0], piece[1]
    assert whole
    assert platform.console(name, offset) == (b"", offset)
    place_of_last = platform.console_place(name, lines=1)
    last = platform.console(name, place_of_last)[0]
    assert whole.endswith(last)
    assert last.rstrip(b"\n").count(b"\n") == 0
    assert platform.console_place(name, lines=0) == offset


def test_ports_are_published_and_found_taken(place: Place) -> None:
    platform = place.platform
    made = place.boot(ports=(PortMapping("127.0.0.1", 0, 80),))
    (port,) = made.ports
    if not place.host_ports:
        assert (port.host_ip, port.host_port, port.machine_port) == (made.ip, 80, 80)
        assert platform.port_faults({"other": [port]}) == {"other": []}
        return
    assert (port.host_ip, port.machine_port, port.host_port > 0) == ("127.0.0.1", 80, True)
    wanted = {"other": [port], "free": []}
    faults = platform.port_faults(wanted)
    assert [str(port.host_port) in text for text in faults["other"]] == [True]
    assert not faults.get("free")
    assert not platform.port_faults(wanted, besides=[place.name])["other"]
    with pytest.raises(InputError, match=str(port.host_port)):
        platform.create(place.spec("2", ports=(port,)))
    assert platform.observe(f"{place.name}-2") is None  # nothing is left of it


# --- builders and commands ------------------------------------------------------------------------------


def test_life_of_a_builder(place: Place, tmp_path: Path) -> None:
    bake, platform = tmp_path / place.name, place.platform
    directory = bake / "stage-0"
    directory.mkdir(parents=True)
    (directory / "bundle").write_bytes(b"bundle")
    with platform.prepare_builder(f"{place.name}-0", directory) as builder:
        assert (builder.name, builder.observe()) == (f"{place.name}-0", None)
        assert not platform.has_builders(bake)
        assert builder.publish(directory / "bundle", {}) != builder.results_address("sealed.tar")
        builder.boot(place.source, {"a": "1", "b": "2"})
        made = builder.observe()
        assert made is not None
        assert (made.kind, made.spec.source, platform.has_builders(bake)) == ("builder", place.source, True)
        builder.tell({"a": None, "b": "3"})
        told = builder.observe()
        assert told is not None
        assert ("a" in told.spec.metadata, told.spec.metadata["b"]) == (False, "3")
        assert isinstance(builder.reports(), dict)
        assert builder.console(0)[1] >= 0
        with pytest.raises(MachineError, match="still runs"):
            builder.capture(b"{}", {})
        with pytest.raises(MachineError, match="not uploaded"):
            builder.result("sealed.tar")
        saved = _saved_and_stopped(place, builder)
        image = builder.capture(place.manifest, {"key": place.key, "size_bytes": 1}, files=saved)
        assert image == f"sha256:{sha256_hex(place.manifest)}"
        builder.release()
        builder.release(failed=True)  # one that is gone is no error
        assert builder.observe() is None
        assert not platform.has_builders(bake)
    with contextlib.suppress(InputError):  # some only learn of it by asking for the machine
        assert builder.reports() == {}


def _saved_and_stopped(place: Place, builder: Builder) -> dict[str, bytes] | None:
    """Save a step, of a builder that runs where the platform can; return the files that its image gets."""
    living = place.can(Capability.CHECKPOINTS)
    taken: list[bool] = []
    if not living:
        builder.stop(0)
    builder.save_step(place.key, {"n": 1}, taken=lambda: taken.append(True))
    assert taken == [True]
    if living:
        builder.stop(0)
    return {"manifest.json": place.manifest} if living else None


def test_what_a_killed_bake_has_left_is_removed(place: Place, tmp_path: Path) -> None:
    bake, platform = tmp_path / place.name, place.platform
    (bake / "stage-0").mkdir(parents=True)
    (bake / "bundle").write_bytes(b"bundle")
    with platform.prepare_builder(f"{place.name}-0", bake / "stage-0") as builder:
        builder.publish(bake / "bundle", {})
        builder.boot(place.source, {})
    place.boot()
    assert platform.remove_builders(bake)
    assert not platform.remove_builders(bake)
    assert (builder.observe(), platform.has_builders(bake)) == (None, False)
    assert platform.observe(place.name) is not None  # of machines that are no builders nothing is removed


def test_a_command_tells_its_exit_code(place: Place) -> None:
    place.boot()
    if not place.can(Capability.COMMANDS):
        with pytest.raises(InputError, match="running commands inside machines"):
            place.platform.run(place.name, ["true"], timeout=300)
        return
    assert place.platform.run(place.name, ["true"], timeout=300) == (0, "")


def test_files_go_in_and_come_out(place: Place, tmp_path: Path) -> None:
    place.boot()
    (tmp_path / "sent").write_bytes(b"some\0bytes\n")
    if not place.can(Capability.COMMANDS):
        with pytest.raises(InputError, match="running commands inside machines") as caught:
            place.platform.copy_in(tmp_path / "sent", place.name, "/root/sent")
        assert "scp" in caught.value.resolution
        return
    place.platform.copy_in(tmp_path / "sent", place.name, "/root/sent")
    assert place.platform.copy_out(place.name, "/root/sent", tmp_path / "back") == []
    assert (tmp_path / "back").read_bytes() == b"some\0bytes\n"
    with pytest.raises(StonewareError, match="/root/none"):
        place.platform.copy_out(place.name, "/root/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_nothing_is_left_of_what_could_not_be_made(place: Place) -> None:
    def names() -> list[str]:
        return [machine.name for machine in place.platform.machines()]

    before = names()
    bad = MachineSpec(place.name, place.source, secrets=(SecretMount("none", "/run/secrets/x", "v"),))
    with pytest.raises(InputError):
        place.platform.create(bad)
    assert names() == before
    assert isinstance(place.boot(), Machine)
