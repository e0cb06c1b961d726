"""What commands ask of Google's APIs, and what a bake takes there: against the emulator, with machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.google.provider.install import installed, program_of
from tests.google.real import REPEATED, Cloud, served

from bench.harness import Row, Section, run, timed, timed_rows
from bench.place import Place

MACHINES = 3
MACHINEFILE = """\
FROM debian:12
ARG RELEASE
RUN echo "$RELEASE" >/etc/release-of-ours
HEALTHCHECK --interval=1s CMD test -s /etc/release-of-ours
VOLUME /data
CMD ["/bin/sleep", "infinity"]
"""
FILE = f"""\
name: shop
services:
  app:
    image: app:${{RELEASE:-1}}
    volumes: ["data:/data"]
    deploy: {{replicas: {MACHINES}, update_config: {{monitor: 1s}}}}
volumes: {{data: }}
"""
# Commands in their order, and how many requests each may send. What waits looks again, so there is room.
LIMITS = {
    "bake": 60,
    "bake, nothing changed": 12,
    "up, 3 machines": 120,
    "up, nothing changed": 35,
    "status": 12,
    "drift": 50,
    "rollout, for each machine": 160,
    "down": 100,
}


BAKE = "bake, beyond the command that it runs"
LONGEST = 5.0  # seconds of that


def measure(place: Place, repeats: int) -> Section:
    """Count the requests of a bake and of a cluster's life, and time bakes of an empty command."""
    place.base_rootfs()
    with TemporaryDirectory(prefix="stoneware-bench-") as directory:
        root = Path(directory)
        environment = installed(root)
        program = program_of(environment)
        (root / "shop").mkdir()
        (root / "shop/Machinefile").write_text(MACHINEFILE)
        (root / "shop/machines.yaml").write_text(FILE)
        with served(place.home, root, program, "10.213.6.0/24") as cloud:
            counted = _counted(place, cloud, root / "shop")
            samples = [_bake_time(place, cloud, root / "shop", f"t{number}") for number in range(repeats)]
    rows = (
        *(Row(what, counted[what], "requests", LIMITS[what]) for what in LIMITS),
        *timed_rows({BAKE: samples}, {BAKE: LONGEST}),
    )
    notes = (
        f"A cluster of {MACHINES} machines with a disk each, on the emulator's machines, with the stand-in "
        "of the tests as the provider. Requests of the command and of Terraform.",
        "Not counted is what repeats a question until its answer has come: for operations, reports, "
        "consoles, and lists of all machines.",
        "The bake's command is an echo: the time is that of the builder's instance, its boot, the seal, the "
        "image from its disk, and Terraform.",
    )
    return Section("google", "Requests to Google's APIs", rows, notes)


def _bake_time(place: Place, cloud: Cloud, directory: Path, release: str) -> float:
    words = ("bake", "-q", "-t", f"app:{release}", "--build-arg", f"RELEASE={release}", ".")
    return timed([place.program, *words], env=cloud.environment, cwd=directory)


def _counted(place: Place, cloud: Cloud, directory: Path) -> Mapping[str, int]:
    def count(*words: str, release: str = "1") -> int:
        before = len(cloud.asked())
        run([place.program, *words], env={**cloud.environment, "RELEASE": release}, cwd=directory)
        cloud.settle()
        return sum(not any(word in line for word in REPEATED) for line in cloud.asked()[before:])

    def bake(release: str) -> int:
        return count("bake", "-q", "-t", f"app:{release}", "--build-arg", f"RELEASE={release}", ".")

    return {
        "bake": bake("1"),
        "bake, nothing changed": bake("1"),
        "bake of the second release": bake("2"),
        "up, 3 machines": count("up", "--yes"),
        "up, nothing changed": count("up", "--yes"),
        "status": count("status"),
        "drift": count("drift"),
        "rollout, for each machine": -(-count("rollout", release="2") // MACHINES),
        "down": count("down", "--volumes", "--yes", release="2"),
    }
