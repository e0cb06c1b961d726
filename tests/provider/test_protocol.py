"""Every resource and data source, by the plugin protocol itself: no Terraform takes part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.model.machine import Health, MachineSpec, Phase
from stoneware.provider.server import ProviderServer
from stoneware.provider.servicer import Servicer
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .conftest import IMAGE, Configure
from .core import NOT_NULL, UNKNOWN, Core, Refused, is_unknown
from .memory_images import MemoryBaker, MemoryImages
from .protocol_cases import CASES, OLD, SECRETS, TYPES, settled

pytestmark = pytest.mark.tool


@pytest.fixture
def images() -> MemoryImages:
    return MemoryImages()


@pytest.fixture
def core(tmp_path: Path, platform: MemoryPlatform, images: MemoryImages) -> Iterator[Core]:
    server = ProviderServer(platform, images=images, baker=MemoryBaker(images))
    with Core(server, tmp_path) as running:
        yield running


@pytest.fixture
def given(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Machinefile").write_text("FROM debian:12\n")

    def make(type_name: str) -> dict[str, Any]:
        config = dict(CASES[type_name].given)
        return {
            key: str(tmp_path / "context") if value == "CONTEXT" else value for key, value in config.items()
        }

    return make


Given = Callable[[str], dict[str, Any]]


@pytest.mark.parametrize("type_name", TYPES)
def test_create_read_delete(core: Core, given: Given, type_name: str) -> None:
    config = given(type_name)
    core.validate(type_name, config)
    planned = core.plan(type_name, None, config)
    computed = {
        name
        for name, attribute in core.attributes(type_name).items()
        if attribute.computed and not attribute.optional
    }
    assert planned.unknown == computed - ({"id"} if type_name == "stoneware_image" else set())
    state = settled(core, type_name, core.apply(type_name, None, planned.state), config)
    core.apply(type_name, state, None)
    assert core.read(type_name, state) is None
    core.apply(type_name, state, None)  # once more: it is gone, which is fine


IN_PLACE = [(type_name, name) for type_name in TYPES for name in CASES[type_name].in_place]
REPLACING = [(type_name, name) for type_name in TYPES for name in CASES[type_name].replacing]


@pytest.mark.parametrize(("type_name", "name"), IN_PLACE)
def test_update_in_place(core: Core, given: Given, type_name: str, name: str) -> None:
    before = core.change(type_name, None, given(type_name))
    assert before is not None
    config = {**given(type_name), name: CASES[type_name].in_place[name]}
    planned = core.plan(type_name, before, config)
    assert planned.replace == ()
    assert planned.state != before
    after = settled(core, type_name, core.apply(type_name, before, planned.state), config)
    if type_name != "stoneware_image":
        assert after["id"] == before["id"]
    settled(core, type_name, core.change(type_name, after, given(type_name)), given(type_name))


@pytest.mark.parametrize(("type_name", "name"), REPLACING)
def test_replacement(core: Core, given: Given, type_name: str, name: str) -> None:
    start = given(type_name)
    if name == "vm":  # a directory with data is no disk
        start["volumes"] = None
    before = core.change(type_name, None, start)
    config = {**start, name: CASES[type_name].replacing[name]}
    assert core.plan(type_name, before, config).replace == (name,)
    after = settled(core, type_name, core.change(type_name, before, config), config)
    assert before is not None
    assert after["id"] != before["id"]


def test_every_argument_is_tried(core: Core) -> None:
    tried = {type_name: {*case.given, *case.in_place, *case.replacing} for type_name, case in CASES.items()}
    tried["stoneware_machine"] |= {"config"}  # below
    tried["stoneware_image"] |= {"file", "target", "build_args", "secrets"}  # with Terraform
    for type_name in core.schema.resource_schemas:
        settable = {
            name
            for name, attribute in core.attributes(type_name).items()
            if attribute.optional or attribute.required
        }
        assert tried[type_name] == settable


@pytest.mark.parametrize("type_name", TYPES)
def test_refresh_of_what_has_vanished(
    core: Core, given: Given, platform: MemoryPlatform, images: MemoryImages, type_name: str
) -> None:
    state = core.change(type_name, None, given(type_name))
    assert state is not None
    CASES[type_name].vanish(platform, images, state)
    assert core.read(type_name, state) is None
    settled(core, type_name, core.change(type_name, None, given(type_name)), given(type_name))


@pytest.mark.parametrize("type_name", [name for name in TYPES if CASES[name].importable])
def test_import(core: Core, given: Given, type_name: str) -> None:
    config = given(type_name)
    made = core.change(type_name, None, config)
    assert made is not None
    state = core.import_(type_name, made["name"])
    assert state["id"] == made["id"]
    found = core.read(type_name, state)
    assert found == state
    planned = core.plan(type_name, state, config)
    assert planned.replace == ()
    settled(core, type_name, core.apply(type_name, state, planned.state), config)


def test_images_are_not_imported(core: Core) -> None:
    with pytest.raises(Refused) as caught:
        core.import_("stoneware_image", "web")
    assert caught.value.errors[0][0] == "stoneware_image does not support resource import"


UNKNOWABLE = [
    (type_name, name)
    for type_name in TYPES
    for name in {**CASES[type_name].given, **CASES[type_name].in_place, **CASES[type_name].replacing}
]


@pytest.mark.parametrize("unknown", [UNKNOWN, NOT_NULL], ids=["unknown", "not-null"])
@pytest.mark.parametrize(("type_name", "name"), UNKNOWABLE)
def test_what_is_known_after_the_apply_only(
    core: Core, given: Given, type_name: str, name: str, unknown: object
) -> None:
    config = {**given(type_name), name: unknown}
    core.validate(type_name, config)
    planned = core.plan(type_name, None, config)
    assert name in planned.unknown
    known = core.plan(type_name, None, given(type_name)).state
    assert planned.state is not None
    assert known is not None
    real = {key: known[key] if is_unknown(value) else value for key, value in planned.state.items()}
    state = settled(core, type_name, core.apply(type_name, None, real), given(type_name))
    later = core.plan(type_name, state, config)  # and in an update
    assert name in later.unknown
    assert later.replace == ((name,) if name in CASES[type_name].replacing else ())


def test_parts_that_are_known_after_the_apply_only(core: Core, given: Given) -> None:
    config = {
        **given("stoneware_machine"),
        "networks": ["front", UNKNOWN],
        "ports": [{"machine_port": UNKNOWN}],
        "volumes": [UNKNOWN],
        "metadata": {"a": "b", "c": UNKNOWN},
        "secrets": [{**SECRETS[0], "version": UNKNOWN}],
        "timeouts": {"create": UNKNOWN},
    }
    core.validate("stoneware_machine", config)
    planned = core.plan("stoneware_machine", None, config)
    assert planned.state is not None
    assert planned.state["metadata"] == {"a": "b", "c": UNKNOWN}
    state = core.change("stoneware_machine", None, given("stoneware_machine"))
    assert set(core.plan("stoneware_machine", state, config).replace) == {"networks", "ports", "volumes"}


def test_another_way_to_write_the_same_replaces_nothing(core: Core) -> None:
    short = {"name": "m1", "source": IMAGE, "ports": [{"machine_port": 80}], "cpus": "0.1"}
    long = {
        **short,
        "ports": [{"machine_port": 80, "host_port": 0, "host_ip": "0.0.0.0", "protocol": "tcp"}],
        "hostname": "m1",
        "volumes": [],
        "networks": [],
        "labels": {},
        "restart": "no",
    }
    state = core.change("stoneware_machine", None, short)
    assert core.plan("stoneware_machine", state, long).replace == ()
    settled(core, "stoneware_machine", core.change("stoneware_machine", state, long), long)


@pytest.mark.parametrize("type_name", [name for name in TYPES if name != "stoneware_image"])
def test_a_name_in_use_is_refused(core: Core, given: Given, type_name: str) -> None:
    core.change(type_name, None, given(type_name))
    with pytest.raises(Refused) as caught:
        core.change(type_name, None, given(type_name))
    [(summary, detail, where)] = caught.value.errors
    assert "is in use" in summary
    assert "outside of this Terraform state" in detail
    assert "terraform import" in detail
    assert where == "name"


REFUSED: dict[str, dict[str, Any]] = {
    "ports.1.machine_port": {"ports": [{"machine_port": 80}, {"machine_port": 0}]},
    "volumes.0.path": {"volumes": [{"volume": "v", "path": "data"}]},
    "secrets.0.mode": {"secrets": [{**SECRETS[0], "mode": "999"}]},
    "metadata.stoneware-secrets": {"metadata": {"stoneware-secrets": "x"}},
    "timeouts.delete": {"timeouts": {"delete": "never"}},
    "config.A=B": {"config": {"A=B": "x"}},
    "wait_for": {"wait_for": "ever"},
}


@pytest.mark.parametrize("where", sorted(REFUSED))
def test_diagnostics_have_the_path_of_the_attribute(core: Core, where: str) -> None:
    with pytest.raises(Refused) as caught:
        core.validate("stoneware_machine", {"name": "m1", "source": IMAGE, **REFUSED[where]})
    assert [found for _, _, found in caught.value.errors] == [where]


def test_a_state_of_the_earlier_schema(core: Core, platform: MemoryPlatform) -> None:
    platform.create(
        MachineSpec(
            "b1",
            "checkpoint:abc",
            kind="builder",
            cpus=0.1,
            caches=("apt",),
            metadata={"startup-script": "#!/bin/sh\n"},
        )
    )
    state = core.upgrade("stoneware_machine", 1, OLD)
    assert state["running"] is True
    assert state["recreate_on"] is None
    refreshed = core.read("stoneware_machine", state)
    assert refreshed is not None
    assert {name: refreshed[name] for name in OLD} == {**OLD, "cpus": "0.1"}
    core.apply("stoneware_machine", refreshed, None)
    assert platform.machines() == []


@pytest.mark.parametrize("type_name", TYPES)
def test_a_state_of_this_schema_is_read_from_json_as_it_is(core: Core, given: Given, type_name: str) -> None:
    state = core.change(type_name, None, given(type_name))
    assert state is not None
    numbers = {"cpus", "stop_timeout"}  # Terraform writes them as numbers, and sends them as text
    written = {name: float(value) if name in numbers and value else value for name, value in state.items()}
    assert core.upgrade(type_name, 2 if type_name == "stoneware_machine" else 1, written) == state


def test_config_in_place_of_metadata(core: Core, platform: MemoryPlatform) -> None:
    given = {"name": "m1", "source": IMAGE, "config": {"A": "1"}}
    state = settled(core, "stoneware_machine", core.change("stoneware_machine", None, given), given)
    later = {**given, "config": {"A": UNKNOWN}}
    assert core.plan("stoneware_machine", state, later).replace == ()
    with_metadata = {
        "name": "m1",
        "source": IMAGE,
        "metadata": {
            "stoneware-config": "A=1\n",
            "stoneware-mode": "run",
            "enable-guest-attributes": "TRUE",
        },
    }
    platform.calls.clear()
    after = core.change("stoneware_machine", state, with_metadata)
    assert platform.calls == []  # two ways to say the same
    settled(core, "stoneware_machine", after, with_metadata)


def test_a_context_that_changes_in_the_last_moment(core: Core, given: Given, tmp_path: Path) -> None:
    state = core.change("stoneware_image", None, given("stoneware_image"))
    config = {**given("stoneware_image"), "extra_tags": ["web:2"]}
    planned = core.plan("stoneware_image", state, config)
    assert planned.unknown == set()
    (tmp_path / "context" / "Machinefile").write_text("FROM debian:13\n")
    with pytest.raises(Refused) as caught:
        core.apply("stoneware_image", state, planned.state)
    [(summary, detail, _)] = caught.value.errors
    assert summary == "the context of web has changed since the plan"
    assert "To do next: run the same command again" in detail


def test_terraforms_wish_to_stop_ends_the_waiting(core: Core, platform: MemoryPlatform) -> None:
    waiting = threading.Event()

    def boot(name: str) -> None:
        waiting.set()

    platform.boot = boot  # type: ignore[method-assign]
    given = {"name": "m1", "source": IMAGE, "wait_for": "healthy"}
    errors: list[Refused] = []

    def create() -> None:
        try:
            core.change("stoneware_machine", None, given)
        except Refused as error:
            errors.append(error)

    creating = threading.Thread(target=create)
    creating.start()
    assert waiting.wait(300)
    core.stop()
    creating.join(300)
    [error] = errors
    assert error.errors[0][0] == "interrupted while the machine m1 was not healthy yet"


def test_data_sources(core: Core, platform: MemoryPlatform, images: MemoryImages) -> None:
    platform.create(MachineSpec("m1", IMAGE, metadata={"k": "v"}))
    platform.report("m1", **{"stoneware/status": "{}"})
    platform.show("m1", health=Health.HEALTHY, phase=Phase.RUNNING)
    found = core.data("stoneware_machine", {"name": "m1"})
    assert (found["health"], found["metadata"], found["running"]) == ("healthy", {"k": "v"}, True)
    assert found["guest_attributes"] == {"stoneware/status": "{}"}
    image_id = images.add("web", "latest")
    assert core.data("stoneware_image", {"name": "web"})["image_id"] == image_id
    for type_name in ("stoneware_machine", "stoneware_image"):
        with pytest.raises(Refused) as caught:
            core.data(type_name, {"name": "nothing"})
        assert caught.value.errors[0][2] == "name"


def test_sensitive_attributes_and_secrets(core: Core) -> None:
    attributes = core.attributes("stoneware_machine")
    assert {name for name, found in attributes.items() if found.sensitive} == {"config", "metadata"}
    assert [field.name for field in attributes["secrets"].nested_type.attributes] == [
        "secret",
        "target",
        "version",
        "mode",
        "uid",
        "gid",
    ]
    data = core.attributes("stoneware_machine", data=True)
    assert {name for name, found in data.items() if found.sensitive} == {"metadata"}


def test_everything_is_described(core: Core) -> None:
    schemas = [*core.schema.resource_schemas.values(), *core.schema.data_source_schemas.values()]
    for schema in schemas:
        assert schema.block.description
        for attribute in schema.block.attributes:
            assert attribute.description
            assert all(field.description for field in attribute.nested_type.attributes)


def test_terraform_asks_for_the_schema_once(
    tmp_path: Path, platform: MemoryPlatform, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    asked: list[object] = []
    answer = Servicer.GetProviderSchema

    def noted(servicer: Servicer, request: Any) -> Any:
        asked.append(servicer)
        return answer(servicer, request)

    monkeypatch.setattr(Servicer, "GetProviderSchema", noted)
    configure('resource "stoneware_network" "n" {\n  name = "n1"\n}')
    with Terraform(tmp_path, provider=ProviderServer(platform)) as terraform:
        terraform.apply()
        terraform.destroy()
    assert platform.network("n1") is None
    assert len(asked) == 1
