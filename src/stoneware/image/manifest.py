"""An image's manifest: what it is, what made it, what it needs. Its SHA-256 is the image's id."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from stoneware import __version__
from stoneware.dataclass import dataclass
from stoneware.files import canonical_json
from stoneware.machinefile.recipe import Base, ImageConfig, Stage, config_from_document, config_to_document

SCHEMA = 1


@dataclass(frozen=True)
class Origin:
    """Where an image comes from: the Git commit (None outside Git) and whether the work tree differed."""

    commit: str | None
    dirty: bool


@dataclass(frozen=True)
class Sealed:
    """What the seal found in the machine: packages, the list of files, the runtime contract."""

    packages: tuple[Mapping[str, str], ...]
    file_count: int
    file_bytes: int
    files_digest: str
    contract: Mapping[str, Any]
    checks: tuple[Mapping[str, str], ...] = ()
    commands: tuple[str, ...] = ()  # those of /etc/stoneware/commands
    units: tuple[Mapping[str, Any], ...] = ()  # name, enabled_by (image, step or package), starts


@dataclass(frozen=True)
class StepRecord:
    """A step as it is remembered: its key and how long it took (None when it came from a checkpoint)."""

    index: int
    stage: str
    line: int
    text: str
    key: str
    seconds: float | None = None


@dataclass(frozen=True)
class ManifestInput:
    """All that goes into a manifest besides what the seal found."""

    name: str
    architecture: str
    stage: Stage
    base: Base  # what the first of the stages it stands on is built FROM
    origin: Origin
    key: str
    steps: Sequence[StepRecord] = ()


def build_manifest(wanted: ManifestInput, sealed: Sealed) -> bytes:
    """Return the manifest's bytes: canonical JSON, which is also what lies inside the image."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    document = {
        "schema": SCHEMA,
        "name": wanted.name,
        "created": now.isoformat().replace("+00:00", "Z"),
        "architecture": wanted.architecture,
        "base": {"reference": wanted.base.reference, "identity": wanted.base.identity},
        "commit": wanted.origin.commit,
        "dirty": wanted.origin.dirty,
        "key": wanted.key,
        "config": config_to_document(wanted.stage.config),
        "labels": dict(wanted.stage.config.labels),
        "contract": dict(sealed.contract),
        "packages": [dict(package) for package in sealed.packages],
        "files": {"count": sealed.file_count, "digest": sealed.files_digest, "bytes": sealed.file_bytes},
        "commands": list(sealed.commands),
        "units": [dict(unit) for unit in sealed.units],
        "checks": [dict(check) for check in sealed.checks],
        "steps": [vars(step) for step in wanted.steps],
        "history": [{"line": line, "instruction": text} for line, text in wanted.stage.history],
        "stoneware": __version__,
    }
    return canonical_json(document)


def config_of(manifest: Mapping[str, Any]) -> ImageConfig:
    """Return the configuration an image passes on to what is built FROM it."""
    return config_from_document(manifest["config"])
