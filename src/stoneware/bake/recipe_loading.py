"""From what the user names to a recipe: find the Machinefile, read it, resolve what it is built FROM."""

from __future__ import annotations

from pathlib import Path

from stoneware.bake.options import BakeOptions
from stoneware.errors import InputError
from stoneware.image.manifest import config_of
from stoneware.image.references import resolve_image
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.parser import MOST_TEXT
from stoneware.machinefile.recipe import ImageConfig, Recipe, ResolvedBase
from stoneware.platforms.protocols import Images
from stoneware.untrusted.bounded import BoundsError, read_input, why_no_file

FILENAMES = ("Machinefile", "Dockerfile")
# Stands for a base that has still to be made; no checkpoint has a key made from it.
NOT_BUILT = "not-built-yet"


def find_machinefile(options: BakeOptions) -> Path:
    """Return the Machinefile's path. Raises InputError where there is none or the context is missing."""
    if not options.context.is_dir():
        raise InputError(
            f"the build context {str(options.context)!r} is not a directory",
            resolution="stoneware bake -t NAME DIRECTORY",
        )
    if options.file is not None:
        if options.text is None and (why := why_no_file(options.file, repr(str(options.file)))):
            raise InputError(why, resolution="stoneware bake -f FILE …")
        return options.file
    for name in FILENAMES:
        path = options.context / name
        if path.is_file():
            return path
    raise InputError(
        f"there is no {FILENAMES[0]} in {str(options.context)!r}",
        resolution="stoneware init    # writes one to start from; or name another file: -f FILE",
    )


def read_recipe(options: BakeOptions, store: Images, path: Path) -> Recipe:
    """Parse the Machinefile for these options. Raises InputError with file and line."""
    return load_recipe(
        _read(path) if options.text is None else options.text,
        filename=path.name,
        build_args=options.build_args,
        target=options.target,
        extra_labels=options.labels,
        known=(*store.known_bases(), *sorted(store.tags())),
        architecture=store.architecture,
        resolve_base=lambda reference: resolve_base(store, reference),
    )


def _read(path: Path) -> str:
    try:
        # UTF-8 has up to four bytes for a character.
        raw = read_input(path, 4 * MOST_TEXT)
        return raw.decode().replace("\r\n", "\n")
    except BoundsError as error:
        raise InputError(f"the Machinefile {error}", location=str(path)) from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            "the Machinefile is not UTF-8 text", details=str(error), location=f"{path}:{line}"
        ) from error


def resolve_base(store: Images, reference: str) -> ResolvedBase | None:
    """Return what a FROM reference means to the store, or None where it means nothing."""
    if reference in store.known_bases():
        return ResolvedBase("base", store.base_identity(reference) or NOT_BUILT)
    # On Compute Engine: an image that another project shares.
    if (shared := store.shared_base(reference)) is not None:
        identity, manifest = shared
        return ResolvedBase("base", identity, config_of(manifest) if manifest else ImageConfig())
    try:
        image_id = _pinned(store, reference) or resolve_image(store, reference)
    except InputError:
        return None
    return ResolvedBase("image", image_id, config_of(store.manifest(image_id)))


def _pinned(store: Images, reference: str) -> str | None:
    """Return the id that `NAME@sha256:ID` pins an image of this store by, where there is that image."""
    name, at, digest = reference.partition("@")
    return digest if at and name and digest in store.image_ids() else None
