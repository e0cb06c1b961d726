"""import: from a root file system or a disk that somebody else has made to an image."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from stoneware.bake.options import BakeOptions, BakeResult
from stoneware.cli import bake_result, options
from stoneware.cli.context import backend, choose, leave_bake, open_platform, open_store
from stoneware.cli.parameters import Command, argument, flag, option
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.image.references import parse_reference
from stoneware.launch.flags import parse_image_labels
from stoneware.machinefile.parser import parse_source
from stoneware.machinefile.syntax import lay_out
from stoneware.model.capability import Capability, Need, require
from stoneware.scratch import scratch_directory
from stoneware.ui.progress import Style, make_display
from stoneware.ui.text import duration, short_id
from stoneware.untrusted.bounded import why_no_file

_TYPED = "stoneware import rootfs.tar -t NAME"
_LINES = "--change"  # what errors call those lines


@dataclass(frozen=True)
class Flags:
    """What the command was given, by the names of its options."""

    file: str
    tag: tuple[str, ...]
    change: tuple[str, ...]
    label: tuple[str, ...]
    platform: str | None
    progress: Style
    quiet: bool
    json_output: bool


@click.command("import", cls=Command)
@argument("file", metavar="FILE", help="A tar of the root file system, a disk, or - for standard input.")
@option("--tag", "-t", metavar="NAME[:TAG]", multiple=True, help="Name the image. Repeatable.")
@option(
    "--change", "-c", metavar="INSTRUCTION", multiple=True, help="Bake a line of a Machinefile. Repeatable."
)
@option("--label", metavar="KEY=VALUE", multiple=True, help="Label the image. Repeatable.")
@options.platform
@options.progress
@flag("--quiet", "-q", help="Print only the id of the image.")
@options.json_output
def import_image(**given: Any) -> None:
    """Make an image of a foreign root file system or disk.

    FILE is a tar archive, plain or compressed by gzip, bzip2, xz or zstd, of a Debian system with systemd,
    or of one that derives from it; or a disk with one, raw, qcow2 or VMDK: with a GPT, the root being ext4,
    XFS or btrfs. Its owners, modes, links and capabilities are kept; devices are left out.
    Packages that machines need and it lacks are installed from its own package sources. It is booted once and
    sealed as every image is; then machines run from it, and a Machinefile can be FROM it.
    """
    flags = Flags(**given)
    choose(flags.platform)
    if not flags.tag:
        raise InputError("the image has no name", resolution=_TYPED)
    for tag in flags.tag:
        parse_reference(tag)  # told before an archive of gigabytes is read
    labels = parse_image_labels(flags.label)
    lay_out(parse_source(_machinefile("debian:12", flags), _LINES))  # as well
    started = time.monotonic()
    with scratch_directory("stoneware-archive-") as work:
        result = _import(flags, labels, work)
    # The bake has not counted the archive's part.
    result = replace(result, seconds=time.monotonic() - started)
    sentence = f"image {short_id(result.image_id)}: imported in {duration(round(result.seconds, 3))}"
    bake_result.show(result, sentence, quiet=flags.quiet, json_output=flags.json_output)


def _import(flags: Flags, labels: Mapping[str, str], work: Path) -> BakeResult:
    from stoneware.bake import api
    from stoneware.bake.events import Note
    from stoneware.bake.phases import phase
    from stoneware.bake.place import Place

    archive = _archive(flags.file, work)
    store = open_store()
    platform = open_platform(store)
    require(platform, [Need(Capability.LOCAL_FILES, "import", "stoneware import … --platform local")])
    style = Style.QUIET if flags.quiet else flags.progress
    context = work / "context"  # empty: no file of this computer gets into the image
    context.mkdir()
    with backend().clear_errors(), make_display(style, sys.stderr) as display:
        with phase(display, "import", f"import {archive.name}"):
            reference = store.import_root(archive, lambda text: display.emit(Note(text)))
        wanted = BakeOptions(
            context=context,
            file=Path(_LINES),
            text=_machinefile(reference, flags),
            tags=flags.tag,
            labels=labels,
            versioned=False,  # no work tree, so no commit
        )
        return api.bake(wanted, Place(platform, store, leave_bake), display)


def _machinefile(base: str, flags: Flags) -> str:
    return "\n".join([f"FROM {base}", *flags.change, ""])


def _archive(file: str, work: Path) -> Path:
    """Return where the archive is. Raises InputError."""
    if file == "-":
        if sys.stdin.isatty():
            raise InputError("an archive does not come from a terminal", resolution=f"{_TYPED} <rootfs.tar")
        archive = work / "stdin"
        with archive.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        return archive
    if why := why_no_file(Path(file), repr(file)):
        raise InputError(why, resolution=_TYPED)
    return Path(file).absolute()
