"""docs/cli.md, made from the commands themselves: `python -m stoneware.cli.reference docs/cli.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from stoneware.cli import catalog
from stoneware.cli.group import PROGRAM, load, root

_HEAD = """\
# Command line reference

This page is generated from the commands themselves (`make docs`); a test keeps it current.

Results go to standard output, progress and messages to standard error. `--json` prints a JSON document and
nothing else on standard output. Where a command takes a machine, its name or its id is meant; where it takes
an image, `NAME`, `NAME:TAG`, an id, or the beginning of an id.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the bake, the boot, the rollout or the command in a machine failed |
| 2 | bad input or usage; nothing was done |
| 3 | this computer lacks something: `stoneware doctor` says what and how to get it |
| 4 | a rollout failed and was rolled back |
| 5 | something differs: `drift`, and plans with `--detailed-exitcode` |
| 130 | interrupted |

`exec` and `run IMAGE COMMAND` exit with the code of the command they ran.

| variable | meaning |
|---|---|
| `STONEWARE_HOME` | the store's directory; default `/var/lib/stoneware` |
| `STONEWARE_POOL_SIZE` | the most a new store may take; default 100 GiB, or 90 % of the free disk |
| `STONEWARE_DEFAULT_DISK` | the most a machine's root may take; default a quarter of what is left |
| `STONEWARE_DEFAULT_VOLUME_SIZE` | the same for volumes without `--size`, and for the caches of `RUN` |
| `STONEWARE_TERRAFORM` | the path of a terraform or tofu binary to use instead of the embedded one |
| `STONEWARE_TERRAFORM_TIMEOUT` | how long one Terraform run may take; default `1h`, and `1m` per resource |
"""


def reference() -> str:
    """Return the whole page."""
    context = root.make_context(PROGRAM, [], resilient_parsing=True)
    parts = [_HEAD, *_overview()]
    for entry in catalog.COMMANDS:
        parts += _command(entry, load(entry), context)
    return "\n".join(parts).rstrip() + "\n"


def _overview() -> Iterator[str]:
    for title, entries in catalog.sections().items():
        yield (
            f"**{title}:** "
            + ", ".join(f"[{entry.name}](#stoneware-{entry.name})" for entry in entries)
            + "\n"
        )


def _command(entry: catalog.Entry, found: click.Command, parent: click.Context) -> Iterator[str]:
    yield from _sections(f"{PROGRAM} {entry.name}", entry.aliases, found, parent)


def _sections(
    title: str, aliases: tuple[str, ...], found: click.Command, parent: click.Context
) -> Iterator[str]:
    # Nothing is parsed, so that no word is missing that is required.
    context = found.make_context(title.rpartition(" ")[2], [], parent=parent, resilient_parsing=True)
    yield from _section(title, aliases, found, context)
    for name, child in getattr(found, "commands", {}).items():
        yield from _sections(f"{title} {name}", (), child, context)


def _section(
    title: str, aliases: tuple[str, ...], found: click.Command, context: click.Context
) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"    {title} {' '.join(found.collect_usage_pieces(context))}\n"
    yield inspect.cleandoc(found.help or "") + "\n"
    if aliases:
        yield f"Also: {', '.join(f'`{PROGRAM} {alias}`' for alias in aliases)}.\n"
    rows = [record for param in found.params if (record := _record(param, context))]
    if rows:
        yield "| | |\n|---|---|\n" + "".join(f"| `{name}` | {_cell(text)} |\n" for name, text in rows)


def _record(param: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    record = param.get_help_record(context)
    if record is None:
        return None
    name, text = record
    if param.param_type_name == "argument":
        name = name.partition(" <")[0]
    return name.replace("|", "\\|"), text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("  [", " [")


def main() -> None:
    """Write the page to the file named by the first argument, or to standard output."""
    text = reference()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
