"""What is wrong with a machine's configuration, found before anything is planned."""

from __future__ import annotations

from typing import Any

import pytest

from stoneware.provider.machine_checks import problems

ENDLESS = float("1e400")  # what becomes of a number that is too large for a computer's


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"disk": ENDLESS}, ["disk"]),
        ({"pids_limit": -ENDLESS}, ["pids_limit"]),
        ({"log_max_size": ENDLESS}, ["log_max_size"]),
        ({"stop_timeout": ENDLESS}, ["stop_timeout"]),
        ({"ulimits": [{"name": "core", "soft": ENDLESS}]}, ["ulimits", (0,), "soft"]),
        ({"ports": [{"machine_port": 80}, {"machine_port": ENDLESS}]}, ["ports", (1,), "machine_port"]),
        ({"system": {"memory": ENDLESS}}, ["system", "memory"]),
    ],
)
def test_a_number_that_is_too_large_is_refused_with_its_place(
    config: dict[str, Any], path: list[Any]
) -> None:
    assert list(problems(config)) == [(path, "the number is too large")]


def test_numbers_that_fit_are_not_refused() -> None:
    assert list(problems({"disk": 1 << 40, "stop_timeout": 2.5, "cpus": 0.5})) == []


@pytest.mark.parametrize(
    ("target", "good"),
    [
        ("a/b.key", True),
        ("/etc/app/the tôken", True),
        ("/etc/a:b@c+d", True),
        ("the tôken", False),
        ("../x", False),
        ("/etc/../x", False),
        ("/etc/.", False),
        ("/etc/", False),
        ("//etc/x", False),
        ("/", False),
        ("/etc/a\tb", False),
        ("/etc/a\nb", False),
    ],
)
def test_the_path_of_a_file_that_a_machine_is_given(target: str, good: bool) -> None:
    assert (not list(problems({"secrets": [{"target": target}]}))) == good
