"""One builder from Terraform's apply to its destroy: run a stage's steps in it, seal it, capture it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stoneware.bake.bundle import BundleWriter
from stoneware.bake.driver import Driver
from stoneware.bake.events import Note, PhaseFinished, PhaseStarted, Reporter, TerraformOutput
from stoneware.bake.plan import PlannedStage
from stoneware.bake.workspace import BUILDER_ADDRESS, builder_directory, terraform_directory
from stoneware.errors import HostError, StonewareError
from stoneware.guest.agent import build_agent_script
from stoneware.platform import Platform
from stoneware.provider.server import ProviderServer
from stoneware.terraform.configuration import write_configuration
from stoneware.terraform.runner import Terraform, has_state

MODULE = "local/builder"


@dataclass(frozen=True)
class Workbench:
    """What every builder of a bake shares."""

    platform: Platform
    reporter: Reporter
    directory: Path  # the bake's workspace
    verbose: bool = False


@dataclass(frozen=True)
class BuilderRequest:
    """A builder that is wanted: the stage, the bundle written for it."""

    stage: PlannedStage
    bundle: BundleWriter
    results: str = "sealed.tar"
    metadata: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def phase(reporter: Reporter, name: str, text: str) -> Iterator[None]:
    """Tell that a phase begins and, unless it fails, that it is over."""
    started = time.monotonic()
    reporter.emit(PhaseStarted(name, text))
    yield
    reporter.emit(PhaseFinished(name, time.monotonic() - started))


@contextlib.contextmanager
def running_builder(bench: Workbench, request: BuilderRequest) -> Iterator[Driver]:
    """Create a builder with Terraform, give its driver, and have Terraform destroy it whatever happens."""
    stage = request.stage
    directory = builder_directory(bench.directory, stage.stage.index)
    name = f"{bench.directory.name}-{stage.stage.index}"
    token = secrets.token_hex(8)
    bundle = directory / "bundle.tar"
    with _configure(bench, request, name, token, bundle) as terraform:
        try:
            terraform.prepare()  # it loads while the bundle is packed
            request.bundle.pack(bundle)
            with phase(bench.reporter, f"builder-{stage.name}", f"builder {name} from {_short(stage.start)}"):
                terraform.apply()
            numbered = {planned.step.index: planned for planned in stage.to_run}
            yield Driver(
                bench.platform, bench.reporter, name=name, token=token, stage=stage.name, steps=numbered
            )
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                bench.reporter.emit(Note("interrupted: removing the builder"))
            _destroy_after_failure(bench, terraform, name)
            raise
        _destroy(bench, terraform, name)


def _destroy(bench: Workbench, terraform: Terraform, name: str) -> None:
    # An apply that was cut off may have made a machine that is not in the state.
    unknown = not has_state(terraform.directory) and bench.platform.observe(name) is not None
    adopt = {BUILDER_ADDRESS: name} if unknown else None
    try:
        terraform.destroy(adopt=adopt)
    except HostError:  # its process was killed: the next call starts another
        terraform.destroy(adopt=adopt)


def _destroy_after_failure(bench: Workbench, terraform: Terraform, name: str) -> None:
    """Destroy the builder; whatever hinders that must not hide the first error."""
    try:
        _destroy(bench, terraform, name)
    except StonewareError:
        with contextlib.suppress(StonewareError):
            bench.platform.destroy(name)
            shutil.rmtree(terraform.directory)  # what its state says is no longer so


def _configure(bench: Workbench, request: BuilderRequest, name: str, token: str, bundle: Path) -> Terraform:
    directory = terraform_directory(bundle.parent)
    write_configuration(
        directory,
        MODULE,
        {
            "name": name,
            "boot_source": request.stage.start,
            "files": {"bundle.tar": str(bundle), **{n: str(p) for n, p in request.bundle.files.items()}},
            "caches": request.bundle.caches,
            "metadata": {
                "startup-script": build_agent_script(),
                "stoneware-mode": "build",
                "stoneware-token": token,
                "stoneware-bundle": "http://169.254.169.254/stoneware/v1/files/bundle.tar",
                "stoneware-results": f"http://169.254.169.254/stoneware/v1/results/{request.results}",
                "stoneware-checkpoints": "TRUE" if bench.platform.can_checkpoint else "FALSE",
                "stoneware-go": "0",
                "enable-guest-attributes": "TRUE",
                **request.metadata,
            },
        },
    )
    say = (lambda line: bench.reporter.emit(TerraformOutput(line))) if bench.verbose else None
    return Terraform(directory, provider=ProviderServer(bench.platform), verbose=say)


def _short(source: str) -> str:
    kind, _, key = source.partition(":")
    return f"{kind} {key.removeprefix('sha256:')[:12]}"
