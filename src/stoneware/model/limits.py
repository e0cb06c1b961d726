"""Limits of machines: how many processes, which resources, how much of a console is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stoneware.dataclass import dataclass
from stoneware.errors import InputError

UNLIMITED = -1
DEFAULT_PIDS_LIMIT = 4096  # processes and threads: enough for Java services with their hundreds of threads
SMALLEST_PIDS_LIMIT = 64  # systemd and a few services
DEFAULT_LOG_SIZE = 10 << 20  # bytes of console in one file
DEFAULT_LOG_FILES = 3
SMALLEST_LOG_SIZE = 1 << 10
MOST_LOG_FILES = 1000
SMALLEST_DISK = 64 << 20  # bytes
SMALLEST_MEMORY = 16 << 20  # bytes
SMALLEST_SHARE = 0.01  # cores
MOST_CORES = 8192  # Linux knows no computer with more
LOG_OPTIONS = ("max-size", "max-file")
# Docker's names, which are those of setrlimit(2) in small letters.
ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack"),
)
_LARGEST = (1 << 63) - 1
# Bounded: hundreds of digits are an infinite float, and of thousands int() makes no number.
_AMOUNT = r"-1|unlimited|[0-9]{1,30}"
_ULIMIT = re.compile(rf"(?P<name>[a-z]+)=(?P<soft>{_AMOUNT})(?::(?P<hard>{_AMOUNT}))?")
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})\s*([bkmgtp]?)(?:i?b)?", re.IGNORECASE)
_FACTORS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}


@dataclass(frozen=True, order=True)
class Ulimit:
    """A resource limit of a machine's processes, by Docker's name; -1 is no limit. Units as setrlimit(2)."""

    name: str
    soft: int
    hard: int


def parse_size(text: str, example: str = "--memory 512m") -> int:
    """Parse `512m`, `2g` (powers of 1024, as Docker) into bytes. Raises InputError."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _FACTORS[match[2].lower()]) if match else -1
    if not 0 <= size <= _LARGEST:
        raise InputError(f"invalid size {text!r}", resolution=f"for example: {example}")
    return size


def parse_ulimit(text: str) -> Ulimit:
    """Parse `NAME=SOFT[:HARD]`, Docker's syntax; -1 and `unlimited` are no limit. Raises InputError."""
    match = _ULIMIT.fullmatch(text.strip())
    if match is None:
        raise _bad_ulimit(text, "The form is NAME=SOFT[:HARD].")
    soft, hard = (_amount(match[name]) for name in ("soft", "hard"))
    limit = Ulimit(match["name"], soft or 0, (soft or 0) if hard is None else hard)
    if problem := ulimit_problem(limit):
        raise _bad_ulimit(text, problem)
    return limit


def _amount(text: str | None) -> int | None:
    return None if text is None else UNLIMITED if text == "unlimited" else int(text)


def _bad_ulimit(text: str, why: str) -> InputError:
    return InputError(f"invalid limit {text!r}", details=why, resolution="for example: --ulimit nofile=4096")


def ulimit_problem(limit: Ulimit) -> str:
    """Say what is wrong with a resource limit, in a sentence; nothing if it is none's fault."""
    if limit.name not in ULIMITS:
        return f"There is no limit {limit.name!r}; there are {', '.join(ULIMITS)}."
    for value in (limit.soft, limit.hard):
        if not UNLIMITED <= value <= _LARGEST:
            return f"{value} is neither -1 (no limit) nor a number from 0 to {_LARGEST}."
        if value == UNLIMITED and limit.name == "nofile":
            return "The kernel has no unlimited number of open files: say a number."
    if limit.hard != UNLIMITED and (limit.soft == UNLIMITED or limit.soft > limit.hard):
        return "The soft limit is above the hard one."
    return ""


def in_order(limits: Iterable[Ulimit]) -> tuple[Ulimit, ...]:
    """Return limits by name; of several with one name the last."""
    return tuple(sorted({limit.name: limit for limit in limits}.values()))


