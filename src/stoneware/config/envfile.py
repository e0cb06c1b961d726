"""Values given on the command line and in files, by the rules of `docker run -e` and `--env-file`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from stoneware.config.encoding import check_name
from stoneware.errors import InputError
from stoneware.files import encoded, look_at
from stoneware.untrusted.bounded import BoundsError, read_input

_BLANK = re.compile(r"\s")
MOST_BYTES = 16 << 20
_RESOLUTION = "write KEY=value, KEY (takes the value of this shell), or # comment, one a line"


def parse_env_file(path: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the values of an env file by Docker's rules; `environ` is this process's by default.

    Blanks before a name are dropped; empty lines and lines that start with `#` are skipped; all after
    the first `=` is the value, quotes and trailing blanks included; a name alone takes the host's value
    and is skipped where the host has none; a later line wins. Raises InputError with every faulty line.
    """
    try:
        raw = read_input(path, MOST_BYTES)
    except BoundsError as error:
        raise InputError(f"the env file {path} {error}") from error
    except OSError as error:
        raise InputError(
            f"cannot read the env file {path}",
            details=error.strerror or str(error),
            resolution=look_at(path),
        ) from error
    values: dict[str, str] = {}
    faults: list[tuple[int, str]] = []
    host = os.environ if environ is None else environ
    # A byte order mark at the file's beginning Docker drops as well.
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            _read_line(line.removesuffix(b"\r"), values, host)
        except ValueError as error:
            faults.append((number, str(error)))
    if faults:
        alone = len(faults) == 1
        raise InputError(
            faults[0][1] if alone else f"the env file has {len(faults)} faulty lines",
            details="" if alone else "\n".join(f"{path}:{number}: {reason}" for number, reason in faults),
            resolution=_RESOLUTION,
            location=f"{path}:{faults[0][0]}" if alone else str(path),
        )
    return values


def _read_line(raw: bytes, values: dict[str, str], host: Mapping[str, str]) -> None:
    try:
        line = raw.decode().lstrip()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1} of the line") from None
    if not line or line.startswith("#"):
        return
    if "\0" in line:
        raise ValueError("a NUL byte")
    name, equals, value = line.partition("=")
    if not name:
        raise ValueError("no name before the equals sign")
    if _BLANK.search(name):
        raise ValueError(f"the name {name!r} holds blanks")
    if equals:
        values[name] = value
    elif name in host:
        values[name] = host[name]


def parse_assignments(words: Iterable[str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the values of `-e` options: `KEY=value`, or `KEY` for the host's value (skipped without one).

    Raises InputError for a word without a name, and for a value that is not UTF-8 text.
    """
    host = os.environ if environ is None else environ
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        check_name(name)
        if equals:
            values[name] = value
        elif name in host:
            values[name] = host[name]
        encoded(values.get(name, ""), f"the value of {name!r}")
    return values


def given_values(
    env_files: Iterable[Path] = (), assignments: Iterable[str] = (), environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return what `--env-file` and `-e` options say together: files in their order, then `-e`, later wins."""
    values: dict[str, str] = {}
    for path in env_files:
        values.update(parse_env_file(path, environ))
    values.update(parse_assignments(assignments, environ))
    return values
