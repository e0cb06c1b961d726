"""What a shell offers when TAB is pressed behind a command: images and machines there are, or files."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from stoneware.cli import context
from stoneware.errors import StonewareError
from stoneware.platforms import registry

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def images(incomplete: str) -> list[str]:
    """Return the tags that begin so."""
    # A TAB makes no store, and tells of no error: what is not known is not offered.
    with contextlib.suppress(StonewareError):
        return [tag for tag in context.open_store(create=False).tags() if tag.startswith(incomplete)]
    return []


def machines(incomplete: str) -> list[str]:
    """Return the names of machines that begin so: the short ones within clusters first."""
    from stoneware.launch.machine_search import short_name

    with contextlib.suppress(StonewareError):
        found = context.open_platform(context.open_store(create=False)).machines()
        names = [short_name(machine) for machine in found] + [machine.name for machine in found]
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
    return []


def volumes(incomplete: str) -> list[str]:
    """Return the names of volumes that begin so."""
    with contextlib.suppress(StonewareError):
        found = context.open_platform(context.open_store(create=False)).volumes()
        return [volume.name for volume in found if volume.name.startswith(incomplete)]
    return []


def snapshots(incomplete: str) -> list[str]:
    """Return the names of snapshots that begin so."""
    with contextlib.suppress(StonewareError):
        found = context.open_platform(context.open_store(create=False)).snapshots()
        return sorted({one.name for one in found if one.name.startswith(incomplete)})
    return []


def platforms(incomplete: str) -> list[str]:
    """Return the platforms that images can be pushed to."""
    # Images are pushed from the default one.
    return [name for name in registry.NAMES if name != registry.DEFAULT and name.startswith(incomplete)]


def files(incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell, which knows the files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]
