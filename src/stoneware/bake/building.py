"""Building what a plan says is missing, in builders: boot → steps for each stage, then seal → capture."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from stoneware.bake.background import Background
from stoneware.bake.build_secrets import check_secrets, write_secrets
from stoneware.bake.builder import (
    BuilderRequest,
    Workbench,
    prepared_builder,
    running_builder,
)
from stoneware.bake.bundle import BundleWriter
from stoneware.bake.caches import held_caches
from stoneware.bake.driver import Driver
from stoneware.bake.events import (
    Note,
    Reporter,
    StageStarted,
    StepCached,
    TerminalReturned,
    TerminalTaken,
)
from stoneware.bake.failure_shell import open_shell
from stoneware.bake.known_contract import NOTE, KnownContract, inputs_inside, inputs_of, known_contract
from stoneware.bake.lost_files import left_in_memory
from stoneware.bake.options import OnFailure
from stoneware.bake.phases import phase
from stoneware.bake.place import Place
from stoneware.bake.plan import HIT, BakePlan, PlannedStage, source_of
from stoneware.bake.planner import Planner
from stoneware.bake.seal_report import describe_seal, preload, read_results, told_units
from stoneware.bake.stage_bundle import StageBundles
from stoneware.bake.workdir import workspace
from stoneware.config.encoding import encode, to_bytes
from stoneware.config.machine_rules import machine_rules
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.guest.checks import CHECKS
from stoneware.image.manifest import ManifestInput, StepRecord, build_manifest
from stoneware.machinefile.recipe import Step
from stoneware.model import guest_protocol
from stoneware.model.capability import Capability
from stoneware.platforms.builders import Builder

_RESULTS = "sealed.tar"


def build_image(planner: Planner, plan: BakePlan, place: Place, reporter: Reporter) -> str:
    """Build all that the plan says, capture the image and return its id. Raises BuildError and InputError."""
    _check_options(planner)
    # Of all stages before the first has a builder; of steps from the cache too, as the seal looks for theirs.
    check_secrets((step for stage in plan.stages for step in stage.steps), planner.options.secrets)
    image = ""
    leave = None if planner.options.verbose else place.leave  # what Terraform prints is to be seen
    with workspace(place.store, place.platform, leave) as directory, remembered(planner, plan):
        build = _Build(planner, plan, place, reporter, directory, left=leave is not None)
        for stage in plan.builds:
            with build.boot(stage) as driver:
                build.run_steps(stage, driver)
                if stage is plan.target:
                    sealed = build.seal(driver)
                    image = build.capture(driver.builder, sealed)
                else:
                    build.keep(stage, driver)
    return image


@contextlib.contextmanager
def remembered(planner: Planner, plan: BakePlan) -> Iterator[None]:
    """Remember at the end, however it ends, what the steps that are done were made of."""
    try:
        yield
    finally:
        # After a failure too: the next plan then says what has changed since.
        done = {step.key for stage in plan.stages for step in stage.steps}
        if planner.store.saves_steps:
            done = set(filter(planner.store.has_checkpoint, done))
        planner.record.save(plan.stages, done)


def _check_options(planner: Planner) -> None:
    known = {check.name for check in CHECKS}
    for name in planner.options.skip_checks:
        if name not in known:
            raise InputError(
                f"there is no check {name!r}",
                details=f"The checks are {', '.join(sorted(known))}.",
                resolution="stoneware bake --list-checks",
            )


@dataclass(frozen=True)
class _Sealed:
    """A sealed builder: what its image is to hold, and how the machine is stopped."""

    manifest: bytes
    env: str  # the config's defaults
    contract: str
    file_bytes: int
    inputs: str  # the digest of what its contract was derived from
    timeout: float | None  # seconds that its shutdown may take; None: its own
    stopping: Background | None  # where it is being stopped already


class _Build:
    """One bake that builds: what its steps share."""

    def __init__(
        self,
        planner: Planner,
        plan: BakePlan,
        place: Place,
        reporter: Reporter,
        directory: Path,
        *,
        left: bool,
    ) -> None:
        self._planner = planner
        self._plan = plan
        self._place = place
        self._reporter = reporter
        self._left = left  # whether the last builder is left to the workspace
        options = planner.options
        self._bench = Workbench(
            place.platform, reporter, directory, verbose=options.verbose, step_timeout=options.step_timeout
        )
        self._seconds: dict[str, float] = {}
        secrets = write_secrets(directory, options.secrets)
        self._bundles = StageBundles(planner, plan, directory, secrets)

    @contextlib.contextmanager
    def boot(self, stage: PlannedStage) -> Iterator[Driver]:
        """Boot the builder of a stage; it is removed at the end, or left to the workspace."""
        steps = [planned.step for planned in stage.to_run]
        with (
            # First: a cache that is waited for keeps no builder waiting.
            held_caches(self._place.store, steps) as caches,
            prepared_builder(self._bench, stage) as builder,  # Terraform loads while the bundle is made
        ):
            self._announce(stage)
            is_target = stage is self._plan.target
            bundle = self._bundles.write(stage, caches)
            handed = self._hand_out(stage, bundle)
            # A builder on Compute Engine boots Debian's own image, which has no program of Stoneware's.
            if builder.lacks_guest(stage.start):
                bundle.add_guest()
            told = self._plan.recipe.warnings
            left = is_target and self._left
            lists_from = self._known_files(stage) if is_target else ""
            request = BuilderRequest(
                stage, bundle, _RESULTS, metadata=handed, told=told, left=left, lists_from=lists_from
            )
            with running_builder(self._bench, builder, request) as driver:
                if lists_from:
                    builder.prepare_list(lists_from)
                yield driver

    def _known_files(self, stage: PlannedStage) -> str:
        """Return the source that a sealed stage was made from in the end, where its snapshots are here."""
        base = self._plan.recipe.root(stage.stage)
        return source_of(base) if self._bench.checkpoints and not base.scratch else ""

    def run_steps(self, stage: PlannedStage, driver: Driver) -> None:
        """Run the steps of a stage in its builder. Raises BuildError."""
        self._preload(stage)
        taken = driver.run_steps(self._on_failure(driver))
        self._seconds |= {
            planned.key: taken[planned.step.index] for planned in stage.to_run if planned.step.index in taken
        }

    def _preload(self, stage: PlannedStage) -> None:
        """Prepare for the templates and the schema while the builder boots: it may have them already."""
        if self._has_files:
            threading.Thread(target=self._read_ahead, args=(stage,), daemon=True).start()

    def _read_ahead(self, stage: PlannedStage) -> None:
        root = self._place.store.stage_source(stage.start)
        env = self._plan.target.stage.config.env
        if self._known is None or self._known.inputs != inputs_inside(root, dict(env)):
            preload(root, expected=len(stage.to_run) > 1)

    @functools.cached_property
    def _known(self) -> KnownContract | None:
        """Return the contract of the last image of this name, but where images are far away."""
        return known_contract(self._place.store, self._plan.name) if self._has_files else None

    @property
    def _has_files(self) -> bool:
        return Capability.LOCAL_FILES in self._place.platform.capabilities

    def _announce(self, stage: PlannedStage) -> None:
        total = len(stage.steps)
        base = "scratch" if stage.stage.base.scratch else stage.stage.base.reference
        self._reporter.emit(StageStarted(stage.name, base, total, total - len(stage.to_run)))
        for planned in stage.steps:
            if planned.action == HIT:
                step = planned.step
                self._reporter.emit(StepCached(stage.name, step.index, total, step.line, step.text))
                document = self._place.store.checkpoint_document(planned.key) or {}
                left = str(document.get("left", ""))
                for note in left_in_memory(planned.location, left, self._plan.recipe.warnings):
                    self._reporter.emit(note)

    def _on_failure(self, driver: Driver) -> Callable[[Step], None]:
        def nothing(_step: Step) -> None:
            pass

        def shell(step: Step) -> None:
            self._reporter.emit(Note("a shell in the broken builder; `exit` ends the bake"))
            # The live view would draw over what is typed there.
            self._reporter.emit(TerminalTaken())
            open_shell(self._place.platform, driver.builder.name, step)
            self._reporter.emit(TerminalReturned())

        return shell if self._planner.options.on_failure == OnFailure.SHELL else nothing

    def _hand_out(self, stage: PlannedStage, bundle: BundleWriter) -> dict[str, str]:
        """Have the builder hand out what others take of its stage, where its checkpoint is not enough."""
        address = self._place.store.files_address(stage.end, stage.handed) if stage.handed else ""
        if not address:
            return {}
        bundle.add_handed(stage.handed)
        return {guest_protocol.HANDED: address}

    def keep(self, stage: PlannedStage, driver: Driver) -> None:
        """Keep what other stages need of one whose steps have run, where no step is saved by itself."""
        if self._bench.checkpoints:
            return
        if stage.handed:
            with phase(self._reporter, f"files-{stage.name}", f"hand on files of {stage.name}"):
                driver.hand_on("handed")
        if stage.based:
            with phase(self._reporter, f"keep-{stage.name}", f"keep the stage {stage.name}"):
                driver.hand_on("over")
                driver.builder.stop()
                # A stage without steps is its base, kept because others are FROM it.
                document = dict(stage.steps[-1].document) if stage.steps else {}
                driver.builder.save_step(stage.final_key, document)

    def seal(self, driver: Driver) -> _Sealed:
        """Seal the builder: nothing of its identity is left, and the image's manifest is made.

        Raises BuildError where a check fails or the builder's lists cannot be read.
        """
        builder = driver.builder
        with phase(self._reporter, "seal", "seal: remove identity and residue, check, list"):
            checks = driver.seal()
            # Where nothing but systemd and the agent runs, a shutdown would write nothing more.
            timeout = 0 if driver.run.quiet else None
            # Where its root can be written to from here, nothing more is wanted of the machine.
            at_hand = self._bench.checkpoints
            stopping = Background(lambda: builder.stop(timeout)) if at_hand else None
            files = read_results(builder.result(_RESULTS))
            config, known = self._plan.target.stage.config, self._known
            inputs = inputs_of(files, dict(config.env))
            contract = known.contract if known is not None and known.inputs == inputs else None
            sealed = describe_seal(files, config, checks, contract)
            for text in told_units(sealed.units):
                self._reporter.emit(Note(text))
            manifest = build_manifest(self._manifest_input(), sealed)
            env, rules = encode(sealed.contract["env"]), machine_rules(sealed.contract)
            # The manifest goes into the image as well: from here, or else by the machine itself.
            if not at_hand:
                driver.finish(manifest, env=env, contract=rules)
        return _Sealed(manifest, env, rules, sealed.file_bytes, inputs, timeout, stopping)

    def capture(self, builder: Builder, sealed: _Sealed) -> str:
        """Make an image of a sealed builder's root and return its id."""
        document = {"key": self._plan.image.key, "size_bytes": sealed.file_bytes, NOTE: sealed.inputs}
        with phase(self._reporter, "capture", "stop the builder and capture the image"):
            if sealed.stopping is None:
                builder.stop(sealed.timeout)
                return builder.capture(sealed.manifest, document)
            # With its processes dead nothing writes to its root any more.
            sealed.stopping.wait()
            own = {
                "manifest.json": sealed.manifest,
                "env": to_bytes(sealed.env),
                "contract.tsv": to_bytes(sealed.contract),
            }
            return builder.capture(sealed.manifest, document, files=own)

    def _manifest_input(self) -> ManifestInput:
        steps = [
            StepRecord(
                planned.step.index,
                stage.name,
                planned.step.line,
                planned.step.text,
                planned.key,
                self._seconds.get(planned.key),
            )
            for stage in self._plan.stages
            for planned in stage.steps
        ]
        return ManifestInput(
            name=self._plan.name,
            architecture=self._place.store.architecture,
            stage=self._plan.target.stage,
            base=self._plan.recipe.root(self._plan.target.stage),
            origin=self._planner.origin,
            key=self._plan.image.key,
            steps=steps,
        )
