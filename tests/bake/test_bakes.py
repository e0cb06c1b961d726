"""Real bakes one after another: caching, reasons, failures and how the next goes on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.bake.conftest import Context
from tests.bake.faults import next_to_type, tidy

pytestmark = pytest.mark.machine

SMALL = "FROM debian:12\nRUN echo one >/one\nCOPY a.txt /srv/\nARG WORD=x\nRUN {}\n"
FAILING = "echo before; no-such-program; exit 7"
WORKING = "cat /one >/again && echo $WORD >/word"
Actions = list[tuple[str, str]]


@dataclass
class History:
    """Bakes of one context and plans between them, in the order of the fields."""

    context: Context
    unbuilt: Actions = field(default_factory=list)
    failure: tuple[str, str] = ("", "")
    after_failure: Actions = field(default_factory=list)
    resumed: dict[str, Any] = field(default_factory=dict)
    repeated: dict[str, Any] = field(default_factory=dict)
    touched: Actions = field(default_factory=list)
    edited: Actions = field(default_factory=list)
    argued: Actions = field(default_factory=list)
    uncached: Actions = field(default_factory=list)
    commit: str = ""
    rebaked: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def history(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> History:
    small = Context(tmp_path_factory.mktemp("small"), machine_home, "small")
    found = History(small)
    small.write({"Machinefile": SMALL.format(FAILING), "a.txt": "first\n", "notes": "1\n"})
    found.unbuilt = small.actions()
    found.failure = small.run("bake", "-t", small.name, "--progress", "plain", ".", code=1)
    assert tidy(small.home), "a bake that fails leaves nothing"
    found.after_failure = small.actions()
    small.write({"Machinefile": SMALL.format(WORKING)})
    found.resumed = small.bake()
    found.repeated = small.bake()
    os.utime(small.path / "a.txt", (0, 0))
    found.touched = small.actions()
    small.write({"a.txt": "second\n"})
    found.edited = small.actions()
    small.write({"a.txt": "first\n"})
    found.argued = small.actions("--build-arg", "WORD=y")
    found.uncached = small.actions("--no-cache")
    found.commit = small.commit()
    small.write({"notes": "2\n"})
    found.rebaked = small.bake("--build-arg", "WORD=y")
    return found


def test_a_failed_step_is_told_and_the_next_bake_resumes(history: History) -> None:
    out, err = history.failure
    assert out == ""
    assert "error: Machinefile:6: step 3" in err
    assert "exit code 7" in err
    assert "  before" in err
    assert "no-such-program: not found" in err
    assert f"RUN {FAILING}" in err
    assert next_to_type(err).startswith("fix the step")
    assert "--on-failure shell" in err
    assert [action for action, _ in history.after_failure] == ["HIT", "HIT", "RUN"]
    resumed = history.resumed
    assert (resumed["cached"], resumed["ran"]) == (2, 1)
    assert (history.context.rootfs(resumed) / "again").read_text() == "one\n"


def test_a_second_bake_builds_nothing(history: History) -> None:
    first, second = history.resumed, history.repeated
    assert first["commit"] is None
    assert first["tags"] == [f"{history.context.name}:latest"]
    assert (second["cached"], second["ran"], second["image_id"]) == (3, 0, first["image_id"])


def test_the_plan_says_what_changed(history: History) -> None:
    assert history.unbuilt[0] == ("RUN", "not built yet")
    assert history.edited == [
        ("HIT", "cached"),
        ("RUN", "file a.txt changed"),
        ("RUN", "the step before it changed"),
    ]
    assert history.argued[2] == ("RUN", "argument WORD changed from x to y")
    assert {reason for _, reason in history.uncached} == {"--no-cache"}
    assert (history.rebaked["cached"], history.rebaked["ran"]) == (2, 1)
    assert (history.context.rootfs(history.rebaked) / "word").read_text() == "y\n"


def test_times_of_files_do_not_matter(history: History) -> None:
    assert {action for action, _ in history.touched} == {"HIT"}


def test_a_work_tree_that_differs_from_its_commit_is_told(history: History) -> None:
    assert f"{history.context.name}:{history.commit[:7]}-dirty" in history.rebaked["tags"]
    assert history.rebaked["dirty"] is True


LEAVING = """\
FROM debian:12
RUN --mount=type=secret,id=t cp /run/secrets/t /root/left && \\
    (printf 'user:'; cat /run/secrets/t) | base64 >/root/coded && \\
    od -An -tx1 /run/secrets/t | tr -d ' \\n' >/root/hex
"""


def test_a_secret_left_in_the_image_fails_the_bake(context: Context) -> None:
    files = {"Machinefile": LEAVING, "t": "a-value-nobody-may-keep", ".machineignore": "t\n"}
    context.write(files)
    for step in ("RUN", "cached"):
        _, err = context.run("bake", "-t", context.name, "--secret", "id=t,src=t", ".", code=1)
        for place in ("/root/left", "/root/coded", "/root/hex"):
            assert place in err, f"with the step {step}"
        assert "--skip-check" in err
        assert "a-value-nobody-may-keep" not in err


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("COPY tree/ /", "a file would be put over a directory: /etc/apt"),
        ("USER nobody-at-all\nRUN true", "nobody-at-all"),
    ],
)
def test_a_step_that_cannot_be_done_is_told_with_its_line(context: Context, step: str, said: str) -> None:
    context.write({"Machinefile": f"FROM debian:12\n{step}\n", "tree/etc/apt": "x\n", "tree/new": "x\n"})
    _, err = context.run("bake", "-t", context.name, "--progress", "plain", ".", code=1)
    assert f"error: Machinefile:{3 + step.count(chr(10))}: step 1" in err
    assert said in err
