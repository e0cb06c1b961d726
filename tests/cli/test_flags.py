from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from stoneware.cli.commands import machines as cli_machines
from stoneware.cli.commands.run import run as cli_run
from stoneware.durations import parse_duration
from stoneware.errors import InputError
from stoneware.launch import flags
from stoneware.model import limits
from stoneware.model.resources import PortMapping, VolumeMount

CASES = Path(__file__).parent / "cases"


def cases(name: str) -> list[tuple[str, Any]]:
    return [(text, wanted) for text, wanted in json.loads((CASES / name).read_text())]


@pytest.mark.parametrize(("text", "wanted"), cases("ports.json"))
def test_ports(text: str, wanted: list[list[Any]] | None) -> None:
    if wanted is None:
        with pytest.raises(InputError) as failure:
            flags.parse_port(text)
        assert failure.value.resolution
    else:
        assert flags.parse_port(text) == tuple(PortMapping(*row) for row in wanted)


@pytest.mark.parametrize(("text", "wanted"), cases("volumes.json"))
def test_volumes(text: str, wanted: list[Any] | None) -> None:
    if wanted is None:
        with pytest.raises(InputError) as failure:
            flags.parse_volume(text)
        assert failure.value.resolution
    else:
        assert flags.parse_volume(text) == VolumeMount(*wanted)


@pytest.mark.parametrize(("text", "wanted"), cases("sizes.json"))
def test_sizes(text: str, wanted: int | None) -> None:
    if wanted is None:
        with pytest.raises(InputError):
            limits.parse_size(text)
    else:
        assert limits.parse_size(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), cases("durations.json"))
def test_durations(text: str, wanted: float | None) -> None:
    if wanted is None:
        with pytest.raises(InputError, match="of --older-than"):
            parse_duration(text, "--older-than")
    else:
        assert parse_duration(text, "x") == wanted


@pytest.mark.parametrize("text", ["no", "always", "unless-stopped", "on-failure", "on-failure:3"])
def test_restart_policies(text: str) -> None:
    assert flags.parse_restart(text) == text


@pytest.mark.parametrize(
    "text", ["", "yes", "on-failure:", "on-failure:x", "always:3", "on-failure:٣", f"on-failure:{'9' * 20}"]
)
def test_wrong_restart_policies(text: str) -> None:
    with pytest.raises(InputError):
        flags.parse_restart(text)


@pytest.mark.parametrize("name", ["h1", "a", "kafka-1", "x" * 63])
def test_names(name: str) -> None:
    assert flags.check_name(name) == name


@pytest.mark.parametrize("name", ["", "H1", "a_b", "-a", "a-", "a.b", "x" * 64, "a/b", "ä"])
def test_wrong_names(name: str) -> None:
    with pytest.raises(InputError):
        flags.check_name(name)


def test_values_take_ours_where_none_is_given() -> None:
    words = ["A=1", "B", "C", "D=", "E=a=b", "A=2"]
    assert flags.parse_values(words, {"B": "ours"}) == {"A": "2", "B": "ours", "D": "", "E": "a=b"}


def test_a_value_needs_a_key() -> None:
    with pytest.raises(InputError, match="--build-arg"):
        flags.parse_values(["=x"], {}, "--build-arg")


def test_exposed_ports_ask_for_a_free_one() -> None:
    assert flags.exposed_port("53/udp") == PortMapping("0.0.0.0", 0, 53, "udp")
    assert flags.exposed_port("80") == PortMapping("0.0.0.0", 0, 80, "tcp")


def test_less_than_a_machine_can_boot_with() -> None:
    assert limits.parse_memory("16m") == limits.SMALLEST_MEMORY
    with pytest.raises(InputError, match=r"50 bytes of memory are too few for a machine: 16m is the least"):
        limits.parse_memory("50")
    assert not limits.cpus_problem(0.01)
    for cores in (0.001, float("nan"), -1.0):
        assert "too little" in limits.cpus_problem(cores)


def test_more_than_a_computer_can_count() -> None:
    assert not limits.cpus_problem(limits.MOST_CORES)
    for cores in (float("inf"), 8193.0, 1e300):
        assert "8192 are the most" in limits.cpus_problem(cores)
    for size in (1 << 63, 10**400, 1e300):
        assert "more than" in limits.memory_problem(size)  # type: ignore[arg-type] # a provider's number
        assert "more than" in limits.disk_problem(size)  # type: ignore[arg-type]
        assert "more than" in limits.log_problem(size, 1)  # type: ignore[arg-type]
    assert not limits.memory_problem((1 << 63) - 1)


@pytest.mark.parametrize(
    "words", [("--timeout", "1e300"), ("--timeout", "1000000001"), ("--timeout", "9" * 400)]
)
def test_options_that_no_wait_could_take(words: tuple[str, str]) -> None:
    with pytest.raises(click.UsageError, match="out of range: at most 1000000000"):
        cli_machines.wait.make_context("wait", ["web", *words])
    assert cli_machines.wait.make_context("wait", ["web", "--timeout", "1e9"]).params["timeout"] == 1e9


@pytest.mark.parametrize("number", ["9" * 400, "1" + "0" * 308, "-" + "9" * 400])
def test_whole_numbers_beyond_all_bounds(number: str) -> None:
    with pytest.raises(click.UsageError, match="out of range"):
        cli_run.make_context("run", ["--pids-limit", number, "image"])
