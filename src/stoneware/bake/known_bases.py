"""Builds the bases that a plan needs and the store lacks."""

from __future__ import annotations

from stoneware.bake.events import Note, Reporter
from stoneware.bake.options import BakeOptions
from stoneware.bake.phases import phase
from stoneware.bake.plan import BakePlan
from stoneware.platforms.protocols import Images


def ensure_bases(plan: BakePlan, options: BakeOptions, store: Images, reporter: Reporter) -> bool:
    """Make the known bases that are missing, with --pull each of them again. Say whether any was made.

    Raises HostError where a base cannot be made.
    """
    recipe = plan.recipe
    bases = [(stage.base.kind, stage.base.reference) for stage in recipe.stages]
    bases += [(image.kind, reference) for reference, image in recipe.images]
    # Each once, however many stages stand on it.
    references = dict.fromkeys(reference for kind, reference in bases if kind == "base")
    missing = [name for name in references if options.pull or not store.base_identity(name)]
    for name in missing:
        title = store.base_title(name)
        with phase(reporter, title, title):
            store.ensure_base(name, refresh=options.pull, progress=lambda text: reporter.emit(Note(text)))
    return bool(missing)
