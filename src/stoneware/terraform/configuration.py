"""Writing a Terraform configuration: the files of one of our modules and its variables."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware.files import write_atomic, write_json
from stoneware.terraform.module_fields import filled
from stoneware.untrusted.bounded import BoundsError, read_bounded

ROOT_FILE = "root.tf.json"
VARIABLES_FILE = "terraform.tfvars.json"
IMPORTS_FILE = "imports.tf.json"
LIFT_VOLUMES = "volumes_override.tf"  # of modules for clusters: lets volumes be destroyed
MODULES = Path(__file__).parent / "modules"


def write_module(
    directory: Path,
    module: Path,
    *,
    root: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    lasting: bool = True,
) -> None:
    """Write a module's files into a directory, made if missing: see `write_configuration`."""
    sources = sorted(module.glob("*.tf"))
    if not sources:
        raise ValueError(f"there is no Terraform module in {module}")
    sources += [module / "overrides" / name for name in overrides]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for source in sources:
        text = filled(source.read_text(encoding="utf-8")).encode()
        if not _holds(directory / source.name, text):
            write_atomic(directory / source.name, text, lasting=lasting)
    # Terraform reads all files here: one of another version, or an override of before, would count.
    for stale in {path.name for path in directory.glob("*.tf")} - {source.name for source in sources}:
        (directory / stale).unlink()
    _write_root(directory / ROOT_FILE, root or {})


def write_configuration(
    directory: Path,
    module: Path,
    tfvars: Mapping[str, Any],
    *,
    variables_file: str = VARIABLES_FILE,
    root: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Write a module's files and its variables into a directory, made if missing.

    The files are copies, with the fields of a machine filled in, so a directory that an older version left
    can still be destroyed with them. Each that differs is replaced atomically; the variables, which hold what
    the caller put there, are for their owner's eyes only.
    `root` is what only the root of a configuration can say, as Terraform's JSON.
    `overrides` are files of the module's directory `overrides` that are to change it, such as LIFT_VOLUMES;
    those of an earlier call go.
    """
    write_module(directory, module, root=root, overrides=overrides)
    write_json(directory / variables_file, dict(tfvars), mode=0o600)


@contextlib.contextmanager
def import_blocks(directory: Path, objects: Mapping[str, str]) -> Iterator[None]:
    """Have a configuration import objects (address to id) meanwhile.

    A file that a kill left is gone afterwards too: Terraform refuses any plan while a block names an object
    that is no more.
    """
    path = directory / IMPORTS_FILE
    if objects:
        # In a string of Terraform's JSON, templates begin with ${ and %{; an address is no template.
        blocks = [
            {"to": address, "id": identity.replace("${", "$${").replace("%{", "%%{")}
            for address, identity in objects.items()
        ]
        write_atomic(path, f"{json.dumps({'import': blocks}, indent=2)}\n".encode())
    else:
        path.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _write_root(path: Path, root: Mapping[str, Any]) -> None:
    if not root:
        path.unlink(missing_ok=True)
        return
    text = f"{json.dumps(root, indent=2, sort_keys=True)}\n".encode()
    if not _holds(path, text):
        write_atomic(path, text)


def _holds(path: Path, text: bytes) -> bool:
    """Say whether a file holds this already: each that is written is a wait for the disk."""
    try:
        # A link is replaced by a file, whatever it leads to.
        return not path.is_symlink() and read_bounded(path, len(text)) == text
    except (OSError, BoundsError):
        return False
