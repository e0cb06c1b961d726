"""The types of a machine's fields as Terraform has them, and the parts of those that are objects."""

from __future__ import annotations

from typing import Any

from stoneware.dataclass import dataclass

REQUIRED: Any = object()  # the default of what has none


@dataclass(frozen=True)
class Type:
    """A type: `base` is string, number, bool or object, which has `parts`; `form` is one, list or map."""

    base: str
    form: str = "one"
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Part:
    """A part of an object. `default` is what the cluster's module takes where it is left out."""

    name: str
    type: Type
    about: str
    default: Any = REQUIRED


STRING, NUMBER, BOOL = Type("string"), Type("number"), Type("bool")
STRINGS, STRING_MAP = Type("string", "list"), Type("string", "map")


def objects(*parts: Part) -> Type:
    """Return the type of a list of objects."""
    return Type("object", "list", parts=parts)


VOLUMES = objects(
    Part("volume", STRING, "Name of the volume."),
    Part("path", STRING, "Where the machine mounts it."),
    Part("read_only", BOOL, "Mount it read-only.", False),
)
PORTS = objects(
    Part("machine_port", NUMBER, "Port inside the machine."),
    Part("host_port", NUMBER, "Port on this computer; left out or 0 for a free one.", 0),
    Part("host_ip", STRING, "Address on this computer; left out for all.", "0.0.0.0"),  # noqa: S104
    Part("protocol", STRING, "`tcp` (default) or `udp`.", "tcp"),
)
SECRETS = objects(
    Part("secret", STRING, "Name of the secret in the store."),
    Part("target", STRING, "The file below `/run/secrets`, or an absolute path."),
    Part("version", STRING, "Version of its value: another one is another secret."),
    Part("mode", STRING, 'Mode of the file in octal digits; `"0400"` if left out.', "0400"),
    Part("uid", NUMBER, "Its owner; root if left out.", 0),
    Part("gid", NUMBER, "Its group; root's if left out.", 0),
)
ULIMITS = objects(
    Part("name", STRING, "As Docker calls it: `nofile`, `memlock`, `core`, …"),
    Part("soft", NUMBER, "What processes begin with; `-1` for no limit."),
    Part("hard", NUMBER, "What they may raise it to; as `soft` if left out.", None),
)
PROCESS = Type(
    "object",
    parts=(
        Part("command", STRINGS, "All words, those of the ENTRYPOINT too.", []),
        Part("user", STRING, "`USER`, `USER:GROUP` or numbers.", ""),
        Part("working_dir", STRING, "An absolute path.", ""),
        Part("stop_signal", STRING, "`SIGQUIT` and the like.", ""),
        Part("groups", STRINGS, "Groups in addition to the user's own.", []),
        Part("cap_drop", STRINGS, "Capabilities it loses: `net_raw`, or `all`.", []),
        Part("cap_add", STRINGS, "Capabilities it keeps of those.", []),
        Part("no_new_privileges", BOOL, "Setuid programs gain nothing.", False),
        Part("oom_score_adj", NUMBER, "0 to 1000.", 0),
    ),
)
SYSTEM = Type(
    "object",
    parts=(
        Part("sysctls", STRING_MAP, "Kernel parameters of its own: `net.*` and those of IPC.", {}),
        Part("tmpfs", STRING_MAP, "Mount options by path: `size=64m,mode=1777`.", {}),
        Part("hosts", STRINGS, "Lines of `/etc/hosts`: `NAME=ADDRESS`.", []),
        Part("dns_search", STRINGS, "Domains in which names are looked for.", []),
        Part("dns_options", STRINGS, "Options of `resolv.conf`: `ndots:2`.", []),
    ),
)
