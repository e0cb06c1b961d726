"""When the Kafka example formats its disk: the start script, over a Java that notes its calls."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .clusters import wait_for
from .start_scripts import StartScript, files_of, lay, start_script

pytestmark = pytest.mark.tool

EXAMPLE = Path(__file__).parents[2] / "examples/kafka"
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases/kafka_disks.json").read_text())

JAVA = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
*StorageTool*)
    while [ "$1" != --config ]; do shift; done
    directory=$(sed -n 's/^log\\.dirs=//p' "$2")
    mkdir -p "$directory"
    [ -z "${DIES-}" ] || exit 1
    printf 'node.id=1\\ncluster.id=CLUSTER\\n' >"$directory/meta.properties"
    ;;
esac
"""


@pytest.fixture
def broker(tmp_path: Path) -> StartScript:
    places = {"/etc/kafka": "etc", "/var/lib/kafka": "volume"}
    script = start_script(EXAMPLE / "kafka-broker", tmp_path, places)
    script.program("java", JAVA)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/server.properties").write_text(f"node.id=1\nlog.dirs={tmp_path}/volume/data\n")
    (tmp_path / "etc/cluster-id").write_text("CLUSTER\n")
    return script


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_formats_only_what_is_blank(broker: StartScript, case: dict[str, Any]) -> None:
    lay(broker.volume, case["files"])
    before = files_of(broker.volume)

    done = broker.run()

    formats = [call for call in broker.calls() if "StorageTool" in call]
    starts = [call for call in broker.calls() if "kafka.Kafka" in call]
    assert bool(formats) is case["formatted"], done.stderr
    assert bool(starts) is (case["ends"] == "started"), done.stderr
    if case["ends"] == "refused":
        assert done.returncode == 78
        assert case["says"] in done.stderr
    if case["formatted"]:
        assert "--cluster-id CLUSTER" in formats[0]
        assert files_of(broker.volume) == {"data/meta.properties": "node.id=1\ncluster.id=CLUSTER\n"}
    else:
        assert files_of(broker.volume) == before


def test_a_format_that_fails_leaves_a_disk_that_is_formatted_next_time(broker: StartScript) -> None:
    failed = broker.run(DIES="yes")

    assert failed.returncode == 78
    assert not (broker.volume / "data").exists()
    assert broker.run().returncode == 0
    assert (broker.volume / "data/meta.properties").exists()


def test_a_disk_that_cannot_be_read_is_not_formatted(broker: StartScript) -> None:
    broker.volume.rmdir()  # as unreadable to root as a directory gets

    done = broker.run()

    assert done.returncode == 78
    assert "cannot be read" in done.stderr
    assert broker.calls() == []


def test_a_second_start_formats_nothing(broker: StartScript) -> None:
    broker.run()
    broker.run()

    assert sum("StorageTool" in call for call in broker.calls()) == 1
    assert sum("kafka.Kafka" in call for call in broker.calls()) == 2


def _started(broker: StartScript, health: int, java: str) -> subprocess.Popen[str]:
    """Start the script with a Java of this text, and a health check that ends with this code."""
    lay(broker.volume, {"data/meta.properties": "node.id=1\ncluster.id=CLUSTER\n"})
    broker.program("java", f'#!/bin/sh\necho "$*" >>"$CALLS"\n{java}\n')
    broker.program("broker-health", f'#!/bin/sh\necho asked >>"$CALLS"\nexit {health}\n')
    broker.program("sleep", "#!/bin/sh\nexec /bin/sleep 0.05\n")
    started = subprocess.Popen([broker.path], env=broker.environment, stdout=subprocess.PIPE, text=True)
    wait_for(broker.calls, "java runs")
    return started


def test_a_broker_that_hands_over_gets_its_time(broker: StartScript) -> None:
    """However long it takes, and though the check fails, since a broker that stops is fenced."""
    broker.root.joinpath("go").unlink(missing_ok=True)
    java = f"trap 'until [ -e {broker.root}/go ]; do /bin/sleep 0.01; done; exit 143' TERM\n"
    started = _started(broker, 1, java + "while :; do /bin/sleep 0.01; done")

    started.terminate()
    wait_for(lambda: broker.calls().count("asked") > 3, "the watch goes on")
    assert started.poll() is None
    broker.root.joinpath("go").touch()

    output, _ = started.communicate(timeout=300)
    assert (started.returncode, output) == (0, "")


def test_a_broker_without_controllers_is_ended(broker: StartScript) -> None:
    started = _started(broker, 3, "trap '' TERM\nwhile :; do /bin/sleep 0.01; done")

    started.terminate()

    output, _ = started.communicate(timeout=300)
    assert "no controller left to hand over to" in output
    assert started.returncode == 0
    assert broker.calls().count("asked") == 2


@pytest.mark.parametrize("code", [0, 1, 143])
def test_a_broker_that_ends_by_itself_ends_the_service(broker: StartScript, code: int) -> None:
    started = _started(broker, 0, f"exit {code}")

    started.communicate(timeout=300)
    assert started.returncode == code
    assert "asked" not in broker.calls()
