"""One builder from its boot to its release: a stage's steps run in it, it is sealed and captured."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path

from stoneware.bake.bundle import BundleWriter
from stoneware.bake.driver import Driver
from stoneware.bake.events import Note, Reporter, TerraformOutput
from stoneware.bake.phases import phase
from stoneware.bake.plan import PlannedStage
from stoneware.bake.workdir import builder_directory
from stoneware.dataclass import dataclass
from stoneware.guest.agent import build_agent_script
from stoneware.model import guest_protocol
from stoneware.model.capability import Capability
from stoneware.model.guest_protocol import flag
from stoneware.platforms.builders import Builder
from stoneware.platforms.protocols import Platform


@dataclass(frozen=True)
class Workbench:
    """What every builder of a bake shares."""

    platform: Platform
    reporter: Reporter
    directory: Path  # the bake's workspace
    verbose: bool = False
    step_timeout: float | None = None  # seconds

    @property
    def checkpoints(self) -> bool:
        """Say whether a builder is saved after each step."""
        return Capability.CHECKPOINTS in self.platform.capabilities


@dataclass(frozen=True)
class BuilderRequest:
    """A builder that is wanted: the stage, the bundle written for it."""

    stage: PlannedStage
    bundle: BundleWriter
    results: str = "sealed.tar"
    metadata: Mapping[str, str] = field(default_factory=dict)
    told: Sequence[str] = ()  # the warnings of the Machinefile's text
    lists_from: str = ""  # the source whose files are known, where those of the builder can be listed by them
    left: bool = False  # at the end it stays, stopped, until the bake's directory is removed


@contextlib.contextmanager
def prepared_builder(bench: Workbench, stage: PlannedStage) -> Iterator[Builder]:
    """Prepare the builder of one stage; it does not exist yet, but what is slow to load loads."""
    say = (lambda line: bench.reporter.emit(TerraformOutput(line))) if bench.verbose else None
    tell = lambda words: bench.reporter.emit(Note(words))  # noqa: E731 - as above
    name = f"{bench.directory.name}-{stage.stage.index}"
    directory = builder_directory(bench.directory, stage.stage.index)
    with bench.platform.prepare_builder(name, directory, say, tell) as builder:
        yield builder


@contextlib.contextmanager
def running_builder(bench: Workbench, builder: Builder, request: BuilderRequest) -> Iterator[Driver]:
    """Boot a builder with its bundle, give what drives it, and release it unless it is to be left."""
    stage = request.stage
    # The console has systemd's and the steps' words as well: by this the agent's lines are told from them.
    token = secrets.token_hex(8)
    bundle = builder_directory(bench.directory, stage.stage.index) / "bundle.tar"
    driver = Driver(
        builder,
        bench.reporter,
        token=token,
        stage=stage.name,
        steps={planned.step.index: planned for planned in stage.to_run},
        secrets=request.bundle.secrets,
        last=len(stage.steps),
        step_timeout=bench.step_timeout,
        told=request.told,
        checkpoints=bench.checkpoints,
        lists_from=request.lists_from,
    )
    try:
        request.bundle.pack(bundle)
        # Published before the builder exists, for its agent fetches the bundle as soon as it boots.
        address = builder.publish(bundle, request.bundle.files)
        metadata = _metadata(bench, builder, request, token, address)
        with phase(
            bench.reporter, f"builder-{stage.name}", f"builder {builder.name} from {_short(stage.start)}"
        ):
            builder.boot(stage.start, metadata, request.bundle.caches)
        yield driver
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            bench.reporter.emit(Note("interrupted: removing the builder"))
        # Whatever ended it, a Ctrl-C too: no builder is left running.
        builder.release(failed=True)
        raise
    if not request.left:
        builder.release()


def _metadata(
    bench: Workbench, builder: Builder, request: BuilderRequest, token: str, bundle: str
) -> dict[str, str]:
    return {
        "startup-script": build_agent_script(),
        guest_protocol.MODE: "build",
        guest_protocol.TOKEN: token,
        guest_protocol.BUNDLE: bundle,
        guest_protocol.RESULTS: builder.results_address(request.results),
        guest_protocol.CHECKPOINTS: flag(bench.checkpoints),
        guest_protocol.BEAT: f"{builder.beat:g}",
        guest_protocol.GO: "0",
        guest_protocol.SERVING: "",
        # Without a step there is no moment later at which to say so.
        guest_protocol.ACCEPT: flag(not request.stage.to_run),
        guest_protocol.LISTS: flag(bool(request.lists_from)),
        guest_protocol.LISTED: "",
        guest_protocol.MANIFEST: "",  # there, so that the agent can wait for its change
        guest_protocol.GUEST_ATTRIBUTES: guest_protocol.TRUE,
        **request.metadata,
    }


def _short(source: str) -> str:
    kind, _, key = source.partition(":")
    return f"{kind} {key.removeprefix('sha256:')[:12]}"
