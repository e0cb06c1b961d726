"""What a machine is told besides its image: how its service runs, and settings of its system."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.model import names
from stoneware.model.mount_places import own_place

HOST_GATEWAY = "host-gateway"  # stands for the address of the computer that a machine runs on
# The capabilities that root in a machine has; a machine has none over its host.
CAPABILITIES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_owner"),
    *("sys_chroot", "sys_ptrace", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_tty_config"),
    *("mknod", "lease", "audit_write", "audit_control", "setfcap"),
)
# Those that Linux knows besides.
FOREIGN_CAPABILITIES = (
    *("ipc_lock", "sys_module", "sys_rawio", "sys_pacct", "sys_time", "mac_override", "mac_admin", "syslog"),
    *("wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore"),
)
ALL = "all"
MOST_ID = (1 << 31) - 1  # as Docker has it, too
# Kernel parameters that each machine has for itself; all others are the whole computer's.
_OWN_SYSCTL = re.compile(
    r"net\.[\w./*-]+|kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\.\w+",
    re.ASCII,
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?", re.ASCII)
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
# ASCII, since \d and \w would take the digits and letters of all scripts.
_SIGNAL = re.compile(r"(?:SIG)?(?:[A-Z]+[0-9]?|RTMIN\+\d{1,2}|RTMAX-\d{1,2})|\d{1,2}", re.ASCII)
_TMPFS_OPTION = re.compile(
    r"size=\d+[kmg%]?|mode=0?[0-7]{3,4}|uid=\d+|gid=\d+|nr_inodes=\d+[kmg]?|r[ow]|(?:no)?(?:exec|suid|dev|atime)",
    re.ASCII | re.IGNORECASE,
)
_LINE_SIGNS = re.compile(r"[\0\n\r\t]")  # what would end a line or a column of the attributes below
_DNS_WORD = re.compile(r"[A-Za-z0-9_.:-]+", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)  # of an address: the name or number of a device
SHM = "/dev/shm"  # noqa: S108 -- a mount point


@dataclass(frozen=True)
class Process:
    """How a machine's service runs where that is not as in its image. What is empty is as in the image.

    `command` are all words, those of the ENTRYPOINT among them. `cap_drop` and `cap_add` (names without
    `cap_`, in small letters; `all`) bound the service's capabilities, in this order. `oom_score_adj` is 0 to
    1000.
    """

    command: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    groups: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int = 0


@dataclass(frozen=True)
class System:
    """Settings of a machine's system that are not in its image.

    `sysctls` are kernel parameters by name, `tmpfs` paths with mount options (`size=64m,mode=1777`), `hosts`
    lines `NAME=ADDRESS` of /etc/hosts, `dns_search` and `dns_options` those of resolv.conf.
    """

    sysctls: tuple[tuple[str, str], ...] = ()
    tmpfs: tuple[tuple[str, str], ...] = ()
    hosts: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


_PAIRED = ("sysctls", "tmpfs")


def document_of(part: Process | System) -> dict[str, Any] | None:
    """Return a part as JSON data, None where nothing of it is said."""
    if part == type(part)():
        return None
    return {
        field.name: dict(value)
        if field.name in _PAIRED
        else list(value)
        if isinstance(value, tuple)
        else value
        for field in fields(part)
        for value in [getattr(part, field.name)]
    }


def process_of(document: Mapping[str, Any] | None) -> Process:
    """Return what `document_of` wrote; what is missing or None is as in the image."""
    given = {key: value for key, value in (document or {}).items() if value is not None}
    listed = {key: tuple(value) for key, value in given.items() if isinstance(value, list | tuple)}
    number = {"oom_score_adj": int(given["oom_score_adj"])} if "oom_score_adj" in given else {}
    return Process(**{**given, **listed, **number})


def system_of(document: Mapping[str, Any] | None) -> System:
    """Return what `document_of` wrote; what is missing or None is not said."""
    given = {key: value for key, value in (document or {}).items() if value is not None}
    # Mappings of Terraform and JSON have no order of their own; equal ones are to be equal here.
    paired = {key: tuple(sorted(given[key].items())) for key in _PAIRED if key in given}
    return System(**{**{key: tuple(value) for key, value in given.items() if key not in paired}, **paired})


def problems(process: Process, system: System) -> Iterator[str]:
    """Yield what no machine could be told, each as a sentence without its full stop."""
    if process.user and not _USER.fullmatch(process.user):
        yield f"{process.user!r} is no user: USER, USER:GROUP or numbers"
    elif any(part.isdecimal() and int(part[:20]) > MOST_ID for part in process.user.split(":")):
        # int() makes no number of thousands of digits; the first twenty tell enough.
        yield f"{process.user!r} has a number above {MOST_ID}, the last user and group that there can be"
    if process.working_dir and (problem := path_problem(process.working_dir)):
        yield problem
    if process.stop_signal and not _SIGNAL.fullmatch(process.stop_signal.upper()):
        yield f"{process.stop_signal!r} is no signal"
    for group in process.groups:
        if not _GROUP.fullmatch(group):
            yield f"{group!r} is no group"
    for name in (*process.cap_drop, *process.cap_add):
        if problem := capability_problem(name, adding=name in process.cap_add):
            yield problem
    if not 0 <= process.oom_score_adj <= 1000:
        yield f"it is 0 to 1000 in a machine, not {process.oom_score_adj}"
    if any("\0" in word for word in process.command):
        yield "a word of the command has a NUL byte"
    yield from _system_problems(system)


def _system_problems(system: System) -> Iterator[str]:
    for name, value in system.sysctls:
        if problem := sysctl_problem(name, value):
            yield problem
    for path, options in system.tmpfs:
        if problem := tmpfs_problem(path, options):
            yield problem
    for entry in system.hosts:
        if problem := host_problem(entry):
            yield problem
    for word in (*system.dns_search, *system.dns_options):
        if not _DNS_WORD.fullmatch(word):
            yield f"{word!r} cannot be in resolv.conf"


def path_problem(path: str) -> str:
    """Say why a text is no path in a machine; nothing if it is one."""
    if not path.startswith("/"):
        return f"{path!r} is not an absolute path"
    return f"{path!r} has a line break or a tab" if _LINE_SIGNS.search(path) else ""


def capability_problem(name: str, *, adding: bool) -> str:
    """Say why a machine's service cannot gain or lose a capability; nothing if it can."""
    # To drop what no machine has changes nothing, so it is no mistake.
    if name in CAPABILITIES or name == ALL or (name in FOREIGN_CAPABILITIES and not adding):
        return ""
    shown = name.upper()
    if name in FOREIGN_CAPABILITIES:
        return f"{shown} is a capability over the whole computer, which no machine has"
    return f"there is no capability {shown}"


