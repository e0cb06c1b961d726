"""The platform google over an emulator in this process; its machines are in memory and report like others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stoneware.config import digest
from stoneware.model.machine import MachineSpec
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.platform import GooglePlatform
from tests.google.cloud import PROJECT, Cloud
from tests.google.clusters import SETTINGS


def opened(cloud: Cloud, home: Path) -> GooglePlatform:
    """Return the platform, with its bucket. Instances report as soon as they boot, or are told something."""
    _report(cloud)
    api = Api(replace(SETTINGS, endpoint=cloud.endpoint, bucket="things"))
    body = {"name": "things", "location": "us-central1"}
    api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
    return GooglePlatform(GoogleImages(api, Bucket(api), home))


def _report(cloud: Cloud) -> None:
    computers = cloud.computers
    boot, tell = computers.boot, computers.tell

    def say(name: str) -> None:
        metadata = computers.machines[name].metadata
        status = {"phase": "running", "config": digest(metadata.get("stoneware-config", ""))}
        computers.attributes[name] = {"stoneware/status": json.dumps(status)}
        computers.consoles[name] = f"{name} boots\n".encode()

    def booted(spec: MachineSpec) -> None:
        boot(spec)
        say(spec.name)

    def told(name: str, changes: Mapping[str, str | None], identity: Mapping[str, str]) -> None:
        tell(name, changes, identity)
        say(name)

    computers.boot, computers.tell = booted, told  # type: ignore[method-assign]
