"""What an earlier bake's steps were made of, so that a plan can say in words what has changed since."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from stoneware.bake.plan import PlannedStage
from stoneware.files import sha256_hex, write_json
from stoneware.records import whole


class Record:
    """The steps of the last bake of one Machinefile under one name."""

    def __init__(self, directory: Path, subject: str) -> None:
        self._path = directory / f"bake-{sha256_hex(subject.encode(errors='surrogateescape'))[:32]}.json"

    @cached_property
    def _document(self) -> dict[str, Any]:
        return whole(self._path)  # damaged by a crash of the computer: only explanations are lost

    def step(self, stage: str, index: int) -> dict[str, Any] | None:
        """Return the document of a step as it was built last, or None."""
        found = self._document.get(f"{stage}/{index}")
        return found if isinstance(found, dict) else None

    def save(self, stages: Iterable[PlannedStage], built: Iterable[str]) -> None:
        """Remember the steps whose keys are in `built`; of the others the older document stays."""
        done = set(built)
        fresh = {
            f"{stage.name}/{planned.step.index}": dict(planned.document)
            for stage in stages
            for planned in stage.steps
            if planned.key in done
        }
        if fresh:
            write_json(self._path, {**self._document, **fresh}, mode=0o600)
