"""An emulator whose instances are machines of this computer, as a program, with a project in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoneware.platforms.google.api import Api
from stoneware.platforms.google.settings import Settings
from tests.emulator.serving import tidy
from tests.google.cloud import PROJECT, REGION

BUCKET = "things"
#: What is in requests that repeat a question until its answer has come.
REPEATED = ("/operations/", "getGuestAttributes", "serialPort", "aggregated/")


@dataclass(frozen=True)
class Cloud:
    """The emulated project, the variables for commands that use it, and what was asked of it."""

    api: Api
    environment: Mapping[str, str]
    log: Path

    def names(self, collection: str) -> list[str]:
        """Return the names of all resources of a collection that is aggregated."""
        found = self.api.items("compute", f"aggregated/{collection}", f"list {collection}")
        return sorted(str(each["name"]) for each in found)

    def asked(self) -> list[str]:
        """Return all requests so far: `POST /compute/v1/… 200`."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if line.startswith(("GET ", "POST ", "PUT ", "PATCH ", "DELETE "))]

    def settle(self) -> None:
        """Wait until the process that removes a finished bake's builder has done so."""
        deadline = time.monotonic() + 300
        while any(name.startswith("bake-") for name in self.names("instances")):
            assert time.monotonic() < deadline
            time.sleep(0.2)


@contextmanager
def served(machine_home: Path, directory: Path, program: Path, subnet: str, *options: str) -> Iterator[Cloud]:
    """Serve it, with a network `own` and its subnetwork; all that is left in the store goes at the end.

    `program`: the Terraform provider. `subnet`: a range that no other emulator of this computer has.
    `options` are the emulator's.
    """
    state, log = directory / "emulator", directory / "emulator.log"
    words = ["--port", "0", "--project", PROJECT, "--operation-time", "0.05", "--json", "--log", *options]
    argv = [sys.executable, "-m", "stoneware.cli.main", "emulate", "google", *words, "--state", str(state)]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("STONEWARE_")}
    with (
        log.open("w") as said,
        subprocess.Popen(
            argv,
            env={**inherited, "STONEWARE_HOME": str(machine_home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as emulator,
    ):
        try:
            assert emulator.stdout is not None
            endpoint = json.loads("".join(iter(emulator.stdout.readline, "}\n")) + "}")["endpoint"]
            settings = Settings(PROJECT, REGION, BUCKET, subnetwork="own", network="own", endpoint=endpoint)
            cloud = Cloud(Api(settings), inherited | _variables(directory, endpoint, program), log)
            _furnish(cloud.api, subnet)
            yield cloud
        finally:
            emulator.kill()
            emulator.wait()
            tidy(machine_home, state)


def _variables(directory: Path, endpoint: str, program: Path) -> dict[str, str]:
    return {
        "STONEWARE_HOME": str(directory / "home"),
        "STONEWARE_PLATFORM": "google",
        "STONEWARE_GOOGLE_PROJECT": PROJECT,
        "STONEWARE_GOOGLE_REGION": REGION,
        "STONEWARE_GOOGLE_BUCKET": BUCKET,
        "STONEWARE_GOOGLE_NETWORK": "own",
        "STONEWARE_GOOGLE_SUBNETWORK": "own",
        "STONEWARE_GOOGLE_ENDPOINT": endpoint,
        "STONEWARE_GOOGLE_PROVIDER": str(program),
    }


def _furnish(api: Api, subnet: str) -> None:
    body: dict[str, Any] = {"name": BUCKET, "location": REGION}
    api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
    network = {"name": "own", "autoCreateSubnetworks": False}
    api.operate("POST", "global/networks", "make the network", network)
    body = {"name": "own", "ipCidrRange": subnet, "network": "global/networks/own"}
    api.operate("POST", f"regions/{REGION}/subnetworks", "make the subnetwork", body)
