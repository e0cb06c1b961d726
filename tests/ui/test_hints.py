"""Hints repeat the flags that the user gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.cli.catalog import COMMANDS
from stoneware.cli.group import load, takes_platform
from stoneware.errors import InputError
from stoneware.ui.errors import render_error
from stoneware.ui.hints import (
    ClusterFlags,
    ask_commands,
    completed,
    completed_quotes,
    remember,
    remember_platform,
)
from tests.cli.test_platform_option import all_of


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    def forget() -> None:
        remember(ClusterFlags())
        remember_platform("")

    ask_commands(takes_platform)
    forget()  # tests that run one command only leave what was typed
    yield
    forget()


BOTH = ClusterFlags((Path("my files/a.yaml"), Path("b.yaml")), "prod")
VALUES = ClusterFlags(env_files=(Path("prod.env"),), directory=Path("/srv/app"))
SCALED = ClusterFlags(project="prod", scale=("web=3",))


@pytest.mark.parametrize(
    ("flags", "text", "shown"),
    [
        (ClusterFlags(), "stoneware up", "stoneware up"),
        (
            BOTH,
            "stoneware up    # makes it",
            "stoneware up -f 'my files/a.yaml' -f b.yaml -p prod    # makes it",
        ),
        (SCALED, "stoneware up --recreate", "stoneware up -p prod --scale web=3 --recreate"),
        (
            SCALED,
            "stoneware plan; stoneware down",
            "stoneware plan -p prod --scale web=3; stoneware down -p prod",
        ),
        (SCALED, "then `stoneware rollout` goes on", "then `stoneware rollout -p prod` goes on"),
        (
            SCALED,
            "stoneware rollout resume\nstoneware rollback",
            "stoneware rollout resume -p prod\nstoneware rollback -p prod",
        ),
        (
            VALUES,
            "stoneware rollout resume",
            "stoneware rollout --env-file prod.env --project-directory /srv/app resume",
        ),
        (VALUES, "stoneware status", "stoneware status --env-file prod.env --project-directory /srv/app"),
        (SCALED, "stoneware rollout --canary web-1", "stoneware rollout -p prod --canary web-1"),
        # What names a cluster already, asks for help, or is about machines, stays.
        (SCALED, "stoneware down -p shop --volumes", "stoneware down -p shop --volumes"),
        (SCALED, "stoneware up --help", "stoneware up --help"),
        (SCALED, "stoneware logs prod-web-1", "stoneware logs prod-web-1"),
        (SCALED, "stoneware upgrade; stoneware up-to-date", "stoneware upgrade; stoneware up-to-date"),
    ],
)
def test_flags_in_hints(flags: ClusterFlags, text: str, shown: str) -> None:
    remember(flags)
    assert completed(text) == shown


def test_what_a_machine_has_said_stays_as_it_is() -> None:
    remember(SCALED)
    said = "  | run stoneware up now\nbring it up first: `stoneware up`"
    assert (
        completed_quotes(said)
        == "  | run stoneware up now\nbring it up first: `stoneware up -p prod --scale web=3`"
    )
    error = InputError("the service says: stoneware up", details=said, resolution="stoneware up")
    lines = render_error(error).splitlines()
    assert lines[0] == "error: the service says: stoneware up"
    assert lines[1].endswith("run stoneware up now")
    assert lines[-1] == "→ stoneware up -p prod --scale web=3"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("stoneware logs k1", "stoneware logs --platform google k1"),
        ("stoneware ps -a", "stoneware ps --platform google -a"),
        (
            "stoneware stop k1    # or: stoneware rm -f k1",
            "{stop} --platform google k1    # or: {rm} --platform google -f k1",
        ),
        ("stoneware volume ls", "stoneware volume ls --platform google"),
        ("stoneware volume snapshot ls v", "stoneware volume snapshot ls --platform google v"),
        ("stoneware rollout resume", "stoneware rollout resume -p prod --platform google"),
        ("stoneware up --restore", "stoneware up -p prod --platform google --restore"),
        ("stoneware system df", "stoneware system df --platform google"),
        # What names one, what is of this computer, and what is no command stays.
        ("stoneware import FILE --platform local", "stoneware import FILE --platform local"),
        ("stoneware doctor --platform google", "stoneware doctor --platform google"),
        ("stoneware push k google", "stoneware push k google"),
        ("stoneware logs --help; stoneware volume --help", "stoneware logs --help; stoneware volume --help"),
        ("stoneware running; gcloud compute ssh k1", "stoneware running; gcloud compute ssh k1"),
        ("stoneware rollout status --help", "stoneware rollout -p prod status --help"),
        ("stoneware volume; stoneware terraform install", "stoneware volume; stoneware terraform install"),
        ("stoneware build", "stoneware build --platform google"),
        ("try `stoneware rollout goes on`", "try `stoneware rollout -p prod --platform google goes on`"),
    ],
)
def test_the_platform_in_hints(text: str, shown: str) -> None:
    remember(ClusterFlags(project="prod"))
    remember_platform("google")
    assert completed(text) == shown.format(stop="stoneware stop", rm="stoneware rm")
    remember_platform("")
    assert "--platform google" not in completed(text) or "--platform google" in text


def test_all_commands_that_take_it_are_known() -> None:
    remember_platform("google")
    for entry in COMMANDS:
        for name, command in all_of(load(entry), entry.name):
            takes = any("--platform" in each.opts for each in command.params)
            assert (
                completed(f"stoneware {name}") == f"stoneware {name}{' --platform google' if takes else ''}"
            )
