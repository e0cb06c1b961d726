"""Docker's spellings of ports, volumes and values, turned into what the platform protocol uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stoneware.errors import InputError
from stoneware.model import names
from stoneware.model.labels import OWN_LABELS
from stoneware.model.mount_places import own_place, plain_path
from stoneware.model.publishing import unpublishable
from stoneware.model.resources import PortMapping, VolumeMount

_PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:.]+\]|\d+(?:\.\d+){3}):)?(?:(?P<host>\d+(?:-\d+)?)?:)?(?P<machine>\d+(?:-\d+)?)"
    r"(?:/(?P<protocol>\w+))?",
    re.ASCII,
)
_MOST_PORTS = 1024  # of one range
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]{1,9})?")
_VARIABLE = re.compile(r"[^=\0]+")
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 -- Docker publishes on every address unless told otherwise


def parse_port(text: str) -> tuple[PortMapping, ...]:
    """Parse one `-p [IP:][HOST:]MACHINE[/PROTOCOL]`; ranges of equal length give several mappings.

    Without HOST a free port is asked for (host port 0). Raises InputError.
    """
    match = _PORT.fullmatch(text)
    if match is None:
        raise bad_port(text, "The form is [IP:][HOST:]MACHINE[/tcp|udp].")
    protocol = (match["protocol"] or "tcp").lower()
    if protocol not in ("tcp", "udp"):
        raise bad_port(text, f"There is no protocol {protocol!r}: tcp and udp are.")
    machine = _range(text, match["machine"])
    if len(machine) > _MOST_PORTS:
        raise bad_port(text, f"A range has at most {_MOST_PORTS} ports: each is a rule of the firewall.")
    host = _range(text, match["host"]) if match["host"] else [0] * len(machine)
    if len(host) != len(machine):
        if len(machine) == 1:
            raise bad_port(text, "One port of the machine is published at one: without HOST at a free one.")
        raise bad_port(text, "The two ranges differ in length.")
    if 0 in machine:
        raise bad_port(text, "A machine's port is 1 to 65535.")
    address = (match["ip"] or ANY_ADDRESS).strip("[]")
    if why := unpublishable(address):
        raise bad_port(text, why)
    return tuple(
        PortMapping(address, ours, theirs, protocol) for ours, theirs in zip(host, machine, strict=True)
    )


def _range(text: str, ports: str) -> list[int]:
    first, _, last = ports.partition("-")
    # Six digits tell that it is too large; int() makes no number of thousands of them.
    low, high = (int(digits.lstrip("0")[:6] or "0") for digits in (first, last or first))
    if high > 65535 or low > high:
        raise bad_port(text, "A port is 0 to 65535, and the end of a range is not below its start.")
    return list(range(low, high + 1))


def bad_port(text: str, why: str) -> InputError:
    """Return the error about a port mapping; `why` is a sentence."""
    return InputError(f"invalid port mapping {text!r}", details=why, resolution="for example: -p 8080:80")


def exposed_port(text: str) -> PortMapping:
    """Return the mapping of one EXPOSEd port (`80/tcp`) to a free port of this computer, as `-P` asks."""
    port, _, protocol = text.partition("/")
    return PortMapping(ANY_ADDRESS, 0, int(port), protocol or "tcp")


def parse_volume(text: str) -> VolumeMount:
    """Parse one `-v [NAME:]/PATH[:ro|rw]`; the name is empty for an anonymous volume. Raises InputError."""
    head, colon, mode = text.rpartition(":")
    # Without a mode the last part is the path, and a path begins with a slash.
    if not colon or mode.startswith("/"):
        head, mode = text, "rw"
    name, _, path = head.rpartition(":")
    if mode not in ("ro", "rw"):
        raise _bad_volume(text, f"There is no mode {mode!r}: ro and rw are.")
    if name.startswith(("/", ".", "~")):
        raise InputError(
            f"{name!r} is a directory of this computer, not a volume",
            details="A machine has its own disks and sees no directory of its host.",
            resolution="COPY it in the Machinefile, or: stoneware cp FILE MACHINE:PATH",
        )
    if name and not names.VOLUME.allows(name):
        raise _bad_volume(text, f"A name has {names.VOLUME.words}.")
    clean = plain_path(path)
    if not path.startswith("/") or clean == "/" or "\n" in path or "\t" in path:
        raise _bad_volume(text, "The path in the machine is absolute and not '/' itself.")
    if own := own_place(clean):
        raise _bad_volume(text, f"{own} is the machine's own: no disk can be mounted there.")
    return VolumeMount(name, clean, read_only=mode == "ro")


def _bad_volume(text: str, why: str) -> InputError:
    return InputError(
        f"invalid volume {text!r}", details=why, resolution="for example: -v data:/var/lib/data"
    )


def parse_restart(text: str) -> str:
    """Return a restart policy. Raises InputError where it is none of Docker's."""
    if not _RESTART.fullmatch(text):
        raise InputError(
            f"invalid restart policy {text!r}",
            resolution="one of: no, always, unless-stopped, on-failure, on-failure:5",
        )
    return text


def check_name(name: str) -> str:
    """Return a machine's name, which is its host name as well. Raises InputError."""
    if not names.MACHINE.allows(name):
        raise InputError(
            f"invalid machine name {name!r}",
            details=f"A name has {names.MACHINE.words}.",
            resolution="for example: --name web-1",
        )
    return name


def parse_values(words: Iterable[str], environment: Mapping[str, str], option: str = "-e") -> dict[str, str]:
    """Parse `KEY=VALUE` words; `KEY` alone takes our own value, or nothing where we have none.

    Raises InputError for an empty key.
    """
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not _VARIABLE.fullmatch(key):
            raise InputError(f"invalid {option} {word!r}", resolution=f"for example: {option} KEY=value")
        if equals:
            values[key] = value
        elif key in environment:
            values[key] = environment[key]
    return values


def parse_image_labels(words: Iterable[str]) -> dict[str, str]:
    """Parse `--label KEY[=VALUE]` words of an image. Raises InputError for an empty key."""
    # KEY alone is a label without a value; `parse_values` would look for a variable of that name.
    return parse_values((word if "=" in word else f"{word}=" for word in words), {}, "--label")


def parse_labels(words: Iterable[str]) -> dict[str, str]:
    """Parse `--label KEY[=VALUE]` words. Raises InputError for an empty key and for a label of our own."""
    labels = parse_image_labels(words)
    for key in labels:
        # The label of a cluster would make the machine one of it.
        if key.startswith(OWN_LABELS):
            raise InputError(
                f"the label {key!r} is one of Stoneware's own", resolution="for example: --label tier=front"
            )
    return labels
