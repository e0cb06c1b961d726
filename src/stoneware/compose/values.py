"""The values of a cluster file as pydantic types: cast as Compose casts, refused with a sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from stoneware.compose.nodes import describe
from stoneware.compose.truth import truth_of
from stoneware.durations import LONGEST, parse_duration
from stoneware.errors import InputError
from stoneware.image.references import parse_reference
from stoneware.launch.flags import parse_restart
from stoneware.machinefile.flags import FlagError
from stoneware.machinefile.gopath import clean
from stoneware.machinefile.values import duration
from stoneware.model import names
from stoneware.model.file_places import place_problem
from stoneware.model.limits import (
    MOST_CORES,
    SMALLEST_SHARE,
    UNLIMITED,
    disk_problem,
    memory_problem,
    parse_size,
    pids_problem,
)
from stoneware.model.mount_places import own_place

HINT = "\n"  # parts the reason of a validator's error from its hint
_IMAGE_ID = re.compile(r"sha256:[0-9a-f]{4,64}")
_DAYS = re.compile(r"\A(?:([0-9]{1,5})w)?(?:([0-9]{1,5})d)?(.*)", re.DOTALL)
_EXPOSED = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:/[a-z]+)?")
_BAKED_HERE = "Write a Machinefile and build: its directory, or the NAME:TAG of an image that you have baked."
MOST_REPLICAS = 10_000


def wrong(reason: str, hint: str = "") -> PydanticCustomError:
    """Return the error a validator raises; reason and hint are shown as they are."""
    return PydanticCustomError("fault", "{text}", {"text": reason + (HINT + hint if hint else "")})


def expected(what: str, value: object, hint: str = "") -> PydanticCustomError:
    """Return the error that says what was expected and what was given."""
    return wrong(f"expected {what}, not {describe(value)}", hint)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    scalar = isinstance(value, int | float)
    raise expected("text", value, "Put it into quotes." if scalar else "")


def _filled(value: Any) -> str:
    if _text(value) == "":
        raise expected("text", value)
    return str(value)


def _flag(value: Any) -> bool:
    truth = truth_of(value)
    if truth is None:
        raise expected("true or false", value)
    return truth


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        number = value
        # More digits would be no number of the kernel's, and thousands of them a traceback.
        if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise expected("a whole number", value)
        if not low <= number <= high:
            raise wrong(f"expected a number from {low} to {high}, not {number}")
        return number

    return check


def _number(low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        number = value
        if isinstance(value, str):
            try:
                number = None if "_" in value else float(value)  # only Python reads 1_0 as ten
            except ValueError:
                number = None
        if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
            raise expected("a number", value)
        if not low <= number <= high:
            hint = "Without a limit: leave it out." if number == 0 else ""
            raise wrong(f"expected a number from {low:g} to {high:g}, not {number:g}", hint)
        return float(number)

    return check


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise expected("a duration such as 1m30s", value)
    weeks, days, rest = _DAYS.findall(str(value))[0]  # it fits every text
    whole = 86400.0 * (7 * int(weeks or 0) + int(days or 0))
    try:
        seconds = whole + (0.0 if whole and not rest else _less_than_days(rest))
    except FlagError:
        raise expected("a duration such as 1m30s", value) from None
    if seconds > LONGEST:
        raise wrong(f"the duration {str(value)[:40]!r} is too long", "A year is the most: 8760h.")
    return seconds


def _less_than_days(text: str) -> float:
    try:
        return parse_duration(text, "this")
    except InputError:  # Compose has Go's durations too, such as 500ms
        return duration(text, "", 0.0)


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise expected("a size such as 512m", value)
    try:
        size = parse_size(str(value))
    except InputError:
        raise expected("a size such as 512m", value) from None
    if size <= 0:
        raise expected("a size such as 512m", value, "Without a limit: leave it out." if size == 0 else "")
    return size


def _memory(value: Any) -> int:
    size = _bytes(value)
    if problem := memory_problem(size):
        raise wrong(problem)
    return size


def _disk(value: Any) -> int:
    size = _bytes(value)
    if problem := disk_problem(size):
        raise wrong(problem)
    return size


def _pids(value: Any) -> int:
    number = _whole(-1, 1 << 22)(value)  # the kernel counts no further
    if problem := pids_problem(number):
        raise wrong(problem)
    return UNLIMITED if number == 0 else number  # Docker's word for no limit


def _amount(value: Any) -> int:
    return UNLIMITED if value == "unlimited" else _whole(-1, (1 << 63) - 1)(value)


def _mode(value: Any) -> int:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"0o?[0-7]{3}", text):
        hint = "A mode begins with a zero."
        if re.fullmatch(r"0o?[0-7]{4}", text):
            hint = "These files have no setuid, setgid or sticky bit."
        raise expected("an octal mode such as 0440", value, hint)
    return int(text.replace("o", ""), 8)


def _tmpfs_mode(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"0o?[0-7]{3,4}", value):
        return value.replace("o", "")
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value) else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 0o7777:
        return f"{number:04o}"
    raise expected("an octal mode such as 0o1777", value)  # 1777 is a decimal number to YAML and to Compose


def _image(value: Any) -> str:
    if "@" in _filled(value):
        raise wrong(
            f"{value!r} names an image of a registry by its digest, and images are baked here",
            _BAKED_HERE,
        )
    if not _IMAGE_ID.fullmatch(value):
        if re.match(r"[^/]+:[0-9]+/", value):
            raise wrong(f"{value!r} is of a registry, and images are baked here", _BAKED_HERE)
        try:
            parse_reference(value)
        except InputError as error:
            raise wrong(f"{error.brief}: {error.details.rstrip('.')}", error.resolution) from None
    return str(value)


def _restart(value: Any) -> str:
    if isinstance(value, bool):
        raise expected(
            "a restart policy", value, 'Write restart: "no", or always, unless-stopped, on-failure[:N].'
        )
    try:
        return parse_restart(_filled(value))
    except InputError as error:
        raise wrong(error.brief, error.resolution) from None


def _secret_file(value: Any) -> str:
    if _filled(value).startswith("/"):
        return _file(value)
    if problem := place_problem(value):
        raise wrong(problem, "Write a path of letters, digits, '_', '.', '-' and '/' between them.")
    return str(value)


def _file(value: Any) -> str:
    """Return the path of a file that a machine is given."""
    path = str(value) if _absolute(value).endswith("/") else clean(value)
    if problem := place_problem(path):
        raise wrong(problem, "For example: /etc/app.conf")
    if own := own_place(path) if not path.startswith("/run/secrets/") else "":
        raise wrong(f"{own} belongs to the machine, which creates it at every start", "Write another path.")
    return path


def _alias(value: Any) -> str:
    if not names.DNS.allows(_filled(value)):
        raise wrong(f"{value!r} is no host name", "Letters, digits, '-' and '_'.")
    return str(value)


def _exposed(value: Any) -> str:
    if not _EXPOSED.fullmatch(_filled(value)):
        raise expected("a port such as 80, 80/udp or 8000-8010", value)
    return str(value)


def _owner(value: Any) -> int:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,10}", value):
        raise expected("a number", value, "A user's name means nothing before the machine is there.")
    return _whole(0, (1 << 32) - 2)(value)  # the number above is no user: chown takes it for "leave it"


def _absolute(value: Any) -> str:
    if not _filled(value).startswith("/"):
        raise wrong(f"{value!r} is not an absolute path", f"For example: /srv/{value}")
    if re.search(r"[\0\n\r\t]", value):
        raise wrong(f"{value!r} has a line break or a tab")
    return str(value)


Text = Annotated[str, BeforeValidator(_text)]
Exposed = Annotated[str, BeforeValidator(_exposed)]
Filled = Annotated[str, BeforeValidator(_filled)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Replicas = Annotated[int, BeforeValidator(_whole(0, MOST_REPLICAS))]
Count = Annotated[int, BeforeValidator(_whole(0, 1_000_000))]
Ratio = Annotated[float, BeforeValidator(_number(0, 1))]
Cores = Annotated[float, BeforeValidator(_number(SMALLEST_SHARE, MOST_CORES))]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Size = Annotated[int, BeforeValidator(_bytes)]
Disk = Annotated[int, BeforeValidator(_disk)]
Memory = Annotated[int, BeforeValidator(_memory)]
Pids = Annotated[int, BeforeValidator(_pids)]
Amount = Annotated[int, BeforeValidator(_amount)]
Mode = Annotated[int, BeforeValidator(_mode)]
TmpfsMode = Annotated[str, BeforeValidator(_tmpfs_mode)]
Image = Annotated[str, BeforeValidator(_image)]
Restart = Annotated[str, BeforeValidator(_restart)]
SecretFile = Annotated[str, BeforeValidator(_secret_file)]
MachineFile = Annotated[str, BeforeValidator(_file)]
Alias = Annotated[str, BeforeValidator(_alias)]
Owner = Annotated[int, BeforeValidator(_owner)]
Absolute = Annotated[str, BeforeValidator(_absolute)]
Badness = Annotated[int, BeforeValidator(_whole(-1000, 1000))]
Microseconds = Annotated[int, BeforeValidator(_whole(-1, 1 << 40))]
