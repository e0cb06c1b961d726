"""Clusters of real machines: a directory with a machines.yaml, small images, and the command line."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoneware.model.machine import Machine
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.images import LocalImageStore
from tests import commands

MACHINEFILE = """\
FROM debian:12
COPY templates/ /etc/stoneware/templates/
COPY schema.json /etc/stoneware/config.schema.json
VOLUME /data
HEALTHCHECK --interval=500ms --start-interval=100ms --timeout=5s --retries=3 --start-period=10s \\
  CMD test ! -e /run/sick && test "$HEALTH" != never || { echo the sensor is sick; exit 7; }
CMD ["sleep", "infinity"]
"""
TEMPLATE = "greeting=${GREETING:-hello} on ${STONEWARE_NAME}\n"
SCHEMA = {"properties": {"TOKEN": {"type": "string", "secret": True}}}


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


def bake_images(home: Path, directory: Path) -> None:
    """Bake `cl-tiny:1` and `:2`, and `cl-reload:1`, which takes another config on while it runs."""
    variants = {
        "cl-tiny:1": "LABEL release=1\n",
        "cl-tiny:2": "LABEL release=2\n",
        "cl-reload:1": "LABEL stoneware.reload=true\n",
    }
    for tag, more in variants.items():
        context = directory / tag.replace(":", "-")
        (context / "templates/etc/tiny").mkdir(parents=True)
        (context / "templates/etc/tiny/config").write_text(TEMPLATE)
        (context / "templates/etc/tiny/token").write_text("token=${TOKEN:-none}\n")
        (context / "Machinefile").write_text(
            MACHINEFILE + more + "COPY schema.json /etc/stoneware/config.schema.json\n"
        )
        (context / "schema.json").write_text(json.dumps(SCHEMA))
        done = _run(home, directory, ["bake", "-t", tag, str(context)])
        assert done.code == 0, done.text


@dataclass
class ClusterLab:
    """One cluster's directory and the commands typed in it."""

    home: Path
    directory: Path
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(3)}")
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, services: dict[str, Any], **more: Any) -> None:
        """Write machines.yaml; JSON is YAML."""
        document = {"name": self.name, "services": services, **more}
        (self.directory / "machines.yaml").write_text(json.dumps(document, indent=2))

    def run(self, *words: str, code: int | None = 0, timeout: float = 300) -> Result:
        """Run a command and check its exit code."""
        done = _run(self.home, self.directory, list(words), self.environment, timeout)
        assert code is None or done.code == code, f"stoneware {' '.join(words)}\n{done.text}"
        return done

    def start(self, *words: str, program: Sequence[str] = commands.PROGRAM) -> subprocess.Popen[str]:
        """Start a command in a session of its own."""
        return subprocess.Popen(
            [*program, *words],
            cwd=self.directory,
            env=_environment(self.home, self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def platform(self) -> LocalPlatform:
        return LocalPlatform(LocalImageStore.open(self.home))

    def full(self, name: str) -> str:
        return f"{self.name}-{name}"

    def machine(self, name: str) -> Machine:
        found = self.platform.observe(self.full(name))
        assert found is not None, name
        return found

    def machines(self) -> list[str]:
        prefix = f"{self.name}-"
        return [m.name.removeprefix(prefix) for m in self.platform.machines() if m.name.startswith(prefix)]

    def volumes(self) -> list[str]:
        return [v.name for v in self.platform.volumes() if v.name.startswith(f"{self.name}-")]

    def networks(self) -> list[str]:
        return [n.name for n in self.platform.networks() if n.name.startswith(f"{self.name}-")]

    def sh(self, name: str, script: str, *, code: int | None = 0) -> str:
        """Run a shell script in a machine and return its output."""
        return self.run("exec", self.full(name), "sh", "-c", script, code=code).out

    @property
    def kept(self) -> Path:
        """The directory that Terraform's files of the cluster are in."""
        return self.home / "clusters" / self.name


@contextmanager
def cluster_lab(home: Path, directory: Path) -> Iterator[ClusterLab]:
    """Give a lab; whatever of its cluster is there at the end goes."""
    lab = ClusterLab(home, directory)
    try:
        yield lab
    finally:
        _run(home, directory, ["down", "-p", lab.name, "--volumes", "--yes", "--timeout", "1"])
        for name in lab.machines():
            lab.platform.destroy(lab.full(name))


def _environment(home: Path, more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "STONEWARE_HOME": str(home), "TERM": "dumb", **more}


def _run(
    home: Path,
    directory: Path,
    words: list[str],
    environment: dict[str, str] | None = None,
    timeout: float = 300,
) -> Result:
    done = commands.run(words, cwd=directory, env=_environment(home, environment or {}), timeout=timeout)
    return Result(done.returncode, done.stdout, done.stderr)
