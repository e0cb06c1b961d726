"""The awks of this computer, and the interpolation program run under one of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoneware.config.render import program

CANDIDATES = {"mawk": ["mawk"], "gawk": ["gawk"], "busybox": ["busybox", "awk"]}
PRESENT = {name: argv for name, argv in CANDIDATES.items() if shutil.which(argv[0])}
every_awk = pytest.mark.parametrize("awk", PRESENT.values(), ids=list(PRESENT))
FAULT = re.compile(
    rb"t:(?P<line>[0-9]+): (?:(?P<malformed>malformed .*)"
    rb"|variable (?P<unset>\w+) is not set and has no default"
    rb"|required variable (?P<required>\w+) is missing a value(?:: (?P<message>.*))?)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: bytes
    err: bytes

    def faults(self) -> list[tuple[int, str, str, str]]:
        """Return (line, kind, name, message) of every line on standard error."""
        found = []
        for line in self.err.split(b"\n")[:-1]:
            match = FAULT.fullmatch(line)
            assert match, line
            kind = next(name for name in ("malformed", "unset", "required") if match[name] is not None)
            name = "" if kind == "malformed" else match[kind].decode()
            found.append((int(match["line"]), kind, name, (match["message"] or b"").decode("latin-1")))
        return found


def encoded(values: Mapping[str, bytes]) -> bytes:
    """Write values by the rules of the documentation, independently of `stoneware.config.encoding`."""
    table = {0x5C: b"\\\\", 0x0A: b"\\n", 0x0D: b"\\r"}
    lines = []
    for key, raw in values.items():
        value = b"".join(table.get(byte, bytes([byte])) for byte in raw)
        lines.append(key.encode() + b"=" + value + b"\n")
    return b"".join(lines)


def interpolate(
    awk: Sequence[str],
    template: bytes,
    *,
    values: Mapping[str, bytes] | None = None,
    mode: str = "render",
    directory: Path | None = None,
) -> Outcome:
    """Run the program; it reads its values from a file in `directory`."""
    argv = [*awk, "-f", str(program()), "-v", "name=t", "-v", f"mode={mode}"]
    if values is not None:
        assert directory is not None
        (directory / "values").write_bytes(encoded(values))
        argv += ["-v", f"values={directory / 'values'}"]
    done = subprocess.run(
        argv, input=template, capture_output=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
