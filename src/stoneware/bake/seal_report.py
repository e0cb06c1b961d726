"""Reading what the seal sent back: packages, files and templates of the finished machine."""

from __future__ import annotations

import contextlib
import io
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware.bake.console import CheckLine
from stoneware.config.contract import derive_contract
from stoneware.config.render import expressions_of, variables_of
from stoneware.config.schema import load_schema
from stoneware.errors import BuildError, StonewareError
from stoneware.image.manifest import Sealed
from stoneware.machinefile.recipe import ImageConfig
from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.rooted_paths import files_inside, mode_inside
from stoneware.untrusted.tarstream import Limits, read_files

TEMPLATES = "etc/stoneware/templates/"
_SMALL = 4 << 20  # bytes of templates that are worth reading ahead
_MOST, _MOST_FILES = 256 << 20, 100_000  # of what a seal sends back
SCHEMA = "etc/stoneware/config.schema.json"
_ENABLED_BY = {"image": "CMD or ENTRYPOINT", "step": "a step", "package": "its package"}
_COMMAND = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}")
_SUM = re.compile(r"([0-9a-f]{64})\s+([0-9]{1,12})\s+([0-9]{1,18})")


def read_results(tar: bytes) -> dict[str, bytes]:
    """Return the regular files of the seal's tar by name, without a leading `./`."""
    try:
        return read_files(io.BytesIO(tar), Limits(total=_MOST, entries=_MOST_FILES))
    except BoundsError as error:
        raise BuildError("the builder's results cannot be read", details=f"the archive {error}") from error


def preload(root: Path, *, expected: bool) -> None:
    """Load what a schema needs, and read the templates that a root file system has, ahead of their use.

    `expected`: there may be a schema later though there is none yet.
    """
    if expected or stat.S_ISREG(mode_inside(root, SCHEMA)):
        load_schema(b"{}")
    with contextlib.suppress(StonewareError, OSError, BoundsError):  # told when they are used
        for name, text in files_inside(root, TEMPLATES, most=_SMALL):
            variables_of(text, f"/{TEMPLATES}{name}")
            expressions_of(text, f"/{TEMPLATES}{name}")


def describe_seal(
    files: Mapping[str, bytes],
    config: ImageConfig,
    checks: Sequence[CheckLine],
    contract: Mapping[str, Any] | None = None,
) -> Sealed:
    """Return what the manifest says of the sealed machine.

    `contract` is that of its templates and schema, where it is known (see `known_contract`).
    Raises InputError where a template or the JSON Schema of the image is wrong, BuildError where the builder
    sent something else than a seal sends.
    """
    # The list itself stays in the image; its digest and totals are what a manifest has.
    total = _SUM.fullmatch(_text(files, "files.sum").strip())
    if total is None:
        raise _strange("files.sum", "is not a digest and two numbers")
    return Sealed(
        packages=tuple(_packages(_text(files, "packages.tsv"))),
        file_count=int(total[2]),
        file_bytes=int(total[3]),
        files_digest=f"sha256:{total[1]}",
        contract=_contract(files, config) if contract is None else contract,
        commands=tuple(_commands(files.get("commands.tsv", b""))),
        units=tuple(_units(_text(files, "services.tsv"))),
        checks=tuple({"name": c.name, "severity": c.severity, "outcome": c.outcome} for c in checks),
    )


def _text(files: Mapping[str, bytes], name: str) -> str:
    if name not in files:
        raise _strange(name, "is missing")
    try:
        return files[name].decode()
    except UnicodeDecodeError as error:
        raise _strange(name, f"is not UTF-8 (byte {error.start})") from None


def _strange(name: str, why: str) -> BuildError:
    return BuildError(
        f"the builder's results cannot be read: {name} {why}",
        details="A step of the Machinefile may have changed the programs that seal an image.",
        resolution="stoneware bake --on-failure shell …    # a shell in the builder",
    )


def _packages(table: str) -> list[dict[str, str]]:
    # Not splitlines(), which cuts at other characters as well, such as U+2028.
    rows = [line.split("\t") for line in table.split("\n") if line]
    if any(len(row) != 3 for row in rows):
        raise _strange("packages.tsv", "has a line that is not name, version and architecture")
    return [{"name": name, "version": version, "arch": arch} for name, version, arch in rows]


def _commands(table: bytes) -> Iterator[str]:
    for line in table.splitlines():
        # Others cannot be asked for: a machine would not run them.
        if _COMMAND.fullmatch(line):
            yield line.decode("ascii")


def _units(table: str) -> Iterator[dict[str, Any]]:
    for line in table.splitlines():
        name, *rest = line.split("\t")
        if len(rest) != 2 or rest[0] not in _ENABLED_BY or rest[1] not in ("yes", "no"):
            raise _strange("services.tsv", "has a line that names no unit")
        yield {"name": name, "enabled_by": rest[0], "starts": rest[1] == "yes"}


def told_units(units: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line on the units that start with a machine, and one on those that do not, with the reason.

    Nothing where the image's own service is all there is.
    """
    starting = [f"{unit['name']} (by {_ENABLED_BY[unit['enabled_by']]})" for unit in units if unit["starts"]]
    held = [unit["name"] for unit in units if not unit["starts"]]
    only_image = all(unit["enabled_by"] == "image" for unit in units)
    lines = [f"a machine starts {', '.join(starting)}"] if starting and not only_image else []
    if held:
        which = "it" if len(held) == 1 else "one of them"
        lines.append(
            f"a machine does not start {', '.join(held)}: enabled by packages only, and the image has a "
            f"CMD or ENTRYPOINT. To have {which} started: RUN systemctl enable {held[0]}"
        )
    return lines


def _contract(files: Mapping[str, bytes], config: ImageConfig) -> dict[str, Any]:
    templates = {f"/{name}": content for name, content in files.items() if name.startswith(TEMPLATES)}
    schema = load_schema(files[SCHEMA]) if SCHEMA in files else None
    return derive_contract(templates, dict(config.env), schema)
