"""What the builder of a stage is given: the steps that it is to run, the files they copy, the seal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stoneware.bake.bundle import BundleWriter
from stoneware.bake.handing import taken_from
from stoneware.bake.image_checks import promises
from stoneware.bake.plan import BakePlan, PlannedStage, source_of
from stoneware.bake.planner import Planner
from stoneware.bake.scratch_stages import files_root
from stoneware.bake.steps import StepWriter
from stoneware.bake.workdir import builder_directory
from stoneware.dataclass import dataclass
from stoneware.guest.units import image_files, service_unit
from stoneware.machinefile.archive_tree import ArchiveTree
from stoneware.machinefile.context import stage_tree
from stoneware.machinefile.recipe import RunStep
from stoneware.machinefile.tree import Tree


@dataclass(frozen=True)
class StageBundles:
    """The bundles of one bake: what all of them are made of."""

    planner: Planner
    plan: BakePlan
    directory: Path  # the bake's workspace
    secrets: Mapping[str, Path]

    def write(self, stage: PlannedStage, caches: dict[str, str]) -> BundleWriter:
        """Lay out the bundle of a stage's builder; that of the image's stage has the seal as well."""
        root = builder_directory(self.directory, stage.stage.index) / "bundle"
        root.mkdir()
        bundle = BundleWriter(root, cache_names=caches)
        # Steps download as this computer does, perhaps through a proxy with certificates of its own.
        bundle.add_certificates()
        self._add_steps(bundle, stage)
        sealed = stage is self.plan.target
        if sealed:
            self._add_seal(bundle, stage)
        last = len(stage.steps)
        first = stage.to_run[0].step.index if stage.to_run else last + 1
        scratch = stage.stage.base.scratch
        bundle.write_header(self.plan.name, self._version, first, last, seal=sealed, scratch=scratch)
        return bundle

    @property
    def _version(self) -> str:
        # Outside Git the key tells this image from those of other steps.
        return self.planner.origin.commit or self.plan.image.key[:12]

    def _add_steps(self, bundle: BundleWriter, stage: PlannedStage) -> None:
        writer = StepWriter(
            bundle,
            self.planner.context,
            self._trees(stage),
            downloads=self.planner.downloads,
            secrets=self.secrets,
        )
        for planned in stage.to_run:
            writer.write(planned.step, planned.location)

    def _trees(self, stage: PlannedStage) -> dict[str, Tree]:
        """Return the files that the stage's steps copy from."""
        stages = {other.name: other for other in self.plan.stages}
        images = dict(self.plan.recipe.images)
        trees = {}
        for name in taken_from(planned.step for planned in stage.to_run):
            ours = stages.get(name)
            source = ours.end if ours is not None else source_of(images[name])
            place = self.planner.store.stage_files(source, self.plan.taken[name], self.directory)
            # Where a checkpoint's files cannot be read, this is the archive that its builder handed out.
            if place.is_dir():
                scratch = ours is not None and ours.stage.base.scratch
                trees[name] = stage_tree(files_root(place) if scratch else place)
            else:
                trees[name] = ArchiveTree(place, f"the stage {name}" if ours else f"the image {name}")
        return trees

    def _add_seal(self, bundle: BundleWriter, stage: PlannedStage) -> None:
        config, recipe = stage.stage.config, self.plan.recipe
        files = image_files(config, self.plan.name, self._version, self.planner.origin.commit)
        bundle.add_seal(files, service_unit(config, self.plan.name), self.planner.options.skip_checks)
        bundle.add_promises(
            promises(recipe, recipe.filename), dict(config.env).get("PATH", ""), config.workdir
        )
        steps = [planned.step for other in self.plan.stages for planned in other.steps]
        runs = [step for step in steps if isinstance(step, RunStep)]
        number = len(stage.steps) + 1  # the seal stands behind the last step
        bundle.add_secrets_to_look_for(runs, self.secrets, number=number)
