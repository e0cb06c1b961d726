"""Interpolation on the host: it runs the very awk program that machines run."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import stoneware.guest
from stoneware import process
from stoneware.config.encoding import encode, to_bytes, to_text, unescape
from stoneware.config.secrets import Secret
from stoneware.dataclass import dataclass
from stoneware.errors import HostError, InputError
from stoneware.files import look_at
from stoneware.scratch import scratch_directory
from stoneware.untrusted.bounded import BoundsError, read_input

# mawk first: it is Debian's, so it is what machines have, and the fastest.
AWKS: tuple[tuple[str, ...], ...] = (("mawk",), ("gawk",), ("busybox", "awk"), ("awk",))


# What the program calls the template; ours is put in afterwards, since awk reads escapes in -v.
_LABEL = "template"
MOST_TEMPLATE = 16 << 20  # bytes
_PATIENCE = 120.0  # seconds for one template; a large one takes one


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a template; `line` is 0 where no line is to blame."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class TemplateError(InputError):
    """A template cannot be rendered; `faults` holds every reason, in the order of the file."""

    def __init__(self, faults: Sequence[Fault], *, resolution: str = "") -> None:
        alone = len(faults) == 1
        files = list(dict.fromkeys(fault.file for fault in faults))
        where = files[0] if len(files) == 1 else ""
        super().__init__(
            faults[0].reason if alone else f"the {_templates(files)} {len(faults)} faults",
            details="" if alone else "\n".join(map(str, faults)),
            resolution=resolution or _resolution(faults),
            location=f"{where}:{faults[0].line}" if alone and faults[0].line else where,
        )
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Variable:
    """One use of a variable in a template.

    `required`: the template cannot be rendered without a value, whatever other variables hold. `default`
    is the unexpanded text of `-` and `:-`, else None; `form` is `plain` or the operator.
    """

    name: str
    required: bool
    line: int
    default: str | None
    form: str = "plain"


@dataclass(frozen=True)
class Expression:
    """One outermost expression of a template, as it is written there."""

    line: int
    text: str


def render_template(text: bytes, values: Mapping[str, str | Secret], *, filename: str) -> bytes:
    """Return the interpolated template. Raises TemplateError with every fault at once."""
    return interpolate(text, values=values, name=filename)


def render_file(path: Path, values: Mapping[str, str | Secret]) -> bytes:
    """Return the interpolated template file. Raises InputError where it cannot be read or rendered."""
    try:
        text = read_input(path, MOST_TEMPLATE)
    except BoundsError as error:
        raise TemplateError([Fault(str(path), 0, str(error))]) from error
    except OSError as error:
        raise InputError(
            f"cannot read the template {path}",
            details=error.strerror or str(error),
            resolution=look_at(path),
            location=str(path),
        ) from error
    return render_template(text, values, filename=str(path))


# Remembered: the seal asks for what `preload` has read while the builder booted.
@functools.lru_cache
def variables_of(text: bytes, filename: str) -> list[Variable]:
    """Return every use of a variable in a template, in order. Raises TemplateError where it is malformed."""
    uses = []
    for row in _rows(interpolate(text, mode="list", name=filename)):
        name, need, line, default, form = row.split("\t")
        known = unescape(default) if form in ("-", ":-") else None
        uses.append(Variable(name, need == "required", int(line), known, form))
    return uses


@functools.lru_cache
def expressions_of(text: bytes, filename: str) -> list[Expression]:
    """Return the outermost expressions of a template, in order. Raises TemplateError if malformed."""
    rows = (row.split("\t", 1) for row in _rows(interpolate(text, mode="needs", name=filename)))
    return [Expression(int(line), unescape(expression)) for line, expression in rows]


def _rows(raw: bytes) -> list[str]:
    # Not splitlines(), which cuts at other characters as well.
    return to_text(raw).split("\n")[:-1]


@functools.cache
def find_awk() -> tuple[str, ...]:
    """Return the argv of the host's awk. Raises HostError where there is none."""
    for words in AWKS:
        found = process.which(words[0])
        if found:
            return (str(found), *words[1:])
    raise HostError("this computer has no awk", resolution="apt-get install mawk")


def program() -> Path:
    """Return the path of the interpolation program."""
    return Path(stoneware.guest.__file__).parent / "interpolate.awk"


def interpolate(
    text: bytes,
    *,
    values: Mapping[str, str | Secret] | None = None,
    mode: str = "render",
    name: str,
    awk: Sequence[str] | None = None,
) -> bytes:
    """Run the interpolation program over one template and return what it wrote.

    `mode` is `render`, `list` or `needs` (the program's head describes them), `name` is what faults call
    the template. Values travel in a file that only this user can read. Raises TemplateError.
    """
    if len(text) > MOST_TEMPLATE:
        raise TemplateError([Fault(name, 0, f"is larger than {MOST_TEMPLATE} bytes")])
    argv = [*(awk or find_awk()), "-f", str(program()), "-v", f"mode={mode}", "-v", f"name={_LABEL}"]
    with scratch_directory("stoneware-render-", _plain_directory()) as directory:
        if values:
            stored = directory / "values"
            # In a file, not in arguments or the environment: other users can read those of a process.
            stored.write_bytes(to_bytes(encode(values)))
            argv += ["-v", f"values={stored}"]
        try:
            # The program refuses any other locale: it counts bytes.
            done = process.run(argv, stdin=text, env={"LC_ALL": "C"}, check=False, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise TemplateError([Fault(name, 0, f"takes longer than {_PATIENCE:g} seconds")]) from None
        except process.OutputError:
            raise TemplateError(
                [Fault(name, 0, f"becomes more than {process.MOST_OUTPUT >> 20} MiB")]
            ) from None
    if done.returncode == 0:
        return to_bytes(done.stdout)
    faults = _faults(done.stderr, name)
    # 2 is the program's own code for faults; all else is awk that broke.
    if done.returncode != 2 or not faults:
        raise process.ProcessError(argv, done.returncode, done.stderr)
    raise TemplateError(faults)


def _plain_directory() -> Path | None:
    """Return a directory for temporary files whose path awk's -v takes as it is (None: the usual one)."""
    return Path("/tmp") if set(":\\\n") & set(tempfile.gettempdir()) else None  # noqa: S108


def _faults(stderr: str, name: str) -> list[Fault]:
    faults = []
    for line in to_bytes(stderr).decode(errors="backslashreplace").split("\n"):
        start, colon, reason = line.partition(": ")
        label, _, number = start.partition(":")
        if colon and label == _LABEL:
            faults.append(Fault(name, int(number or 0), reason))
    return faults


def _templates(files: Sequence[str]) -> str:
    return "template has" if len(files) == 1 else f"templates {' and '.join(files)} have"


def _resolution(faults: Sequence[Fault]) -> str:
    names = []
    for fault in faults:
        words = fault.reason.split()
        if words[0] == "variable" or words[:2] == ["required", "variable"]:
            names.append(words[2] if words[0] == "required" else words[1])
    if not names:
        malformed = any(fault.reason.startswith("malformed") for fault in faults)
        return "write $$ for a plain dollar sign" if malformed else "render text files only"
    return " ".join(f"-e {name}=…" for name in dict.fromkeys(names))
