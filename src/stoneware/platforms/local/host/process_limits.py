"""The limits, priorities and signals that machines and helpers start with, whatever our shell has."""

from __future__ import annotations

import functools
import os
import resource
import shlex
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from stoneware.errors import HostError, InputError
from stoneware.model.limits import ULIMITS, UNLIMITED, Ulimit

_MANAGER = "/run/systemd/system.conf.d"
_MIB = 1 << 20
_OPEN_FILES = 512 << 10  # systemd's hard limit
# The kernel counts these by user, and takes the creator's of a user namespace for all who are in it.
_COUNTED = frozenset({"memlock", "msgqueue", "nproc", "sigpending"})


def defaults() -> dict[str, tuple[int, int]]:
    """Return soft and hard limits as the first process of a Debian system has them; -1 is no limit."""
    threads = _number("kernel/threads-max", 1 << 16) // 2  # what the kernel gives its first process
    return {
        "as": (UNLIMITED, UNLIMITED),
        "core": (0, UNLIMITED),
        "cpu": (UNLIMITED, UNLIMITED),
        "data": (UNLIMITED, UNLIMITED),
        "fsize": (UNLIMITED, UNLIMITED),
        "locks": (UNLIMITED, UNLIMITED),
        "memlock": (8 * _MIB, 8 * _MIB),
        "msgqueue": (819200, 819200),
        "nice": (0, 0),
        "nofile": (1024, min(_OPEN_FILES, most_open_files())),
        "nproc": (threads, threads),
        "rss": (UNLIMITED, UNLIMITED),
        "rtprio": (0, 0),
        "rttime": (UNLIMITED, UNLIMITED),
        "sigpending": (threads, threads),
        "stack": (8 * _MIB, UNLIMITED),
    }


