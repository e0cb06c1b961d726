"""One builder from Terraform's apply to its destroy: run a stage's steps in it, seal it, capture it."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from stoneware.bake.background import Background
from stoneware.bake.bundle import BundleWriter
from stoneware.bake.driver import Driver
from stoneware.bake.events import Note, PhaseFinished, PhaseStarted, Reporter, TerraformOutput
from stoneware.bake.plan import PlannedStage
from stoneware.bake.workdir import BUILDER_ADDRESS, builder_directory, terraform_directory
from stoneware.errors import HostError, StonewareError
from stoneware.guest.agent import build_agent_script
from stoneware.model.capability import Capability
from stoneware.platforms.protocols import Platform
from stoneware.provider.server import ProviderServer
from stoneware.terraform.configuration import write_configuration
from stoneware.terraform.runner import Terraform, has_state

MODULE = "local/builder"
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


@contextlib.contextmanager
def phase(reporter: Reporter, name: str, text: str) -> Iterator[None]:
    """Tell that a phase begins and, unless it fails, that it is over."""
    started = time.monotonic()
    reporter.emit(PhaseStarted(name, text))
    yield
    reporter.emit(PhaseFinished(name, time.monotonic() - started))


class BuilderTerraform:
    """Terraform on the directory of one stage's builder; use it in a `with` block, so that it ends.

    What Terraform wants to destroy stays until `release`: it then walks its graphs while an image is still
    being captured.
    """

    def __init__(self, bench: Workbench, stage: PlannedStage) -> None:
        self.directory = builder_directory(bench.directory, stage.stage.index)
        self._held = _Held(bench.platform)
        say = (lambda line: bench.reporter.emit(TerraformOutput(line))) if bench.verbose else None
        self.terraform = Terraform(
            terraform_directory(self.directory),
            provider=ProviderServer(self._held),
            verbose=say,
            environment=_GO,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.terraform.close()

    def prepare(self) -> None:
        """Start loading Terraform, which takes as long as all that comes before its first command."""
        self.terraform.prepare()

    def release(self) -> None:
        """Let Terraform destroy what it wants to destroy."""
        self._held.free.set()


class _Held:
    """The platform as Terraform sees it: nothing is destroyed before it is free."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.free = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._platform, name)

    def destroy(self, name: str) -> None:
        """Destroy a machine as soon as that is wanted."""
        self.free.wait()
        self._platform.destroy(name)


class RunningBuilder:
    """A builder that runs, and how it is removed."""

    def __init__(self, bench: Workbench, made: BuilderTerraform, name: str, driver: Driver) -> None:
        self.driver = driver
        self._bench = bench
        self._made = made
        self._name = name
        self._destroying: Background | None = None

    def begin_destroy(self) -> None:
        """Have Terraform begin to destroy the builder, which stays until all that is wanted of it is done."""
        if not self._bench.verbose:  # else its lines would come between those of the seal
            self._destroying = Background(self._destroy)

    def finish_destroy(self) -> None:
        """Have Terraform destroy the builder, and wait until it is gone."""
        self._made.release()
        if self._destroying is None:
            self._destroy()
        else:
            self._destroying.wait()

    def destroy_after_failure(self) -> None:
        """Destroy the builder; whatever hinders that must not hide the first error."""
        try:
            self.finish_destroy()
        except StonewareError:
            with contextlib.suppress(StonewareError):
                self._bench.platform.destroy(self._name)
                shutil.rmtree(self._made.terraform.directory)  # what its state says is no longer so

    def _destroy(self) -> None:
        _destroy(self._bench, self._made.terraform, self._name)


@contextlib.contextmanager
def running_builder(
    bench: Workbench, made: BuilderTerraform, request: BuilderRequest
) -> Iterator[RunningBuilder]:
    """Create a builder with Terraform, give it, and have Terraform destroy it whatever happens."""
    stage = request.stage
    name = f"{bench.directory.name}-{stage.stage.index}"
    token = secrets.token_hex(8)
    bundle = made.directory / "bundle.tar"
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
    builder = RunningBuilder(bench, made, name, driver)
    try:
        _configure(bench, request, name, token, bundle)
        request.bundle.pack(bundle)
        with phase(bench.reporter, f"builder-{stage.name}", f"builder {name} from {_short(stage.start)}"):
            made.terraform.apply()
        yield builder
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            bench.reporter.emit(Note("interrupted: removing the builder"))
        builder.destroy_after_failure()
        raise
    builder.finish_destroy()


def _destroy(bench: Workbench, terraform: Terraform, name: str) -> None:
    # An apply that was cut off may have made a machine that is not in the state.
    unknown = not has_state(terraform.directory) and bench.platform.observe(name) is not None
    adopt = {BUILDER_ADDRESS: name} if unknown else None
    try:
        terraform.destroy(adopt=adopt)
    except HostError:  # its process was killed: the next call starts another
        terraform.destroy(adopt=adopt)


def _configure(bench: Workbench, request: BuilderRequest, name: str, token: str, bundle: Path) -> None:
    write_configuration(
        terraform_directory(bundle.parent),
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
                "stoneware-checkpoints": "TRUE"
                if Capability.CHECKPOINTS in bench.platform.capabilities
                else "FALSE",
                "stoneware-go": "0",
                "stoneware-serving": "",
                # Without a step there is no moment later at which to say so.
                "stoneware-accept": "FALSE" if request.stage.to_run else "TRUE",
                "stoneware-manifest": "",  # there, so that the agent can wait for its change
                "enable-guest-attributes": "TRUE",
                **request.metadata,
            },
        },
    )


def _short(source: str) -> str:
    kind, _, key = source.partition(":")
    return f"{kind} {key.removeprefix('sha256:')[:12]}"
