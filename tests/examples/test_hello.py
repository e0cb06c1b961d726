"""The hello example, from its Machinefile to the page it serves."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from .conftest import EXAMPLES, Program

pytestmark = pytest.mark.machine

HELLO = EXAMPLES / "hello"
HOSTILE = "naïve \"quoted\" 'text' $HOME ${x} `id` $(id) \\n & 100%"


@pytest.fixture
def baked(program: Program) -> dict[str, Any]:
    return program.bake("hello", HELLO)


def get(address: str) -> tuple[str, Any]:
    with urllib.request.urlopen(f"http://{address}/", timeout=30) as reply:
        return reply.read().decode(), reply.headers


def test_a_second_bake_builds_nothing(program: Program, baked: dict[str, Any]) -> None:
    again = program.bake("hello", HELLO)

    assert again["image_id"] == baked["image_id"]
    assert again["ran"] == 0


def test_the_page_shows_the_greeting_byte_for_byte(program: Program, baked: dict[str, Any]) -> None:
    machine = program.boot("hello-page", "-p", "127.0.0.1::80", "-e", f"GREETING={HOSTILE}", "hello")
    published = machine["ports"][0]["host_port"]

    page, headers = get(machine["ip"])
    assert f"<h1>{HOSTILE}</h1>" in page
    assert "<title>Stoneware</title>" in page
    assert "color: #b5651d" in page
    assert f"Machine hello-page, address {machine['ip']}" in page
    assert f"Image {baked['image_id']}" in page
    assert headers["X-Machine"] == "hello-page"
    assert get(f"127.0.0.1:{published}")[0] == page


def test_only_the_images_own_service_runs(program: Program, baked: dict[str, Any]) -> None:
    assert baked["image_id"]
    program.boot("hello-units", "-e", "GREETING=hi", "hello")

    def state(unit: str) -> str:
        return program.run("exec", "hello-units", "systemctl", "is-active", unit, check=False).stdout.strip()

    assert state("hello.service") == "active"
    assert state("nginx.service") == "inactive"
    failed = program.run(
        "exec", "hello-units", "systemctl", "list-units", "--failed", "--plain", "--no-legend"
    )
    assert failed.stdout.strip() == ""


@pytest.mark.parametrize(
    ("config", "named"), [([], "GREETING"), (["-e", "GREETING=hi", "-e", "ACCENT=red"], "ACCENT")]
)
def test_a_wrong_config_is_found_before_there_is_a_machine(
    program: Program, baked: dict[str, Any], config: list[str], named: str
) -> None:
    assert baked["image_id"]
    program.machines.append("hello-wrong")

    done = program.run("run", "-d", "--name", "hello-wrong", *config, "hello", check=False)

    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert [entry["name"] for entry in program.json("ps", "-a") if entry["name"] == "hello-wrong"] == []


def test_other_files_can_be_seen_without_booting(program: Program, baked: dict[str, Any]) -> None:
    assert baked["image_id"]

    shown = program.run("render", "hello", "-e", "GREETING=from the host").stdout

    assert "<h1>from the host</h1>" in shown
    assert "try_files $uri $uri/ =404;" in shown
