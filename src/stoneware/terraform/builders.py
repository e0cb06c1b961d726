"""Terraform on the directories of builders, one of each: what platforms share that make builders with it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stoneware.errors import HostError, StonewareError
from stoneware.files import write_json
from stoneware.platforms.infrastructure import Infrastructure, Kind, Subject
from stoneware.terraform.configuration import VARIABLES_FILE, write_module
from stoneware.terraform.runner import Terraform, has_state

_DIRECTORY = "terraform"  # in a builder's
_BUILDER = Subject(Kind.BUILDER, "")
# Terraform's process lives as long as one builder: collecting garbage is a tenth of what it costs.
_GO = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
_LOCK_TIMEOUT = 60.0  # seconds that the Terraform of a killed bake may take to end: its own last resort


class BuilderTerraform:
    """Terraform for one builder; in a `with` block."""

    def __init__(
        self,
        infrastructure: Infrastructure,
        directory: Path,
        output: Callable[[str], None] | None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Start loading Terraform. `directory` is the builder's; `tell` gets what is to be known at once."""
        self._infrastructure = infrastructure
        self._directory = directory / _DIRECTORY
        self._directory.mkdir(exist_ok=True)
        self._terraform = Terraform(
            self._directory,
            provider=infrastructure.provider(),
            verbose=output,
            tell=tell,
            environment={**_GO, **infrastructure.environment()},
        )
        self._terraform.load()
        # While Terraform loads. After a crash of the computer the platform removes the builder.
        write_module(self._directory, infrastructure.builder_module, lasting=False)
        self._terraform.prepare()

    def close(self) -> None:
        """End Terraform's process; the state stays."""
        self._terraform.close()

    def apply(self, variables: Mapping[str, Any]) -> None:
        """Make the builder."""
        write_json(self._directory / VARIABLES_FILE, dict(variables), mode=0o600, lasting=False)
        self._terraform.apply()

    def destroy(self, name: str, exists: Callable[[], bool]) -> None:
        """Remove the builder: also one that an apply that was cut off has made and not written down."""
        unknown = not has_state(self._directory) and exists()
        adopt = self._infrastructure.imports({_BUILDER: name}) if unknown else None
        try:
            self._terraform.destroy(adopt=adopt)
        except HostError:  # its process was killed: the next call starts another
            self._terraform.destroy(adopt=adopt)

    def forget(self) -> None:
        """Remove the state: what it says is no longer so."""
        shutil.rmtree(self._directory)


def states_in(bake: Path) -> list[Path]:
    """Return the Terraform directories of a bake that still know of a builder, or might."""
    return [
        state
        for state in sorted(bake.glob(f"*/{_DIRECTORY}"))
        # A lock without a state is a Terraform that was killed while it made the builder.
        if has_state(state) or (state / ".terraform.tfstate.lock.info").exists()
    ]


def destroy_states(bake: Path, infrastructure: Infrastructure) -> bool:
    """Have Terraform destroy what it knows of a bake's builders, and say whether there was one."""
    removed = False
    for state in states_in(bake):
        with (
            contextlib.suppress(StonewareError),  # a damaged state, a full disk: the platform itself does it
            Terraform(
                state,
                provider=infrastructure.provider(),
                environment=infrastructure.environment(),
                lock_timeout=_LOCK_TIMEOUT,
            ) as terraform,
        ):
            removed = bool(terraform.destroy().removed) or removed
    return removed
