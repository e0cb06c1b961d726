"""`RUN --mount=…`: every option of BuildKit's, checked."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

from stoneware.dataclass import dataclass
from stoneware.machinefile import gopath
from stoneware.machinefile.flags import FlagError, nearest
from stoneware.machinefile.recipe import Mount
from stoneware.machinefile.values import MOST_ID, bounded_number

_TYPES = ("bind", "cache", "secret", "tmpfs")
_SHARING = ("shared", "private", "locked")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_KEYS = (
    *("type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "size"),
    *("mode", "uid", "gid", "env"),
)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECRET_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}")
_NAME_HINT = "It has letters, digits, dots, dashes and underscores, for example id=token."
# What a shell, the loader and programs start with; some of them print what they cannot use.
_NEEDED = {"PATH", "HOME", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# which types take an option that not all of them take
_ONLY = {
    "from": {"bind"},
    "source": {"bind", "secret"},
    "id": {"cache", "secret"},
    "readonly": {"bind", "cache", "secret"},
    "readwrite": {"bind", "cache"},
    "required": {"secret"},
    "size": {"tmpfs"},
    "sharing": {"cache"},
    "env": {"secret"},
    "mode": {"secret", "cache"},
    "uid": {"secret", "cache"},
    "gid": {"secret", "cache"},
}


@dataclass(frozen=True)
class RawMount:
    """The options of a mount as written, each with its own name: `src` is `source` here."""

    options: tuple[tuple[str, str], ...]

    @property
    def from_name(self) -> str:
        """Return what `from=` names, unexpanded: BuildKit expands everything but this."""
        return dict(self.options).get("from", "")


def read_mount(text: str) -> RawMount:
    """Split the text of one mount into options. Raises FlagError for what no mount knows."""
    import csv

    try:
        # BuildKit reads mounts as CSV, too: in quotes a value may hold a comma.
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise FlagError(f"the mount {text!r} is not comma-separated: {error}") from error
    options = tuple(_option(field) for field in fields)
    source = dict(options).get("from", "")
    if "$" in source[:-1]:  # at the very end it is a plain character
        raise FlagError(
            "'from' of a mount doesn't support variable expansion",
            "Define a stage with FROM and a global ARG, and name that stage.",
        )
    return RawMount(options)


def _option(field: str) -> tuple[str, str]:
    name, equals, value = field.partition("=")
    key = _ALIASES.get(name.lower(), name.lower())
    if key not in _KEYS:
        close = nearest(key, _KEYS)
        hint = f"Did you mean {close}? " if close else ""
        raise FlagError(
            f"unexpected key '{name}' in mount option '{field}'", f"{hint}Known: {', '.join(_KEYS)}."
        )
    if not equals:
        if key not in {"readonly", "readwrite", "required"}:
            raise FlagError(f"invalid mount option '{field}'", f"Write {key}=VALUE.")
        value = "true"
    return key, value


def build_mount(raw: RawMount, expand: Callable[[str], str], workdir: str) -> Mount:
    """Return the mount with its values expanded, its defaults filled in and its target absolute."""
    options = {key: expand(value) if key != "from" else value for key, value in raw.options}
    kind = options.get("type", "bind").lower()
    if kind == "ssh":
        raise FlagError(
            "RUN --mount=type=ssh is not supported: a builder has no agent socket",
            "Give the key as a secret: RUN --mount=type=secret,id=KEY, and bake --secret id=KEY,src=FILE.",
        )
    if kind not in _TYPES:
        close = nearest(kind, _TYPES)
        hint = f"Did you mean {close}? " if close else ""
        raise FlagError(f"unsupported mount type {kind!r}", f"{hint}The types are {', '.join(_TYPES)}.")
    for key, types in _ONLY.items():
        if key in options and kind not in types:
            raise FlagError(
                f"unexpected key '{key}' for mount type '{kind}'", f"It belongs to {_either(types)}."
            )
    mount = _fill(kind, options, workdir)
    _check(mount, options)
    return mount


def _either(types: set[str]) -> str:
    return " and ".join(f"type={kind}" for kind in sorted(types))


def _fill(kind: str, options: dict[str, str], workdir: str) -> Mount:
    sharing = options.get("sharing", "shared").lower()
    if sharing not in _SHARING:
        raise FlagError(f"unsupported sharing value {sharing!r}", f"The values are {', '.join(_SHARING)}.")
    target = options.get("target", "")
    identity = options.get("id", "")
    source = options.get("source", "")
    if kind == "secret":
        identity = identity or source or posixpath.basename(target)
        if not target and "env" not in options:
            target = "/run/secrets/" + posixpath.basename(identity)
    elif kind == "cache":
        identity = identity or gopath.clean(target or workdir or "/")
    if (
        kind != "secret"
    ):  # which may be a variable only; the others are at the WORKDIR where nothing else is said
        target = target or workdir or "/"
    absolute = gopath.join("/", workdir, target) if target and not target.startswith("/") else target
    return Mount(
        type=kind,
        target=gopath.clean(absolute) if absolute else "",
        source="" if kind in {"secret", "tmpfs"} else source,
        from_stage=options.get("from", ""),
        id=identity,
        required=_flag(options, "required", default=False),
        read_only=_read_only(kind, options),
        env=options.get("env", ""),
        mode=_mode(options.get("mode", "")),
        uid=_owner(kind, options, "uid"),
        gid=_owner(kind, options, "gid"),
        sharing=sharing,
        size=_size(options["size"]) if "size" in options else None,
    )


def is_secret_name(text: str) -> bool:
    """Say whether a text can be a secret's id: it is part of a file's name and of an address."""
    return _SECRET_NAME.fullmatch(text) is not None


def _check(mount: Mount, options: dict[str, str]) -> None:
    if mount.type == "secret":
        if not mount.read_only:
            raise FlagError("a secret mount is read only", "Remove readonly=false.")
        if not mount.id:
            raise FlagError("a secret mount needs an id, a source or a target", "Write id=NAME.")
        if options.get("source") and options.get("id"):
            raise FlagError("a secret mount takes 'source' or 'id', not both", "Keep id.")
        if not is_secret_name(mount.id):
            raise FlagError(f"{mount.id!r} cannot be the id of a secret", _NAME_HINT)
        if mount.env and not _VARIABLE.fullmatch(mount.env):
            raise FlagError(f"{mount.env!r} is not the name of a variable", "Write env=TOKEN.")
        if mount.env in _NEEDED or mount.env.startswith("LD_"):
            raise FlagError(
                f"a secret cannot be the variable {mount.env}: programs that start with it fail, or show it",
                "Write env=TOKEN, and have the command use $TOKEN.",
            )
    if mount.target == "/" and "target" not in options:
        raise FlagError(
            f"a {mount.type} mount without a target is at the WORKDIR, and that is / here",
            "Write target=/PATH, or a WORKDIR before it.",
        )
    if mount.target == "/":
        raise FlagError("a mount cannot have / as its target", "Mount a directory below it.")


def _read_only(kind: str, options: dict[str, str]) -> bool:
    result = kind in {"bind", "secret"}
    for key in options:  # the later of readonly and readwrite counts
        if key == "readonly":
            result = _flag(options, "readonly", default=True)
        elif key == "readwrite":
            result = not _flag(options, "readwrite", default=True)
    return result


def _flag(options: dict[str, str], key: str, *, default: bool) -> bool:
    if key not in options:
        return default
    value = options[key]
    if value in {"1", "t", "T", "true", "TRUE", "True"}:  # what Go's ParseBool takes, and so BuildKit
        return True
    if value in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise FlagError(f"invalid value for {key}: {value}", f"Write {key} or {key}=false.")


def _mode(value: str) -> str:
    if not value:
        return ""
    if re.fullmatch(r"[0-7]+", value) is None or int(value, 8) > 0o7777:
        raise FlagError(f"invalid value {value} for mode", "Write it in octal, for example mode=0400.")
    return f"{int(value, 8):04o}"


def _owner(kind: str, options: dict[str, str], key: str) -> int | None:
    """Return a mount's owner. A secret is its step's user's unless the mount says whose it is."""
    return None if kind == "secret" and key not in options else _number(options, key)


def _number(options: dict[str, str], key: str) -> int:
    value = options.get(key, "0")
    number = bounded_number(value, MOST_ID + 1)
    if not 0 <= number <= MOST_ID:
        raise FlagError(f"invalid value {value} for {key}", "Write a number; names are not known here.")
    return number


def _size(value: str) -> int:
    found = _SIZE.fullmatch(value)
    size = float(found[1]) * 1024 ** _UNITS[(found[2] or "").lower()] if found else 0.0
    if found is None or size >= 2**63:
        why = "" if found is None else " is more than there is anywhere"
        raise FlagError(
            f"invalid value for size: {value[:40]}{why}", "Write a number with a unit, for example size=512m."
        )
    return int(size)
