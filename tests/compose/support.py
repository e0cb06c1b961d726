"""Reading the case files, and matching the clusters that came out against what they want."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoneware.compose.load import load_cluster
from stoneware.compose.model import Cluster, Place
from stoneware.rollout.policies import gate_problems

CASES = Path(__file__).parent / "cases"
ENVIRONMENT = {"SET": "value", "EMPTY": "", "NUMBER": "3", "TOKEN": "s3cr3t"}


@dataclass(frozen=True)
class Case:
    """One case: the files, how they are loaded, and what is wanted."""

    name: str
    files: Mapping[str, str]
    given: list[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    env_files: list[str] = field(default_factory=list)
    scale: Mapping[str, int] = field(default_factory=dict)
    project: str | None = None
    want: Any = None
    faults: list[str] = field(default_factory=list)
    warnings: list[str] | None = None


def read_cases(*names: str) -> list[Any]:
    found = []
    for name in names:
        for entry in yaml.load((CASES / f"{name}.yaml").read_text(), yaml.CSafeLoader):
            files = entry.pop("files", None) or {"machines.yaml": entry.pop("file")}
            found.append(pytest.param(Case(files=files, **entry), id=f"{name}: {entry['name']}"))
    return found


def write(case: Case, directory: Path) -> None:
    for name, text in case.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def load(case: Case, directory: Path) -> Cluster:
    return load_cluster(
        [Path(name) for name in case.given] if case.given else None,
        directory=directory,
        environment={**ENVIRONMENT, **case.environment},
        env_files=[Path(name) for name in case.env_files],
        project_name=case.project,
        scale=case.scale,
        check_gates=gate_problems,
    )


def as_data(value: Any, directory: Path | None = None) -> Any:
    """Return a cluster as plain data: places left out, paths below the directory as `./…`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: as_data(getattr(value, each.name), directory)
            for each in dataclasses.fields(value)
            if each.compare and each.name != "place"
        }
    if isinstance(value, Mapping):
        return {key: as_data(each, directory) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(each, directory) for each in value]
    if isinstance(value, Path):
        return str(value) if directory is None else f"./{value.relative_to(directory)}"
    if isinstance(value, Enum):
        return str(value)
    assert not isinstance(value, Place)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def differences(want: Any, got: Any, path: str = "") -> list[str]:
    """Compare: a wanted mapping is a part of what came out, everything else is equal to it."""
    if isinstance(want, dict) and isinstance(got, dict):
        found = []
        for key, each in want.items():
            if key not in got:
                found.append(f"{path}.{key} is missing")
            else:
                found += differences(each, got[key], f"{path}.{key}")
        return found
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        return [
            line
            for index, (one, other) in enumerate(zip(want, got, strict=True))
            for line in differences(one, other, f"{path}[{index}]")
        ]
    return [] if want == got else [f"{path}: wanted {want!r}, got {got!r}"]
