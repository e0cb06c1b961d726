"""prune: what nothing uses any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from stoneware.cli import options
from stoneware.cli.context import open_platform, open_store
from stoneware.cli.output import print_json, print_table, say
from stoneware.image.references import short_id, tags_of
from stoneware.launch.flags import parse_duration
from stoneware.ui.text import age

if TYPE_CHECKING:
    from stoneware.local.imagestore import LocalImageStore

_BASE = "base-"  # keys of the checkpoints that hold bases


@dataclass(frozen=True)
class Doomed:
    """Something that can go: an image or a checkpoint, and why."""

    kind: str
    id: str
    reason: str


def prune(
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Tagged images that no machine has, and all checkpoints.")
    ] = False,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Checkpoints not used for so long.")
    ] = "168h",
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be removed; remove nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Do not ask.")] = False,
    json_output: options.Json = False,
) -> None:
    """Remove what nothing uses any more.

    That is what interrupted commands left behind, images without a tag, and the checkpoints of steps that
    were not used for a week. Machines and volumes are kept: see `rm` and `volume prune`.
    """
    from stoneware.bake.workspace import recover

    store = open_store()
    platform = open_platform(store)
    limit = 0.0 if every else parse_duration(older_than, "--older-than")
    used = {machine.image_id for machine in platform.machines()}
    found = [*_images(store, used, every=every), *_checkpoints(store, time.time() - limit, every=every)]
    if json_output and plan:
        print_json([asdict(entry) for entry in found])
    elif found and not json_output:
        print_table(
            ("KIND", "ID", "WHY"), [[entry.kind, short_id(entry.id), entry.reason] for entry in found]
        )
    if plan:
        return
    for sentence in recover(store, platform):
        say(sentence)
    if found and not force:
        typer.confirm(f"Remove these {len(found)}?", abort=True, err=True)
    for entry in found:
        if entry.kind == "image":
            store.remove_image(entry.id)
        else:
            store.remove_checkpoint(entry.id)
    if json_output:
        print_json([asdict(entry) for entry in found])
    elif not found:
        say("there is nothing to remove")


def _images(store: LocalImageStore, used: set[str], *, every: bool) -> Iterator[Doomed]:
    tags = store.tags()
    for image_id in store.image_ids():
        tagged = tags_of(tags, image_id)
        if image_id not in used and (every or not tagged):
            reason = f"no machine has it ({', '.join(tagged)})" if tagged else "it has no tag"
            yield Doomed("image", image_id, reason)


def _checkpoints(store: LocalImageStore, before: float, *, every: bool) -> Iterator[Doomed]:
    for key in store.checkpoint_keys():
        last = store.checkpoint_used(key)
        if last < before and (every or not key.startswith(_BASE)):
            yield Doomed("checkpoint", key, f"last used {age(time.time() - last)} ago")
