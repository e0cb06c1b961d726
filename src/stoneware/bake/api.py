"""Bake an image: plan → bases → boot → steps → seal → capture → tag."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from stoneware.bake.events import Note, Reporter
from stoneware.bake.git_origin import origin_tags
from stoneware.bake.known_bases import ensure_bases
from stoneware.bake.needs import needs_of
from stoneware.bake.options import BakeOptions, BakeResult
from stoneware.bake.place import Place
from stoneware.bake.plan import HIT, BakePlan
from stoneware.bake.planner import Planner
from stoneware.files import locked
from stoneware.image.manifest import Origin
from stoneware.image.references import DEFAULT_TAG, Reference, default_name, parse_reference
from stoneware.model.capability import require
from stoneware.platforms.protocols import BAKES, Images


def references_of(options: BakeOptions) -> tuple[Reference, ...]:
    """Return the references asked for, or the context directory's name. Raises InputError."""
    if options.tags:
        return tuple(parse_reference(tag) for tag in options.tags)
    return (Reference(default_name(options.context.resolve().name)),)


def plan(options: BakeOptions, store: Images) -> BakePlan:
    """Say what `bake` would do with these options, and why; nothing is touched. Raises InputError."""
    return Planner(options, store, references_of(options)[0].name, offline=True).plan()


def bake(options: BakeOptions, place: Place, reporter: Reporter) -> BakeResult:
    """Bake an image and tag it.

    Raises InputError for what is wrong with the input, BuildError when a step, the seal or a check fails.
    """
    started = time.monotonic()
    references = references_of(options)
    # `prune`, which removes what nothing uses, takes this lock exclusively.
    with locked(place.store.build_lock_path(BAKES), shared=True):
        planner = Planner(options, place.store, references[0].name)
        plan = planner.plan()
        # After the plan, since only the steps that are to run ask anything of the platform.
        require(place.platform, needs_of(plan, options, planner.machinefile.name))
        _warn(plan, reporter)
        if ensure_bases(plan, options, place.store, reporter):
            plan = planner.plan()  # the keys of all steps stand on the base's identity
        if plan.image.action == HIT:
            image_id = plan.image.image_id or ""
        else:
            plan, image_id = _build(planner, plan, place, reporter)
        origin = _origin(planner, reporter)
        # A kill before this leaves an image without a tag, which the next bake finds by its key.
        tags = _tag(place.store, references, origin, image_id)
    return _result(plan, image_id, tags, origin, time.monotonic() - started)


def _warn(plan: BakePlan, reporter: Reporter) -> None:
    for text in plan.recipe.warnings:
        reporter.emit(Note(text, warning=True))
    for name in plan.recipe.unused_args:
        reporter.emit(Note(f"--build-arg {name}: the Machinefile declares no such ARG", warning=True))


def _build(planner: Planner, plan: BakePlan, place: Place, reporter: Reporter) -> tuple[BakePlan, str]:
    """Build what is missing under the image's lock: of two equal bakes one builds and one waits."""
    with _one_at_a_time(place.store.build_lock_path(f"image-{plan.image.key[:32]}"), reporter):
        plan = planner.decide(plan)  # another bake may have made the image meanwhile
        if plan.image.action == HIT:
            return plan, plan.image.image_id or ""
        # Terraform and all that a builder needs; a bake that builds nothing never loads it.
        from stoneware.bake.building import build_image

        return plan, build_image(planner, plan, place, reporter)


@contextlib.contextmanager
def _one_at_a_time(lock: Path, reporter: Reporter) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, timeout=0))
        except TimeoutError:
            reporter.emit(Note("another bake of the same image is under way: waiting for it"))
            stack.enter_context(locked(lock))
        yield


def _origin(planner: Planner, reporter: Reporter) -> Origin:
    origin = planner.origin
    if origin.commit is None and planner.options.versioned:
        reporter.emit(
            Note("the context is not in a Git checkout with a commit: the image gets no commit tag")
        )
    return origin


def _tag(store: Images, references: Sequence[Reference], origin: Origin, image_id: str) -> tuple[str, ...]:
    wanted = tags_of_bake(references, origin)
    known = store.tags()
    for tag in wanted:
        # What stands already is not written again: a bake without work changes nothing in the store.
        if known.get(tag) != image_id:
            store.set_tag(tag, image_id)
    return wanted


def tags_of_bake(references: Sequence[Reference], origin: Origin) -> tuple[str, ...]:
    """Return all tags that a bake sets: those asked for, `latest`, and those of the commit."""
    wanted: dict[str, None] = {}
    for reference in references:
        for tag in (reference.tag, DEFAULT_TAG, *origin_tags(origin)):
            wanted[str(Reference(reference.name, tag))] = None
    return tuple(wanted)


def _result(
    plan: BakePlan, image_id: str, tags: tuple[str, ...], origin: Origin, seconds: float
) -> BakeResult:
    ran = sum(len(stage.to_run) for stage in plan.builds)
    total = sum(len(stage.steps) for stage in plan.stages)
    return BakeResult(image_id, tags, origin.commit, origin.dirty, total - ran, ran, seconds)
