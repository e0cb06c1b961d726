"""Gates whose commands images declare: they take no way into machines, and are looked for in the images."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.model.capability import Capability
from stoneware.rollout.declared_commands import (
    check_declared,
    check_finalize,
    declared_by,
    plain_words,
)

pytestmark = pytest.mark.pure
DRAIN = "/etc/stoneware/commands/drain"


def _site(*capabilities: Capability, **declared: list[str]) -> Any:
    manifests: dict[str, dict[str, Any]] = {
        f"sha256:{name}": {"commands": it} for name, it in declared.items()
    }
    manifests["sha256:old"] = {}
    return SimpleNamespace(
        platform=SimpleNamespace(capabilities=frozenset(capabilities)),
        store=SimpleNamespace(image_ids=lambda: list(manifests), manifest=manifests.__getitem__),
    )


def _desired(**images: str) -> Any:
    machines = {
        name.replace("_", "-"): SimpleNamespace(
            service=name.split("_")[0], image=f"{image}:1", image_id=f"sha256:{image}"
        )
        for name, image in images.items()
    }
    return SimpleNamespace(machines=machines)


def _policies(where: str = "self", *command: str) -> Any:
    gate = {"exec": {"command": list(command or (DRAIN, "--now")), "in": where}}
    return {"web": SimpleNamespace(gates=[{"kafka": {}}, gate])}


def test_the_image_has_to_declare_it() -> None:
    desired = _desired(web_1="new", db_1="old")
    check_declared(desired, _policies(), _site(new=["drain", "x"]))
    for site in (_site(new=["x"]), _site(new=[])):
        with pytest.raises(InputError, match="the image new:1 declares no command drain") as caught:
            check_declared(desired, _policies("each"), site)
        assert "web-1" in caught.value.details
    with pytest.raises(InputError, match="the image old:1"):
        check_declared(desired, _policies("db-1"), _site(new=["drain"]))


def test_what_is_not_asked_for() -> None:
    check_declared(_desired(web_1="later"), _policies(), _site(new=[]))  # not baked yet
    check_declared(_desired(web_1="old"), _policies("self", "/bin/true"), _site())  # refused as a need
    check_declared(_desired(web_1="old"), _policies(), _site(Capability.COMMANDS))  # the file may be there


def test_which_gates_need_no_way_in() -> None:
    assert declared_by("exec", {"command": [DRAIN]}) == ["drain"]
    assert declared_by("exec", {"command": ["/bin/sh", "-c", DRAIN]}) is None
    assert declared_by("kafka", {}) == []
    assert declared_by("postgres", {"switchover": [DRAIN]}) is None
    assert declared_by("postgres", {"command": DRAIN}) == ["drain"]
    assert declared_by("postgres", {"command": [DRAIN, "now"], "switchover": DRAIN}) == ["drain", "drain"]
    assert declared_by("postgres", {"command": DRAIN, "switchover": f"{DRAIN} && true"}) is None


def test_a_gate_of_servers_asks_all_of_its_services() -> None:
    desired = _desired(web_1="new", db_1="old", other_1="old")
    policies: Any = {"web": SimpleNamespace(gates=[{"postgres": {"command": DRAIN, "services": ["web"]}}])}
    check_declared(desired, policies, _site(new=["drain"]))
    policies["web"].gates[0]["postgres"]["services"] = ["web", "db"]
    with pytest.raises(InputError, match="the image old:1 declares no command drain"):
        check_declared(desired, policies, _site(new=["drain"]))
    del policies["web"].gates[0]["postgres"]["services"]
    with pytest.raises(InputError, match="the image old:1"):
        check_declared(desired, policies, _site(new=["drain"]))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (DRAIN, [DRAIN]),
        (f"{DRAIN} --to 4.3", [DRAIN, "--to", "4.3"]),
        (f"{DRAIN} && true", []),
        (f"{DRAIN} $HOME", []),
        (f"{DRAIN} 'a b'", []),
        ("kafka-finalize", []),
        ("", []),
    ],
)
def test_what_a_label_says_without_a_shell(command: str, words: list[str]) -> None:
    assert plain_words(command) == words


def test_what_an_image_is_finalized_by_without_a_way_in() -> None:
    site = _site(new=["drain"])
    site.platform.name = "google"
    check_finalize(site, f"{DRAIN} --now", "sha256:new")
    for command, image, why in (
        ("drain --now", "new", "takes a shell"),
        (f"{DRAIN}; true", "new", "takes a shell"),
        (DRAIN, "old", f"{DRAIN} is not in the image"),
    ):
        with pytest.raises(InputError, match="the platform google cannot run") as caught:
            check_finalize(site, command, f"sha256:{image}")
        assert why in caught.value.details
    check_finalize(_site(Capability.COMMANDS), "drain --now", "sha256:old")
