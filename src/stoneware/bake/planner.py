"""Computing a bake's plan: keys from recipe and context, then a walk back to the deepest checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from stoneware.bake.downloads import Downloads
from stoneware.bake.git_origin import read_origin
from stoneware.bake.handing import taken_from
from stoneware.bake.options import BakeOptions
from stoneware.bake.plan import (
    HIT,
    RUN,
    BakePlan,
    PlannedImage,
    PlannedStage,
    PlannedStep,
    image_key,
    scratch_key,
    source_of,
)
from stoneware.bake.recipe_loading import NOT_BUILT, find_machinefile, read_recipe
from stoneware.bake.step_records import Record
from stoneware.guest.install import digest as guest_digest
from stoneware.image.manifest import Origin, config_of
from stoneware.machinefile.context import Source, context_tree, resolve_mount, resolve_sources
from stoneware.machinefile.digests import DigestCache
from stoneware.machinefile.ignore import Matcher, load_ignore
from stoneware.machinefile.keys import StepInputs, describe_inputs, explain, step_key
from stoneware.machinefile.recipe import Base, CopyStep, ImageConfig, RunStep, Stage, Step
from stoneware.machinefile.tree import Tree
from stoneware.platforms.protocols import Images


class Planner:
    """Plans one bake: `plan` computes the keys, `decide` compares them with what the store holds."""

    def __init__(self, options: BakeOptions, store: Images, name: str, *, offline: bool = False) -> None:
        """Read nothing yet. `offline` plans with what ADD has downloaded before, without asking again."""
        self.options = options
        self.store = store
        self.name = name
        self.machinefile = find_machinefile(options)
        self._cache = DigestCache(store.records() / "digests.json")
        self.downloads = Downloads(store.records() / "downloads", offline=offline)
        # What steps copy: of files that Git ignores only these make an image's tags dirty.
        self._used: set[str] = set()

    @cached_property
    def ignore(self) -> Matcher:
        """The context's ignore file."""
        return load_ignore(self.options.context, self.machinefile)

    @cached_property
    def context(self) -> Tree:
        """The build context as a tree."""
        return context_tree(self.options.context.resolve(), self.ignore, self._cache)

    @cached_property
    def record(self) -> Record:
        """What the last bake of this Machinefile and name was made of."""
        return Record(self.store.records(), f"{self.machinefile.resolve()} {self.name}")

    def location(self, line: int) -> str:
        """Return `file:line` as errors show it."""
        return f"{self.machinefile}:{line}"

    @cached_property
    def origin(self) -> Origin:
        """The Git commit of the context, as it was when first asked for: after `plan`."""
        included = lambda path: not self.ignore.matches(path)  # noqa: E731
        return read_origin(self.options.context, included, self._used)

    def plan(self) -> BakePlan:
        """Read the recipe and the context and return the plan. Raises InputError."""
        recipe = read_recipe(self.options, self.store, self.machinefile)
        stages: list[PlannedStage] = []
        # COPY --from=IMAGE counts like a stage: its key is the image's own identity.
        keys: dict[str, str] = {name: base.identity for name, base in recipe.images}
        ends: dict[str, str] = {}
        for stage in recipe.stages:
            planned = self._keyed(stage, keys, ends)
            keys[stage.name] = planned.final_key
            ends[stage.name] = planned.end
            stages.append(planned)
        self._cache.save()
        key = image_key(stages[-1].final_key, stages[-1].stage, self.name, guest_digest())
        return self.decide(BakePlan(recipe, self.name, tuple(stages), PlannedImage(key, RUN, "", None)))

    def decide(self, plan: BakePlan) -> BakePlan:
        """Return a plan with what is to be done now that the store may have changed; its keys stay."""
        # Without saved steps only stages are kept that others stand on.
        below = {stage.stage.base.reference for stage in plan.stages if stage.stage.base.kind == "stage"}
        kept = {stage.name for stage in plan.stages if self.store.saves_steps or stage.name in below}
        stages = [
            replace(stage, steps=self._decided(stage, may_be_kept=stage.name in kept))
            for stage in plan.stages
        ]
        image = self._image(plan.image.key, stages[-1])
        settled = self._settle(stages, image, plan.taken)
        return replace(plan, stages=settled, image=image, sources=self._sources(plan, settled))

    def inputs(self, step: Step, keys: Mapping[str, str]) -> StepInputs:
        """Return what a step takes from outside the recipe."""
        architecture = self.store.architecture
        if isinstance(step, CopyStep):
            # The stage's key covers what is copied, so its files need no hashing here.
            if step.from_stage:
                return StepInputs(architecture, stages=((step.from_stage, keys[step.from_stage]),))
            sources = resolve_sources(step, self.context, location=self.location(step.line))
            self._used.update(_paths(sources))
            return StepInputs(
                architecture, sources, downloads=self.downloads.of(step, sources, self.location)
            )
        if isinstance(step, RunStep):
            return self._mount_inputs(step, keys)
        return StepInputs(architecture)

    def _mount_inputs(self, step: RunStep, keys: Mapping[str, str]) -> StepInputs:
        # Secrets and tmpfs are not in the key, as in BuildKit: another value is no other result.
        mounts = [mount for mount in step.mounts if mount.type in ("bind", "cache")]
        sources = tuple(
            resolve_mount(mount, self.context, location=self.location(step.line))
            for mount in mounts
            if mount.type == "bind" and not mount.from_stage
        )
        self._used.update(_paths(sources))
        stages = tuple((mount.from_stage, keys[mount.from_stage]) for mount in mounts if mount.from_stage)
        return StepInputs(self.store.architecture, sources, stages)

    def _keyed(self, stage: Stage, keys: Mapping[str, str], ends: Mapping[str, str]) -> PlannedStage:
        base = stage.base
        source = ends[base.reference] if base.kind == "stage" else source_of(base)
        parent = source.partition(":")[2]
        # NOT_BUILT stays as it is: by it `_why` knows that the base is missing.
        if base.scratch and base.kind != "stage" and parent != NOT_BUILT:
            parent = scratch_key(parent)
        steps: list[PlannedStep] = []
        for step in stage.steps:
            inputs = self.inputs(step, keys)
            key = step_key(parent, step, inputs)
            document = describe_inputs(parent, step, inputs)
            steps.append(PlannedStep(step, key, parent, RUN, "", document, self.location(step.line)))
            parent = key
        return PlannedStage(stage, source, tuple(steps), needed=False)

    def _decided(self, stage: PlannedStage, *, may_be_kept: bool) -> tuple[PlannedStep, ...]:
        """Walk back to the deepest checkpoint; everything above it is taken from there."""
        steps = stage.steps
        deepest = 0
        if not self.options.no_cache and may_be_kept:
            # From the end, for only the deepest checkpoint is booted; the ones before it may be pruned.
            hits = (n for n in range(len(steps), 0, -1) if self.store.has_checkpoint(steps[n - 1].key))
            deepest = next(hits, 0)
        decided = [replace(step, action=HIT, reason="cached") for step in steps[:deepest]]
        decided += [
            replace(step, action=RUN, reason=self._why(stage.stage, step)) for step in steps[deepest:]
        ]
        return tuple(decided)

    def _settle(
        self, stages: list[PlannedStage], image: PlannedImage, taken: Mapping[str, tuple[str, ...]]
    ) -> tuple[PlannedStage, ...]:
        """Mark which stages anything that runs wants, and for what; a stage that none wants is not built."""
        bases: set[str] = set()
        files: set[str] = set()
        settled: list[PlannedStage] = []
        # Backwards: what stands on a stage, or copies from it, comes behind it in the file.
        for number, stage in enumerate(reversed(stages)):
            is_target = number == 0 and image.action == RUN
            paths = taken[stage.name] if stage.name in files else ()
            wanted = self._wanted(stage, is_target or stage.name in bases, paths)
            if wanted.needed:
                if _stands_on_stage(wanted):
                    bases.add(wanted.stage.base.reference)
                files |= taken_from(planned.step for planned in wanted.to_run).keys()
            settled.append(replace(wanted, based=not is_target and wanted.based))
        return tuple(reversed(settled))

    def _wanted(self, stage: PlannedStage, whole: bool, paths: tuple[str, ...]) -> PlannedStage:
        """Return a stage as it is wanted: as the image or below another stage, and for its files."""
        # With --no-cache the steps run again, so what was handed out before is not theirs.
        again = self.options.no_cache and bool(stage.steps)
        handed = bool(paths) and (again or not self._has_files(stage.end, paths))
        if whole or handed:
            return replace(stage, needed=True, based=whole, handed=paths if handed else ())
        reason = "its files are kept" if paths else "not needed: later checkpoints contain its result"
        return replace(stage, needed=bool(paths), steps=_unwanted(stage, reason))

    def _has_files(self, source: str, paths: tuple[str, ...]) -> bool:
        """Say whether files are at hand; with a base that is not built yet this is planned again."""
        return source.endswith(f":{NOT_BUILT}") or self.store.has_files(source, paths)

    def _sources(self, plan: BakePlan, stages: Iterable[PlannedStage]) -> tuple[PlannedStage, ...]:
        """Return the images that no builder of this bake stands on and that have to hand out files."""
        images = dict(plan.recipe.images)
        steps = [planned.step for stage in stages if stage.needed for planned in stage.to_run]
        found: list[PlannedStage] = []
        for name in taken_from(steps):
            paths = plan.taken[name]
            if name in images and not self._has_files(source_of(images[name]), paths):
                base = Base(images[name].kind, name, images[name].identity)
                # A builder's directory has this number in its name, so it must be no stage's.
                index = 1 + max(stage.stage.index for stage in stages) + len(found)
                stage = Stage(index, name, 0, base, (), images[name].config)
                found.append(PlannedStage(stage, source_of(base), (), needed=True, handed=paths))
        return tuple(found)

    def _why(self, stage: Stage, planned: PlannedStep) -> str:
        if self.options.no_cache:
            return "--no-cache"
        if planned.parent_key == NOT_BUILT:
            whose = "of " if stage.base.kind == "stage" else ""
            return f"the base {whose}{stage.base.reference} is not built yet"
        reason = explain(self.record.step(stage.name, planned.step.index), planned.document)
        # The first step has no step before it: what changed is its base.
        if reason == "the step before it changed" and planned.step.index == 1:
            return f"{stage.base.reference}, which the stage is built FROM, changed"
        if reason != "nothing changed":
            return reason
        return "its checkpoint is gone" if self.store.saves_steps else "steps are not saved here"

    def _image(self, key: str, target: PlannedStage) -> PlannedImage:
        found = self._image_of(key)
        if found is not None and not self.options.no_cache:
            return PlannedImage(key, HIT, "an image of these steps and settings is in the store", found)
        return PlannedImage(key, RUN, self._why_image(target), None)

    def _image_of(self, key: str) -> str | None:
        documents = ((image, self.store.image_document(image)) for image in self.store.image_ids())
        return next((image for image, document in documents if document.get("key") == key), None)

    def _why_image(self, target: PlannedStage) -> str:
        if target.to_run:
            return "steps have to run"
        last = self.store.tags().get(f"{self.name}:latest")
        if last is None:
            return f"there is no image {self.name} yet"
        return _changed_config(config_of(self.store.manifest(last)), target.stage.config)


def _changed_config(old: ImageConfig, new: ImageConfig) -> str:
    names = sorted(name for name in vars(new) if getattr(old, name) != getattr(new, name))
    return f"{', '.join(names)} changed" if names else "its steps, or this version of stoneware, changed"


def _paths(sources: Iterable[Source]) -> Iterable[str]:
    for source in sources:
        if source.kind == "directory":
            yield from (f"{source.path}/{entry.name}".lstrip("/") for entry in source.entries)
        elif source.path:
            yield source.path


def _unwanted(stage: PlannedStage, reason: str) -> tuple[PlannedStep, ...]:
    return tuple(
        step if step.action == HIT else replace(step, action=HIT, reason=reason) for step in stage.steps
    )


def _stands_on_stage(stage: PlannedStage) -> bool:
    """Say whether a stage that runs begins at another one: with a checkpoint of its own it does not."""
    return stage.stage.base.kind == "stage" and len(stage.to_run) == len(stage.steps)
