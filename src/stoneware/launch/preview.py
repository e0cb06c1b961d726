"""The configuration files of an image as a machine would have them, rendered on this computer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from stoneware.errors import InputError
from stoneware.image.references import resolve_image
from stoneware.launch.plan import Images
from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.rooted_paths import files_inside

_MOST = 64 << 20  # bytes of all templates
TEMPLATES = "etc/stoneware/templates"


class ImageFiles(Images, Protocol):
    """What a preview needs of a store."""

    def stage_source(self, source: str) -> Path:
        """Return the directory of an image's files."""
        ...


def preview(
    store: ImageFiles, image: str, values: Mapping[str, str], *, name: str = "", ip: str = ""
) -> dict[str, bytes]:
    """Return the rendered files by their path in the machine.

    Raises InputError where the values do not fit, with every fault at once.
    """
    from stoneware.config import builtin_values, effective_values, render_template
    from stoneware.config.contract import require_config

    image_id = resolve_image(store, image)
    manifest = store.manifest(image_id)
    known = {key: value for key, value in (("name", name), ("ip", ip)) if value}
    builtins = builtin_values(image=image_id, commit=str(manifest["commit"] or ""), **known)
    contract = manifest["contract"]
    require_config(contract, values, image=image, builtins=builtins)
    everything = effective_values(contract["env"], values, builtins)
    return {
        path: render_template(content, everything, filename=f"/{TEMPLATES}{path}")
        for path, content in templates_of(store.stage_source(f"image:{image_id}"))
    }


def templates_of(rootfs: Path) -> list[tuple[str, bytes]]:
    """Return each template as its final path and its content, sorted; links in there are not followed.

    Raises InputError where they are more than a machine would read.
    """
    try:
        return [(f"/{path}", text) for path, text in files_inside(rootfs, TEMPLATES, most=_MOST)]
    except BoundsError as error:
        raise InputError(
            f"the directory /{TEMPLATES} of the image {error}", resolution="bake it with fewer templates"
        ) from error
