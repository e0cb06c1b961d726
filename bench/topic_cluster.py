"""Plan, status and drift of large clusters whose observed state is recorded, each in a process of its own."""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.harness import ROOT, TIMES, Row, Section, interleave, run, timed_rows
from bench.place import Place

SIZES = (10, 100, 1000)
LIMIT = 3.0  # seconds, for the largest
GROWTH = 2.0  # how much more a machine may cost among 1,000 than among 100; squares would make it ten
COMMANDS = ("plan", "status", "drift")
KAFKA = ROOT / "examples/kafka"
OBSERVATION = "observation.pickle"
IMAGE = "sha256:" + "5" * 64
NOW = 1_700_000_000.0

# A service of half the machines on top of five others, as one would write it.
FILE = """\
name: large
x-broker: &broker
  image: kafka:4
  environment: &environment
    CLUSTER_ID: AAAAAAAAAAAAAAAAAAAAAA
    NODE_ID: "{{{{.Task.Slot}}}}"
    ADVERTISED_HOST: "{{{{.Service.Name}}}}-{{{{.Task.Slot}}}}"
    CONTROLLER_QUORUM_VOTERS: "1@a-1:9093,2@a-2:9093,3@a-3:9093"
    KAFKA_HEAP: 512m
    LOG_LEVEL: info
  volumes: ["data:/var/lib/kafka"]
  ports: ["9092"]
  secrets: [token]
  stop_grace_period: 6m
  deploy:
    replicas: {few}
services:
  a: *broker
  b: {{<<: *broker, depends_on: [a]}}
  c: {{<<: *broker, depends_on: [b]}}
  d: {{<<: *broker, depends_on: [c]}}
  e: {{<<: *broker, depends_on: {{d: {{condition: service_healthy}}}}}}
  f: {{<<: *broker, depends_on: [e], deploy: {{replicas: {half}}}}}
volumes:
  data:
secrets:
  token:
    environment: TOKEN
"""


@dataclass(frozen=True)
class RecordedImages:
    """A store with one image, whose manifest is a file."""

    directory: Path

    def tags(self) -> dict[str, str]:
        return {"kafka:4": IMAGE}

    def image_ids(self) -> list[str]:
        return [IMAGE]

    def manifest(self, image_id: str) -> dict[str, Any]:
        return dict(json.loads((self.directory / f"{image_id[7:]}.json").read_bytes()))


def measure(_place: Place, repeats: int) -> Section:
    """Measure each command for 10, 100 and 1,000 machines."""
    with TemporaryDirectory(prefix="stoneware-bench-") as temporary:
        places = {size: Path(temporary, str(size)) for size in SIZES}
        for size, directory in places.items():
            _prepare(directory, size)

        def case(command: str, size: int) -> float:
            started = time.perf_counter()
            said = json.loads(
                run([sys.executable, "-m", "bench.topic_cluster", command, places[size]], cwd=ROOT)
            )
            seconds = time.perf_counter() - started
            if said["machines"] != size:
                raise SystemExit(f"bench: {said['machines']} machines, not {size}")
            return seconds

        samples = interleave(
            {_name(command, size): _turn(case, command, size) for command in COMMANDS for size in SIZES},
            max(repeats, 5),
            warm=1,
        )
        warm = json.loads(run([sys.executable, "-m", "bench.topic_cluster", "warm", temporary], cwd=ROOT))
    rows = timed_rows(samples, {_name(command, SIZES[-1]): LIMIT for command in COMMANDS})
    return Section(
        "cluster",
        "Plan, status and drift of recorded clusters",
        (*rows, *(_growth(command, warm[command]) for command in COMMANDS)),
        (
            "Each is a process of its own: it starts, reads machines.yaml, holds every machine's config "
            "against the contract of the Kafka image, reads the recorded observation and writes JSON.",
            "Every tenth machine differs: in its configuration, by being stopped, or by a file that was "
            "edited.",
            "The last rows compare what a machine costs without the start of Python; 10 would be quadratic.",
        ),
    )


def _turn(case: Callable[[str, int], float], command: str, size: int) -> Callable[[int], float]:
    return lambda _: case(command, size)


def _name(command: str, size: int) -> str:
    return f"{command} of {size:,} machines"


def _growth(command: str, seconds: dict[str, float]) -> Row:
    what = f"{command}: a machine of 1,000 ÷ a machine of 100"
    return Row(what, (seconds["1000"] / 1000) / (seconds["100"] / 100), TIMES, GROWTH)


