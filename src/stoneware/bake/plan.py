"""What a bake would do and why: pure data over a recipe, a context and the checkpoints there are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from stoneware.bake.handing import taken_from
from stoneware.dataclass import dataclass
from stoneware.files import canonical_json, sha256_hex
from stoneware.machinefile.recipe import Base, Recipe, ResolvedBase, Stage, Step, config_to_document

HIT = "HIT"
RUN = "RUN"
# Part of every image's key: raise it when the seal makes another image of the same steps.
SEAL_VERSION = 2


@dataclass(frozen=True)
class PlannedStep:
    """A step with its key, what will be done with it, and the reason in words."""

    step: Step
    key: str
    parent_key: str
    action: str
    reason: str
    document: Mapping[str, Any]  # what the key was made of: saved, so that a later plan can say what changed
    location: str


@dataclass(frozen=True)
class PlannedStage:
    """A stage: where its builder starts from and the steps it still has to run."""

    stage: Stage
    source: str  # what the first step stands on: `checkpoint:KEY` or `image:ID`
    steps: tuple[PlannedStep, ...]
    needed: bool  # whether anything that runs wants this stage
    handed: tuple[str, ...] = ()  # the paths that its builder has to hand out: see `bake.handing`
    based: bool = False  # whether another stage that runs stands on it

    @property
    def name(self) -> str:
        """Return the stage's name."""
        return self.stage.name

    @property
    def final_key(self) -> str:
        """Return the key of what the stage leaves behind."""
        return self.steps[-1].key if self.steps else self.source.partition(":")[2]

    @property
    def to_run(self) -> tuple[PlannedStep, ...]:
        """Return the steps that have to run, in order."""
        return tuple(step for step in self.steps if step.action == RUN)

    @property
    def end(self) -> str:
        """Return what the stage leaves behind, as a machine's source."""
        return f"checkpoint:{self.steps[-1].key}" if self.steps else self.source

    @property
    def start(self) -> str:
        """Return what the builder boots from: the deepest checkpoint."""
        hits = [step for step in self.steps if step.action == HIT]
        return f"checkpoint:{hits[-1].key}" if hits else self.source


@dataclass(frozen=True)
class PlannedImage:
    """The image at the end: its key, whether it is there already, and why not."""

    key: str
    action: str
    reason: str
    image_id: str | None


@dataclass(frozen=True)
class BakePlan:
    """All of it. `steps` of `to_document` lists each needed stage's steps in building order."""

    recipe: Recipe
    name: str
    stages: tuple[PlannedStage, ...]
    image: PlannedImage
    sources: tuple[PlannedStage, ...] = ()  # images whose files have to be handed out: no steps

    @property
    def target(self) -> PlannedStage:
        """Return the stage that becomes the image."""
        return self.stages[-1]

    @cached_property
    def taken(self) -> dict[str, tuple[str, ...]]:
        """Return the paths that are taken from each stage and image, by all steps, whatever runs now."""
        return taken_from(step for stage in self.recipe.stages for step in stage.steps)

    @property
    def builds(self) -> tuple[PlannedStage, ...]:
        """Return the stages that need a builder, in order; the target is one unless its image is there."""
        if self.image.action == HIT:
            return ()
        # The target even where all its steps are cached: its image has to be sealed.
        stages = tuple(
            stage
            for stage in self.stages
            if stage is self.target or (stage.needed and (stage.to_run or stage.handed))
        )
        # First, since the stages copy from them.
        return self.sources + stages

    def to_document(self) -> dict[str, Any]:
        """Return the plan as JSON data: what `bake --plan --json` prints."""
        return {
            "steps": [
                {
                    "index": planned.step.index,
                    "stage": stage.name,
                    "line": planned.step.line,
                    "instruction": planned.step.text,
                    "key": planned.key,
                    "action": planned.action,
                    "reason": planned.reason,
                }
                for stage in self.stages
                for planned in stage.steps
            ],
            "image": {
                "name": self.name,
                "key": self.image.key,
                "action": self.image.action,
                "reason": self.image.reason,
                "image_id": self.image.image_id,
            },
        }


def source_of(base: Base | ResolvedBase) -> str:
    """Return a base outside the Machinefile as a machine's source."""
    kind = "image" if base.kind == "image" else "checkpoint"
    return f"{kind}:{base.identity}"


def scratch_key(identity: str) -> str:
    """Return what the first step of a stage FROM scratch stands on; `identity` is that of its builder."""
    return sha256_hex(canonical_json(["scratch", identity]))


def image_key(final_key: str, stage: Stage, name: str, guest_digest: str) -> str:
    """Return the key of the image that a stage becomes.

    The name is part of it (the service and os-release carry it), the Git commit is not: a new commit
    that changes nothing only adds a tag.
    """
    parts = {
        "seal": SEAL_VERSION,
        "steps": final_key,
        "config": config_to_document(stage.config),
        "name": name,
        "guest": guest_digest,
    }
    return sha256_hex(canonical_json(parts))
