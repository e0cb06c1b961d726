"""Hints repeat the flags that the user gave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.ui.errors import render_error
from stoneware.ui.hints import ClusterFlags, completed, completed_quotes, remember


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    remember(ClusterFlags())


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
