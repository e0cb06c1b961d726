"""N3: a machine reports what breaks whoever reads it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from stoneware.model.machine import Health, Phase
from tests import commands
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

PUT = (
    "curl -sf -X PUT -H 'Metadata-Flavor: Google' --data-binary @- "
    "http://169.254.169.254/computeMetadata/v1/instance/guest-attributes/stoneware/{}"
)


def stoneware(lab: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "STONEWARE_HOME": str(lab.home)}
    return commands.run(words, env=env, timeout=60)


def test_a_hostile_report_is_shown_as_invalid_for_its_machine_only(lab: Bench) -> None:
    lab.boot()
    neighbour = f"{lab.name}-n"
    lab.boot(name=neighbour)
    for kind in ("status", "health", "files", "inspection", "build", "alive"):
        script = f"head -c 5000 /dev/zero | tr '\\000' '[' | {PUT.format(kind)}"
        assert lab.platform.run(lab.name, ["sh", "-c", script], timeout=60) == (0, "")
    machine = lab.platform.observe(lab.name)
    assert machine is not None
    assert (machine.phase, machine.health) == (Phase.FAILED, Health.UNHEALTHY)
    assert "its report stoneware/status is invalid" in machine.error
    other = lab.platform.observe(neighbour)
    assert other is not None
    assert (other.phase, other.error) == (Phase.RUNNING, "")
    for words in (["ps"], ["ps", "--json"], ["inspect", lab.name], ["logs", lab.name], ["ps", "-a"]):
        done = stoneware(lab, *words)
        assert done.returncode == 0, (words, done.stderr)
        assert "Traceback" not in done.stderr
    shown = {row["name"]: row for row in json.loads(stoneware(lab, "ps", "--json").stdout)}
    assert "is invalid" in shown[lab.name]["error"]
    assert shown[neighbour]["error"] == ""
    # A lone surrogate, and the machine can be commanded as ever.
    text = r'{"phase":"failed","error":"\ud800 \u001b[2J"}'
    lab.platform.run(lab.name, ["sh", "-c", f"printf %s '{text}' | {PUT.format('status')}"], timeout=60)
    for words in (["ps"], ["ps", "--json"], ["inspect", lab.name], ["rm", "-f", lab.name]):
        done = stoneware(lab, *words)
        assert done.returncode == 0, (words, done.stderr)
        assert "Traceback" not in done.stderr
