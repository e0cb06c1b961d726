"""One builder from Terraform's apply to its destroy: run a stage's steps in it, seal it, capture it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stoneware.bake.bundle import BundleWriter
from stoneware.bake.driver import Driver
from stoneware.bake.events import Note, Reporter, TerraformOutput
from stoneware.bake.phases import phase
from stoneware.bake.plan import PlannedStage
from stoneware.bake.workdir import BUILDER_ADDRESS, builder_directory, terraform_directory
from stoneware.errors import HostError, StonewareError
from stoneware.guest.agent import build_agent_script
from stoneware.model import guest_protocol
from stoneware.model.capability import Capability
from stoneware.model.guest_protocol import flag, metadata_url
from stoneware.platforms.protocols import Platform
from stoneware.provider.server import ProviderServer
from stoneware.terraform.configuration import write_configuration
from stoneware.terraform.runner import Terraform, has_state

# Terraform's process lives as long as one builder: collecting garbage is a tenth of what it costs.
_GO = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}


@dataclass(frozen=True)
class Workbench:
    """What every builder of a bake shares."""

    platform: Platform
    reporter: Reporter
    directory: Path  # the bake's workspace
    verbose: bool = False
    step_timeout: float | None = None  # seconds


@dataclass(frozen=True)
class BuilderRequest:
    """A builder that is wanted: the stage, the bundle written for it."""

    stage: PlannedStage
    bundle: BundleWriter
    results: str = "sealed.tar"
    metadata: Mapping[str, str] = field(default_factory=dict)
    told: Sequence[str] = ()  # the warnings of the Machinefile's text
    left: bool = False  # at the end it stays, stopped, for whoever removes the bake's directory


@contextlib.contextmanager
def builder_terraform(bench: Workbench, stage: PlannedStage) -> Iterator[Terraform]:
    """Start loading Terraform on the directory of one stage's builder, and end it."""
    say = (lambda line: bench.reporter.emit(TerraformOutput(line))) if bench.verbose else None
    directory = terraform_directory(builder_directory(bench.directory, stage.stage.index))
    provider = ProviderServer(bench.platform)
    with Terraform(directory, provider=provider, verbose=say, environment=_GO) as terraform:
        terraform.prepare()
        yield terraform


class RunningBuilder:
    """A builder that runs, and how it is removed."""

    def __init__(self, bench: Workbench, terraform: Terraform, name: str, driver: Driver) -> None:
        self.driver = driver
        self._bench = bench
        self._terraform = terraform
        self._name = name

    def destroy(self) -> None:
        """Have Terraform destroy the builder."""
        # An apply that was cut off may have made a machine that is not in the state.
        unknown = not has_state(self._terraform.directory) and self._bench.platform.observe(self._name)
        adopt = {BUILDER_ADDRESS: self._name} if unknown else None
        try:
            self._terraform.destroy(adopt=adopt)
        except HostError:  # its process was killed: the next call starts another
            self._terraform.destroy(adopt=adopt)

    def destroy_after_failure(self) -> None:
        """Destroy the builder; whatever hinders that must not hide the first error."""
        try:
            self.destroy()
        except StonewareError:
            with contextlib.suppress(StonewareError):
                self._bench.platform.destroy(self._name)
                shutil.rmtree(self._terraform.directory)  # what its state says is no longer so


@contextlib.contextmanager
def running_builder(
    bench: Workbench, terraform: Terraform, request: BuilderRequest
) -> Iterator[RunningBuilder]:
    """Create a builder with Terraform, give it, and have Terraform destroy it unless it is to be left."""
    stage = request.stage
    name = f"{bench.directory.name}-{stage.stage.index}"
    token = secrets.token_hex(8)
    bundle = builder_directory(bench.directory, stage.stage.index) / "bundle.tar"
    numbered = {planned.step.index: planned for planned in stage.to_run}
    driver = Driver(
        bench.platform,
        bench.reporter,
        name=name,
        token=token,
        stage=stage.name,
        steps=numbered,
        secrets=request.bundle.secrets,
        last=len(stage.steps),
        step_timeout=bench.step_timeout,
        told=request.told,
    )
    builder = RunningBuilder(bench, terraform, name, driver)
    try:
        _configure(bench, request, name, token, bundle)
        request.bundle.pack(bundle)
        with phase(bench.reporter, f"builder-{stage.name}", f"builder {name} from {_short(stage.start)}"):
            terraform.apply()
        yield builder
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            bench.reporter.emit(Note("interrupted: removing the builder"))
        builder.destroy_after_failure()
        raise
    if not request.left:
        builder.destroy()


def _configure(bench: Workbench, request: BuilderRequest, name: str, token: str, bundle: Path) -> None:
    write_configuration(
        terraform_directory(bundle.parent),
        bench.platform.infrastructure.builder_module,
        {
            "name": name,
            "boot_source": request.stage.start,
            "files": {"bundle.tar": str(bundle), **{n: str(p) for n, p in request.bundle.files.items()}},
            "caches": request.bundle.caches,
            "metadata": {
                "startup-script": build_agent_script(),
                guest_protocol.MODE: "build",
                guest_protocol.TOKEN: token,
                guest_protocol.BUNDLE: metadata_url(f"{guest_protocol.FILES_PATH}bundle.tar"),
                guest_protocol.RESULTS: metadata_url(guest_protocol.RESULTS_PATH + request.results),
                guest_protocol.CHECKPOINTS: flag(Capability.CHECKPOINTS in bench.platform.capabilities),
                guest_protocol.GO: "0",
                guest_protocol.SERVING: "",
                # Without a step there is no moment later at which to say so.
                guest_protocol.ACCEPT: flag(not request.stage.to_run),
                guest_protocol.MANIFEST: "",  # there, so that the agent can wait for its change
                guest_protocol.GUEST_ATTRIBUTES: guest_protocol.TRUE,
                **request.metadata,
            },
        },
    )


def _short(source: str) -> str:
    kind, _, key = source.partition(":")
    return f"{kind} {key.removeprefix('sha256:')[:12]}"