def _prepare(directory: Path, size: int) -> None:
    """Write the file, the image's manifest and the observation."""
    from stoneware.config.contract import derive_contract
    from stoneware.machinefile.recipe import HealthCheck, ImageConfig, config_to_document

    directory.mkdir()
    few = size // 10
    (directory / "machines.yaml").write_text(FILE.format(few=few, half=size - 5 * few))
    templates = {
        f"/{path.relative_to(KAFKA / 'templates')}": path.read_bytes()
        for path in (KAFKA / "templates").rglob("*")
        if path.is_file()
    }
    schema = json.loads((KAFKA / "config.schema.json").read_bytes())
    config = ImageConfig(healthcheck=HealthCheck(("true",)), volumes=("/var/lib/kafka",))
    manifest = {
        "name": "kafka",
        "commit": "c" * 40,
        "config": config_to_document(config),
        "contract": derive_contract(templates, {}, schema),
    }
    (directory / f"{IMAGE[7:]}.json").write_text(json.dumps(manifest))
    (directory / OBSERVATION).write_bytes(pickle.dumps(_observation(directory)))


def _desired(directory: Path) -> Any:
    from stoneware.cluster.desired import desire
    from stoneware.compose.load import load_cluster
    from stoneware.config import Secret

    cluster = load_cluster(None, directory=directory, environment={"TOKEN": "x"})
    return desire(cluster, RecordedImages(directory), {"token": Secret("x")}, {"token": "1"})


def _observation(directory: Path) -> Any:
    """Return the cluster as it is wanted, except for every tenth machine."""
    from stoneware.cluster.model import Observed, ObservedMachine
    from stoneware.model.machine import Health, Machine, Phase

    desired = _desired(directory)
    files = {f"/etc/kafka/{name}.properties": letter * 64 for name, letter in (("server", "a"), ("log", "b"))}
    machines = {}
    for number, wanted in enumerate(desired.machines.values()):
        machine = Machine(
            name=wanted.spec.name, id=f"m{number:08x}", kind="machine", image_id=IMAGE, image=wanted.image,
            phase=Phase.RUNNING, health=Health.HEALTHY, ip=f"10.88.{number >> 8}.{number & 255}",
            ports=wanted.spec.ports, config_digest=wanted.config_digest, error="", created=NOW - number,
            started=NOW, exit_code=None, leader=number + 1, spec=wanted.spec,
        )  # fmt: skip
        found = files
        if number % 30 == 9:
            metadata = {**wanted.spec.metadata, "stoneware-config": "LOG_LEVEL=debug\n"}
            machine = replace(machine, spec=replace(wanted.spec, metadata=metadata))
        elif number % 30 == 19:
            machine = replace(machine, phase=Phase.STOPPED, exit_code=137, health=Health.NONE)
        elif number % 30 == 29:
            found = {**files, "/etc/kafka/server.properties": "e" * 64}
        machines[wanted.name] = ObservedMachine(machine, files, found)
    volumes = frozenset(desired.volumes)
    return Observed(desired.name, machines, volumes, frozenset(desired.networks))


def child(command: str, directory: Path) -> int:
    """Do what one command does, from the files; return how many machines it saw."""
    from stoneware.cluster.documents import drift_document, plan_document, status_document
    from stoneware.cluster.drift import find_drift
    from stoneware.cluster.plan import make_plan, needs_rollout
    from stoneware.cluster.status import status, status_rows

    desired = _desired(directory)
    observed = pickle.loads((directory / OBSERVATION).read_bytes())  # noqa: S301
    if command == "plan":
        made = make_plan(desired, observed)
        document = plan_document(made, desired, rollout=needs_rollout(made, desired, observed))
        count = sum(step["kind"] == "machine" for step in document["steps"])
        differing = document["changes"]
    elif command == "status":
        machines = status(desired, observed, NOW)
        document = status_document(desired.name, machines)
        count, differing = len(status_rows(machines)), sum(not machine.healthy for machine in machines)
    else:
        from stoneware.provider.infrastructure import StonewareInfrastructure

        no_platform: Any = None  # nothing is asked of it
        infrastructure = StonewareInfrastructure(no_platform)
        document = drift_document(find_drift(desired, observed, (), infrastructure))
        count, differing = document["machines"], len(document["items"])
    if not differing and count > 30:
        raise SystemExit("nothing differs, though every tenth machine does")
    json.dumps(document, ensure_ascii=False, indent=2)
    return int(count)


def warm(root: Path) -> dict[str, dict[str, float]]:
    """Return the processor time that each command takes for 100 and 1,000 machines once all is loaded."""
    seconds: dict[str, dict[str, float]] = {}
    for command in COMMANDS:
        child(command, root / str(SIZES[0]))
        for size in SIZES[1:]:
            samples = []
            for _ in range(3):
                started = time.process_time()
                child(command, root / str(size))
                samples.append(time.process_time() - started)
            seconds.setdefault(command, {})[str(size)] = min(samples)
    return seconds


if __name__ == "__main__":
    told = Path(sys.argv[2])
    result = warm(told) if sys.argv[1] == "warm" else {"machines": child(sys.argv[1], told)}
    json.dump(result, sys.stdout)