def _within_reach(wanted: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Return limits as far as we may set them: without CAP_SYS_RESOURCE hard ones cannot be raised."""
    if _may_raise():
        return wanted
    found = {}
    for name, (soft, hard) in wanted.items():
        own = resource.prlimit(0, _numbers()[name])[1]
        # A soft limit above the hard one is refused as well.
        reach = _lower(hard, own)
        found[name] = (_lower(soft, reach), reach)
    return found


@functools.cache
def _numbers() -> dict[str, int]:
    known = {"locks": 10}  # Linux, include/uapi/asm-generic/resource.h; Python has no name for it
    return {name: known.get(name) or getattr(resource, f"RLIMIT_{name.upper()}") for name in (*ULIMITS, "as")}


def _may_raise() -> bool:
    """Say whether we have CAP_SYS_RESOURCE, which root in a container may lack."""
    return bool(_own_bits("CapEff") >> 24 & 1)


def most_open_files() -> int:
    """Return how many files one process may have open on this computer at most."""
    return _number("fs/nr_open", 1 << 20)


def check(limits: Sequence[Ulimit]) -> None:
    """Raise InputError for limits that this computer cannot give."""
    for limit in limits:
        if limit.name == "nofile" and limit.hard > most_open_files():
            raise InputError(
                f"--ulimit nofile={limit.hard} is more than this computer allows",
                details=f"fs.nr_open is {most_open_files()}.",
                resolution=f"sysctl -w fs.nr_open={limit.hard}    # then run the command again",
            )
    given = {limit.name: (limit.soft, limit.hard) for limit in limits}
    for name, (soft, hard) in _within_reach(given).items():
        if (soft, hard) != given[name]:
            raise HostError(
                f"the limit {name} cannot be raised to {_word(given[name][1], 'unlimited')} here",
                details=f"{_word(hard, 'unlimited')} is the most: CAP_SYS_RESOURCE is missing.",
                resolution="run the machine with a lower limit, or stoneware with that capability",
            )


def nspawn_arguments(limits: Iterable[Ulimit]) -> list[str]:
    """Return the options of systemd-nspawn that set all limits of a machine's first process."""
    wanted = {**_within_reach(defaults()), **{limit.name: (limit.soft, limit.hard) for limit in limits}}
    return [
        f"--rlimit=RLIMIT_{name.upper()}={_word(soft, 'infinity')}:{_word(hard, 'infinity')}"
        for name, (soft, hard) in wanted.items()
    ]


def manager_script(limits: Iterable[Ulimit]) -> str:
    """Return shell lines that tell a machine's systemd which limits its services have; none without limits.

    It has a mind of its own: whatever it was started with, its services begin with 1,024 open files.
    """
    lines = [
        f"DefaultLimit{limit.name.upper()}={_word(limit.soft, 'infinity')}:{_word(limit.hard, 'infinity')}"
        for limit in limits
    ]
    if not lines:
        return ""
    text = shlex.quote("\n".join(["[Manager]", *lines]))
    # zz: what the image sets in files of its own is read before, and overruled.
    return f"mkdir -p {_MANAGER} && printf '%s\\n' {text} >{_MANAGER}/zz-stoneware.conf\n"


def plain(argv: Sequence[str], limits: Iterable[Ulimit] = (), *, inherits: bool = True) -> list[str]:
    """Return a command that runs another with the limits of its own, not those of our shell.

    With `limits` those of a machine can be reached from there. It `inherits` our priorities, processors,
    ignored signals and personality as well, which are put right too, unless systemd starts it.
    """
    wanted = defaults()
    for limit in limits:
        soft, hard = wanted[limit.name]
        hard = _higher(hard, limit.hard)
        wanted[limit.name] = (hard, hard) if limit.name in _COUNTED else (soft, hard)
    flags = [
        f"--{name}={_word(soft, 'unlimited')}:{_word(hard, 'unlimited')}"
        for name, (soft, hard) in _within_reach(wanted).items()
    ]
    return [*(_resets() if inherits else ()), "prlimit", *flags, *argv]


def _resets() -> list[str]:
    """Return the words of programs that put right what children inherit, for the command behind them."""
    words = ["ionice", "-t", "-c", "0"]  # no look: it would take longer than this does
    if _ignored_signals():
        words += ["env", "--default-signal"]
    if _text("/proc/self/oom_score_adj") not in ("", "0"):
        # Not by choom, which gives up where the kernel does not allow it.
        words += ["sh", "-c", 'echo 0 2>/dev/null >/proc/self/oom_score_adj; exec "$@"', "sh"]
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        words += ["chrt", "--other", "0"]
    if nice := os.getpriority(os.PRIO_PROCESS, 0):
        words += ["nice", "-n", str(-nice)]
    processors = os.cpu_count() or 1
    if len(os.sched_getaffinity(0)) < processors:  # what is not ours at all the kernel leaves out
        words += ["taskset", "-c", f"0-{processors - 1}"]
    if int(_text("/proc/self/personality") or "0", 16):  # such as addresses that are not random
        words += ["setarch", os.uname().machine]
    return words


def _ignored_signals() -> bool:
    """Say whether a child would ignore signals that programs expect to get; Python itself ignores two."""
    pythons = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    return bool(_own_bits("SigIgn") & ~pythons)


def _higher(one: int, other: int) -> int:
    return UNLIMITED if UNLIMITED in (one, other) else max(one, other)


def _lower(one: int, other: int) -> int:
    return max(one, other) if UNLIMITED in (one, other) else min(one, other)


def _word(value: int, unlimited: str) -> str:
    return unlimited if value == UNLIMITED else str(value)


def _own_bits(name: str) -> int:
    """Return a set of bits that the kernel tells of this process; none where it does not."""
    for line in _text("/proc/self/status").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], 16)
    return 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:  # a kernel without it
        return ""


def _number(setting: str, otherwise: int) -> int:
    try:
        return int((Path("/proc/sys") / setting).read_text())
    except (OSError, ValueError):
        return otherwise
