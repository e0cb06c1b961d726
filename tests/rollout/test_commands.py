"""The commands over machines in memory: what they print, what they ask, their exit codes."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.cli import clusters, program, rollouts
from stoneware.cli.commands import machines
from stoneware.compose.model import Cluster, FailureAction
from stoneware.model.machine import Phase
from stoneware.platforms.cluster_records import Document
from stoneware.rollout.lock import identity
from tests.rollout.bench import FAST, RolloutBench, app, image_id

pytestmark = pytest.mark.tool


@dataclass
class Typed:
    """A file, and commands typed beside it."""

    bench: RolloutBench
    monkeypatch: pytest.MonkeyPatch
    changes: dict[str, Any] = field(default_factory=dict)

    def load(self, *_: Any, **__: Any) -> Cluster:
        return self.bench.file(self.changes)

    def run(self, *words: str, code: int = 0) -> tuple[str, str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", io.StringIO())
            found = program.run(words)
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        assert found == code, texts
        return texts[0], texts[1]

    def end_driver(self) -> None:
        """As if the command that drove the rollout had been another process, which has ended since."""
        path = self.bench.site.directory("shop").path / Document.DRIVER
        path.write_text(json.dumps({**json.loads(path.read_text()), "started": 5}))


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    monkeypatch.setenv("X", "correct-horse-battery")
    monkeypatch.chdir(tmp_path)
    bench = RolloutBench(tmp_path / "clusters")
    bench.up()
    made = Typed(bench, monkeypatch)
    monkeypatch.setattr(clusters, "load", made.load)
    monkeypatch.setattr(clusters, "open_site", lambda: bench.site)
    monkeypatch.setattr(machines, "open_platform", lambda *_, **__: bench.platform)
    return made


def test_a_rollout_and_what_is_told_of_it(typed: Typed, tmp_path: Path) -> None:
    out, err = typed.run("rollout", "--plan", "--detailed-exitcode")
    assert out == ""
    assert "nothing to do: 4 machines as declared" in err
    assert "nothing to do" in typed.run("rollout")[1]
    assert json.loads(typed.run("rollout", "--json")[0])["rollout"] is None
    assert "had no rollout yet" in typed.run("rollout", "history")[1]
    assert "had no rollout" in typed.run("rollout", "status", code=2)[1]

    typed.changes = app("app:2")
    out, err = typed.run("rollout", "--plan", "--exit-code", code=5)
    assert [line.split()[0] for line in out.splitlines()] == ["MACHINE", "app-1", "app-2"]
    assert "image app:1" in out
    assert "2 machines to replace; app 1 at a time, on failure rollback" in err
    document = json.loads(typed.run("rollout", "--plan", "--json")[0])
    assert document["changes"][0]["after"]["image_id"] == image_id("2")
    assert document["changes"][0]["gates"] == ["machine"]

    out, err = typed.run("rollout", "--json", "--progress", "plain")
    result = json.loads(out)
    assert result["rollout"]["outcome"] == "completed"
    assert result["driver"] is None
    assert "app-1: replacing" in err
    assert "r1: completed, 2 machines" in err
    assert "r1: completed" in typed.run("rollout", "status")[0]
    assert json.loads(typed.run("rollout", "status", "--json")[0])["rollout"]["id"] == "r1"
    assert typed.run("rollout", "history")[0].splitlines()[1].startswith("r1")
    assert typed.run("rollout", "-p", "shop", "status") == typed.run("rollout", "status", "-p", "shop")
    assert "there is no rollout" in typed.run("rollout", "resume", code=2)[1]

    path, _ = typed.run("rollout", "report")
    assert (tmp_path / path.strip()).read_text().startswith("<!doctype html>")
    typed.run("rollout", "report", "1", "-o", "page.html")
    assert "It had: r1" in typed.run("rollout", "report", "r7", code=2)[1]
    assert "no load curve" in typed.run("rollout", "report", "--probe", "page.html", code=2)[1]


def test_json_events(typed: Typed) -> None:
    typed.changes = app("app:2")
    _, err = typed.run("rollout", "--progress", "json")
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines if line.get("machines") == ["app-1"]] == [
        "stopping",
        "applying",
        "waiting",
        "monitoring",
        "done",
    ]
    assert lines[-1]["outcome"] == "completed"


def test_a_rollout_that_goes_back(typed: Typed) -> None:
    typed.bench.platform.bad_images.add(image_id("2"))
    typed.changes = app("app:2")
    _, err = typed.run("rollout", code=4)
    assert "FAILED: app-1: machine: the machine has failed: the broker cannot start" in err
    assert "going back" in err
    assert "r1: rolled back" in err


@pytest.mark.parametrize("gone", [True, False])
def test_a_rollout_that_waits_for_a_machine_that_went_down(typed: Typed, gone: bool) -> None:
    """It comes back by another command than what the rollout has changed."""
    platform = typed.bench.platform

    def go_down() -> None:
        if gone:
            platform.destroy("shop-db-1")
        else:
            platform.show("shop-db-1", phase=Phase.STOPPED, exit_code=0)

    platform.after_creating = go_down
    typed.bench.own = {"gate_timeout": "1s"}
    typed.changes = app("app:2")
    err = typed.run("rollout", code=1)[1]
    assert f"r1: paused: machine: db-1 {'is gone' if gone else 'has stopped'}" in err
    assert "stoneware up --restore    # brings back what is down or gone" in err


def test_a_rollout_that_pauses(typed: Typed) -> None:
    typed.bench.update = replace(FAST, failure_action=FailureAction.PAUSE)
    typed.bench.platform.bad_images.add(image_id("2"))
    typed.changes = app("app:2")
    _, err = typed.run("rollout", "-p", "shop", "--progress", "quiet", code=1)
    assert "r1: paused: app-1: machine: the machine has failed: the broker cannot start" in err
    assert "--restore" not in err
    assert "stoneware rollout resume -p shop    # continues; `stoneware rollback -p shop` returns" in err
    out, _ = typed.run("rollout", "status")
    assert "r1: paused" in out
    assert "drives it" in out
    assert "has not ended" in typed.run("rollback", "--plan", code=2)[1]
    assert "has not ended" in typed.run("rollback", "r1", code=2)[1]
    assert "paused already" in typed.run("rollout", "pause")[1]
    _, err = typed.run("rollback")
    assert "r1: rolled back" in err
    assert typed.bench.running()["app-1"] == "1"


def test_rollback(typed: Typed) -> None:
    assert "no rollout that it could return from" in typed.run("rollback", code=2)[1]
    typed.changes = app("app:2")
    typed.run("rollout", "--progress", "quiet")
    out, _ = typed.run("rollback", "--plan")
    assert "app:1" in out
    assert "nothing to do" in typed.run("rollback", "r1")[1]
    assert "r2: completed" in typed.run("rollback", "--json")[1]
    assert typed.bench.running()["app-1"] == "1"


def test_a_canary_nobody_can_be_asked_about(typed: Typed) -> None:
    typed.changes = app("app:2")
    _, err = typed.run("rollout", "--canary", "app-1", code=1)
    assert "holds after the canary app-1" in err
    going = rollouts.unfinished_rollout(typed.bench.site, "shop")
    assert going is not None
    assert going.document["state"] == "holding"
    assert going.sentence.startswith("rollout r1 by ")
    assert "holds after the canary app-1: " in going.sentence
    typed.end_driver()
    out, _ = typed.run("rollout", "status")
    assert "r1: holding: the canary is healthy; `stoneware rollout resume` continues" in out
    err = typed.run("up", "--yes", code=2)[1]
    assert "It holds after the canary app-1." in err
    assert "is gone" not in out + err, "it has ended in order"
    assert typed.run("restart", "shop-app-2")[1] == (
        "warning: the cluster shop has a rollout that has not ended: rollout r1 by "
        f"{identity()[0]} holds after the canary app-1: `stoneware rollout resume` continues, "
        "`stoneware rollback` returns what was changed\n"
    )
    assert "aborted" in typed.run("rollout", "abort")[1]
    assert f"r1: aborted: asked for by {identity()[0]}" in typed.run("rollout", "status")[0]
    assert rollouts.unfinished_rollout(typed.bench.site, "shop") is None
    typed.changes = app("app:4")
    _, err = typed.run("rollout", "--canary", "app-2", "--yes")
    assert "r2: completed" in err


def test_a_plan_that_is_blocked(typed: Typed) -> None:
    typed.changes = app("app:5")
    out, err = typed.run("rollout", "--plan", code=2)
    assert "blocked: app-1 would need a new, blank disk" in out
    assert "/var/lib/new" in err
    assert json.loads(typed.run("rollout", "--plan", "--json", code=2)[0])["blocked"]
    typed.run("rollout", code=2)
    assert typed.bench.journal() == []


def test_finalize(typed: Typed) -> None:
    typed.changes = app("app:3")
    typed.run("rollout")
    out, _ = typed.run("rollout", "finalize", "--plan")
    assert "app 3.0 floor 3: to run in app-1: raise" in out
    before = typed.bench.journal()
    err = typed.run("rollout", "finalize", code=2)[1]
    assert "this finalizes: there is no way back for app below 3" in err
    assert "add --yes" in err
    assert typed.bench.journal() == before
    assert "the lowest version is 3 now" in typed.run("rollout", "finalize", "--yes")[1]
    assert "nothing to finalize" in typed.run("rollout", "finalize")[1]
    assert "finalized already" in typed.run("rollout", "finalize", "--plan")[0]
    assert json.loads(typed.run("rollout", "finalize", "--plan", "--json")[0])[0]["done"] is True
    assert "completed, finalized" in typed.run("rollout", "history")[0]
    typed.changes = app("app:2")
    assert "3 is the lowest" in typed.run("rollout", code=2)[1]


def test_a_cluster_that_is_not_up(typed: Typed) -> None:
    typed.bench.down()
    for words in (["rollout"], ["rollout", "--plan"], ["rollback"], ["rollout", "finalize"]):
        assert "is not" in typed.run(*words, code=2)[1]
