"""The small languages inside instructions: durations, ports, signals, file modes, platforms."""

from __future__ import annotations

import platform
import re
import signal

from stoneware.machinefile.flags import FlagError

# Go takes two characters for micro, and people have either on their keyboards.
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 2**63 / 1e9  # what Go's durations can say
_SYMBOLIC_MODE = re.compile(r"[ugoa]*([-+=]([rwxXst]*|[ugo]))+(,[ugoa]*([-+=]([rwxXst]*|[ugo]))+)*")
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armv8": "arm64", "i386": "386"}
_CHECKSUM_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
MOST_ID = 2**32 - 2  # the one above tells chown to leave the owner as it is
_OTHER_SIGNALS = {"CLD": "CHLD", "POLL": "IO", "IOT": "ABRT", "UNUSED": "SYS", "STKFLT": "STKFLT"}


def duration(text: str, name: str, default: float) -> float:
    """Return a Go duration (`1m30s`) in seconds; nothing and zero mean the default."""
    if not text:
        return default
    if re.fullmatch(r"[+-]?0", text):
        return default
    parts = _DURATION.findall(text.removeprefix("+"))
    if "".join(number + unit for number, unit in parts) != text.removeprefix("+"):
        raise FlagError(
            f"invalid duration for --{name}: {text}", f"Write a number with a unit: --{name}=30s."
        )
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise FlagError(f"--{name} is longer than 292 years", f"Write, for example, --{name}=1h.")
    if seconds == 0:
        return default
    # Docker's own bound: its health checks count in milliseconds.
    if seconds < 0.001:
        raise FlagError(f"--{name} cannot be less than 1ms", f"Write, for example, --{name}=1s.")
    return float(seconds)


def ports(text: str) -> list[str]:
    """Return the ports an EXPOSE word names, as `80/tcp`; what is before a colon is dropped, as in Docker."""
    raw, _, protocol = text.rpartition(":")[2].partition("/")
    protocol = protocol.lower() or "tcp"
    hint = "Write EXPOSE PORT, PORT-PORT, or PORT/udp."
    if not raw:
        raise FlagError(f"invalid port: {text!r} names no port", hint)
    if protocol not in {"tcp", "udp", "sctp"}:
        raise FlagError(f"invalid port: {text!r} has an unknown protocol", hint)
    first, _, last = raw.partition("-")
    numbers = [first, last or first]
    if raw.endswith("-") or not all(re.fullmatch(r"\d+", number, re.ASCII) for number in numbers):
        raise FlagError(f"invalid port: {text!r}", hint)
    low, high = (bounded_number(number, 65536) for number in numbers)
    if high > 65535 or low > high:
        raise FlagError(f"invalid port: {text!r} is not within 0-65535 in rising order", hint)
    return [f"{number}/{protocol}" for number in range(low, high + 1)]


def bounded_number(digits: str, most: int) -> int:
    """Return the number that decimal digits say, or `most` where it is more; -1 where they are none.

    Python itself refuses to read thousands of digits.
    """
    if not (digits.isascii() and digits.isdecimal()):
        return -1
    significant = digits.lstrip("0")
    return most if len(significant) > len(str(most)) else min(int(significant or "0"), most)


def check_owner(text: str) -> None:
    """Raise FlagError unless a text has the form of a --chown: USER or USER:GROUP, names or numbers.

    Who is unknown counts as 0, as in BuildKit.
    """
    hint = "Write --chown=USER or --chown=USER:GROUP."
    parts = text.split(":")
    if len(parts) > 2:
        raise FlagError(f"invalid chown parameter: '{text}' has more than a user and a group", hint)
    for part in parts:
        if bounded_number(part, MOST_ID + 1) > MOST_ID:
            raise FlagError(f"invalid chown parameter: '{text}' has a number above {MOST_ID}", hint)
        if any(char.isspace() or not char.isprintable() for char in part):
            raise FlagError(f"invalid chown parameter: {text!r} has a blank or a control character", hint)


def check_signal(text: str) -> None:
    """Raise FlagError unless a text is a signal's number or name."""
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        if 0 < bounded_number(text.removeprefix("+"), signal.SIGRTMAX + 1) <= signal.SIGRTMAX:
            return
    elif _signal_name(text.upper().removeprefix("SIG")):
        return
    raise FlagError(f"invalid signal: {text}", "Write a name such as SIGTERM, or a number.")


def _signal_name(name: str) -> bool:
    realtime = re.fullmatch(r"RT(?:MIN(?:\+(\d+))?|MAX(?:-(\d+))?)", name)
    if realtime:
        return bounded_number(realtime[1] or realtime[2] or "0", 16) <= 15
    return name in _OTHER_SIGNALS or f"SIG{name}" in signal.Signals.__members__


def check_mode(text: str) -> None:
    """Raise FlagError unless a text is a --chmod that BuildKit takes: octal, or symbolic as chmod's."""
    hint = "Write it in octal, --chmod=0755, or in symbols, --chmod=u=rwX,go=rX."
    if re.fullmatch(r"[0-7]+", text):
        if int(text, 8) > 0o7777:
            raise FlagError(f"invalid chmod parameter: '{text}' is more than 07777", hint)
    elif _SYMBOLIC_MODE.fullmatch(text) is None:
        raise FlagError(f"invalid chmod parameter: '{text}'", hint)


def check_checksum(text: str) -> None:
    """Raise FlagError unless a text is `sha256:` (sha384, sha512) and as many hexadecimal digits."""
    algorithm, _, digits = text.partition(":")
    wanted = _CHECKSUM_DIGITS.get(algorithm)
    hint = "Write --checksum=sha256: and the 64 digits that `sha256sum` prints."
    if wanted is None:
        raise FlagError(f"unsupported checksum {text!r}", hint)
    if re.fullmatch(r"[0-9a-f]+", digits) is None or len(digits) != wanted:
        raise FlagError(f"the checksum is not {wanted} hexadecimal digits: {text!r}", hint)


def host_architecture() -> str:
    """Return this computer's architecture by Docker's name: amd64, arm64."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


def check_platform(text: str, architecture: str) -> None:
    """Raise FlagError unless a --platform is Linux on the architecture the image is baked for."""
    system, _, rest = text.partition("/")
    machine = rest.partition("/")[0]
    if not rest:
        # One word may be either: `linux`, or an architecture such as `arm64`.
        system, machine = ("linux", system) if system != "linux" else ("linux", architecture)
    if system.lower() != "linux" or _ARCHITECTURES.get(machine.lower(), machine.lower()) != architecture:
        raise FlagError(
            f"the platform {text} cannot be baked on this computer (linux/{architecture})",
            "Leave --platform out, or bake on a computer of that platform.",
        )