def pids_limit_of(number: int | None) -> int:
    """Return how many processes a machine may have; None is the default, 0 and -1 are any number.

    Raises InputError for a number that no machine boots with.
    """
    if number is None:
        return DEFAULT_PIDS_LIMIT
    if problem := pids_problem(number):
        raise InputError(problem, resolution="for example: --pids-limit 1000    # -1: any number")
    return UNLIMITED if number == 0 else number


def pids_problem(number: int) -> str:
    """Say what is wrong with a number of processes; nothing if it is right."""
    if number in (0, UNLIMITED) or SMALLEST_PIDS_LIMIT <= number <= 1 << 22:  # PID_MAX_LIMIT of the kernel
        return ""
    return f"{number} is no number of processes for a machine: {SMALLEST_PIDS_LIMIT} to {1 << 22}, or -1"


def parse_log_options(options: Mapping[str, str]) -> tuple[int, int]:
    """Return the bytes of a console's file and the number of files from Docker's `max-size`, `max-file`.

    Raises InputError for other options and for values out of bounds.
    """
    example = "for example: --log-opt max-size=10m --log-opt max-file=3"
    for name in options:
        if name not in LOG_OPTIONS:
            raise InputError(f"there is no log option {name!r}", resolution=example)
    text = options.get("max-file", str(DEFAULT_LOG_FILES)).strip()
    # isdigit() alone takes the digits of all scripts.
    files = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    size = DEFAULT_LOG_SIZE
    if "max-size" in options:
        size = parse_size(options["max-size"], "--log-opt max-size=10m")
    if problem := log_problem(size, files):
        raise InputError(problem, resolution=example)
    return size, files


def log_problem(size: int, files: int) -> str:
    """Say what is wrong with the bounds of a console's files; nothing if they are right."""
    if size < SMALLEST_LOG_SIZE:
        return f"a console's file of {size} bytes is too small: {SMALLEST_LOG_SIZE} (1k) is the least"
    if size > _LARGEST:
        return f"a console's file of more than {_LARGEST} bytes is more than a file system holds"
    if not 1 <= files <= MOST_LOG_FILES:
        return f"max-file is a number from 1 to {MOST_LOG_FILES}"
    return ""


def parse_disk(text: str) -> int:
    """Return the bytes that a machine's root may take. Raises InputError."""
    size = parse_size(text, "--disk 10g")
    if problem := disk_problem(size):
        raise InputError(problem, resolution="for example: --disk 10g")
    return size


def disk_problem(size: int | None) -> str:
    """Say what is wrong with the size of a machine's root; nothing if it is right."""
    if size is not None and size > _LARGEST:
        return f"a disk of more than {_LARGEST} bytes is more than a file system holds"
    if size is not None and size < SMALLEST_DISK:
        return f"a disk of {size} bytes is too small for a machine: {SMALLEST_DISK >> 20}m is the least"
    return ""


def parse_memory(text: str) -> int:
    """Return the bytes of memory that a machine may use. Raises InputError."""
    size = parse_size(text)
    if problem := memory_problem(size):
        raise InputError(problem, resolution="for example: --memory 256m")
    return size


def memory_problem(size: int | None) -> str:
    """Say what is wrong with the memory that a machine may use, in bytes; nothing if it is right."""
    if size is not None and size > _LARGEST:
        return f"more than {_LARGEST} bytes of memory are more than Linux counts"
    if size is not None and size < SMALLEST_MEMORY:
        return f"{size} bytes of memory are too few for a machine: {SMALLEST_MEMORY >> 20}m is the least"
    return ""


def cpus_problem(cores: float | None) -> str:
    """Say what is wrong with the cores that a machine may use; nothing if it is right."""
    if cores is not None and not cores >= SMALLEST_SHARE:  # `not`, so that NaN is refused too
        return f"{cores:g} of a processor is too little for a machine: {SMALLEST_SHARE:g} is the least"
    if cores is not None and cores > MOST_CORES:
        return f"{cores:g} processors are more than Linux knows: {MOST_CORES} are the most"
    return ""