def sysctl_problem(name: str, value: str) -> str:
    """Say why a machine cannot set a kernel parameter; nothing if it can."""
    if not _OWN_SYSCTL.fullmatch(name) or ".." in name:  # the name becomes a path below /proc/sys
        return f"the kernel parameter {name} is the whole computer's"
    return f"the value of {name} has a line break or a tab" if _LINE_SIGNS.search(value) else ""


def tmpfs_problem(path: str, options: str) -> str:
    """Say why a tmpfs cannot be mounted; nothing if it can."""
    if problem := path_problem(path):
        return problem
    # The one place of the machine's own that may have another size: Compose's shm_size.
    if path.rstrip("/") != SHM and (own := own_place(path) or ("/" if not path.strip("/") else "")):
        return f"{own} is the machine's own"
    if options and not all(map(_TMPFS_OPTION.fullmatch, options.split(","))):
        return f"{options!r} are no options of a tmpfs: size=64m, mode=1777, uid=, gid=, noexec and the like"
    return ""


def host_problem(entry: str) -> str:
    """Say why a text `NAME=ADDRESS` cannot be a line of /etc/hosts; nothing if it can."""
    import ipaddress

    name, _, address = entry.partition("=")
    if not names.HOSTS_FILE.allows(name):
        return f"{name!r} is no host name"
    if address == HOST_GATEWAY:
        return ""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return f"{address!r} is no IP address"
    # Python takes any text behind the sign as the scope of an IPv6 address, line breaks too.
    _, sign, scope = address.partition("%")
    return f"{address!r} is no IP address" if sign and not _SCOPE.fullmatch(scope) else ""


def process_text(process: Process) -> str:
    """Return the attribute `stoneware-process`: a line of shell assignments, then `set -- WORDS`."""
    if process == Process():
        return ""
    values: dict[str, str] = {
        "user": process.user,
        "workdir": process.working_dir,
        "stop_signal": process.stop_signal.upper(),
        "more_groups": " ".join(process.groups),
        "limits": _limits(process),
        "oom": str(process.oom_score_adj or ""),
    }
    line = " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items() if value)
    words = f"set -- {shlex.join(process.command)}\n" if process.command else ""
    return f"{line or ':'}\n{words}"  # the words are in the second line


def _limits(process: Process) -> str:
    """Return the arguments of setpriv(1) that bound the service."""
    changes = [*(f"-{name}" for name in process.cap_drop), *(f"+{name}" for name in process.cap_add)]
    words = ["--no-new-privs"] * process.no_new_privileges
    if process.cap_drop:
        wanted = ",".join(changes)
        words += [f"--bounding-set={wanted}", "--inh-caps=-all"]
    return " ".join(words)


def system_text(system: System) -> str:
    """Return the attribute `stoneware-system`: lines of a word and its values, between tabs."""
    rows: list[tuple[str, ...]] = [("sysctl", name, value) for name, value in system.sysctls]
    rows += [("host", *reversed(entry.split("=", 1))) for entry in system.hosts]
    rows += [("search", domain, "") for domain in system.dns_search]
    rows += [("option", option, "") for option in system.dns_options]
    return "".join("\t".join(row) + "\n" for row in rows)


def with_host(system: System, address: str) -> System:
    """Return the settings with an address in the place of `host-gateway`."""
    ending = f"={HOST_GATEWAY}"
    hosts = (f"{it.removesuffix(ending)}={address}" if it.endswith(ending) else it for it in system.hosts)
    return replace(system, hosts=tuple(hosts))


def words_of(part: Process | System) -> dict[str, str]:
    """Return what a part says, by name, in words for a plan."""
    found: dict[str, str] = {}
    for name, value in (document_of(part) or {}).items():
        if isinstance(value, dict):
            found |= {
                f"{name.removesuffix('s') if name == 'sysctls' else name} {key}": str(it) or "no options"
                for key, it in value.items()
            }
        elif value:
            found[name.replace("_", " ")] = shlex.join(value) if isinstance(value, list) else str(value)
    return found
