"""The short forms of the Compose format written out as its long forms, with the places they had.

Done before files are merged: what Compose merges by identity then is a mapping, or a list whose items have an
identity. What has a form that does not exist is left for the schema to blame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from stoneware.compose import words
from stoneware.compose.faults import Faults
from stoneware.compose.model import Place
from stoneware.compose.mounts import host_fault, is_host_path, parse_mount
from stoneware.compose.nodes import Node, describe, plain, rebuilt
from stoneware.compose.port_ranges import is_spread
from stoneware.compose.templates import TEMPLATE
from stoneware.errors import StonewareError
from stoneware.launch.flags import ANY_ADDRESS, parse_port
from stoneware.model.resources import PortMapping

# Characters of a private use plane stand for templates while the text around them is taken apart.
_FIRST_MARK, _LAST_MARK = 0xF0000, 0xFFFFD
_MARKS = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_LAST_MARK)}]")
_PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:.]+\]|\d+(?:\.\d+){3}):)?(?:(?P<host>[^:/]*):)?(?P<machine>[^:/]+)"
    r"(?:/(?P<protocol>[^:/]*))?"
)
SECRETS = "/run/secrets/"

_OPTION = re.compile(r"(?<=for example: )-[pv] ")  # what these errors say of the command line

Change = Callable[[Node, Faults], Node]
T = TypeVar("T")


def canonical(root: Node, faults: Faults) -> Node:
    """Return a document in which every short form of the Compose format has become the long one."""
    sections: Mapping[str, Change] = {
        "services": _service,
        **dict.fromkeys(("networks", "volumes", "secrets", "configs"), _top),
    }
    return _changed(root, {key: _each(change) for key, change in sections.items()}, faults)


def _changed(node: Node, changes: Mapping[str, Change], faults: Faults) -> Node:
    """Return a mapping with some of its entries changed; anything else as it is."""
    if not isinstance(node.value, dict):
        return node
    entries = {
        # An empty key leaves what an earlier file has there, so it has no long form.
        key: changes[key](each, faults) if key in changes and each.value is not None else each
        for key, each in node.value.items()
    }
    return rebuilt(node, entries)


def _each(change: Change) -> Change:
    def every(node: Node, faults: Faults) -> Node:
        if not isinstance(node.value, dict):
            return node
        return rebuilt(node, {key: change(each, faults) for key, each in node.value.items()})

    return every


def _entry(node: Node, **values: str | int | bool) -> Node:
    """Return the long form of one item: a mapping at the item's own place."""
    entries = {key: Node(value, node.place, str(value)) for key, value in values.items()}
    return Node(dict(entries), node.place, "", dict.fromkeys(entries, node.place))


def pairs(node: Node, faults: Faults) -> Node:
    """Return `KEY=VALUE` lists as mappings, and every value of the mapping as text, as it is written."""
    if isinstance(node.value, dict):
        # 1.10 is not 1.1.
        return rebuilt(node, {key: words.as_text(each) for key, each in node.value.items()})
    if not isinstance(node.value, list):
        return node
    entries: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for item in node.value:
        if isinstance(item.value, dict | list) or not item.text:
            faults.add(item.place, f"expected KEY=VALUE, not {describe(_bare(item))}")
            continue
        key, equals, value = item.text.partition("=")
        if key in entries and entries[key].text != value:  # said twice alike is no mistake
            faults.warn(f"{item.place}: {key} is there twice; the last one counts")
        # A name alone has the value of the user's environment.
        entries[key] = Node(value if equals else None, item.place, value)
        keys[key] = item.place
    return rebuilt(node, dict(entries), keys)


def _bare(node: Node) -> object:
    return node.value if not isinstance(node.value, dict | list) else type(node.value)()


def _names(**defaults: str | bool) -> Change:
    """Return what makes a list of names a mapping from each name to the defaults (or to nothing)."""

    def change(node: Node, faults: Faults) -> Node:
        if not isinstance(node.value, list):
            return node
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for item in node.value:
            if not isinstance(item.value, str):
                faults.add(item.place, f"expected a name, not {describe(_bare(item))}")
                continue
            entries[item.value] = _entry(item, **defaults) if defaults else Node(None, item.place)
            keys[item.value] = item.place
        return rebuilt(node, entries, keys)

    return change


def _items(change: Callable[[Node, Faults], Iterable[Node]], kind: str, *, single: bool = False) -> Change:
    """Return what changes a list item by item, and keeps the last item of each identity.

    A `single` text may stand for a list of one.
    """

    def every(node: Node, faults: Faults) -> Node:
        items = [node] if single and isinstance(node.value, str) else node.value
        if not isinstance(items, list):
            return node
        long = [each for item in items for each in change(item, faults)]
        _twice(long, kind, faults)
        return unique(rebuilt(node, long), kind)

    return every


def _port(node: Node, faults: Faults) -> Iterable[Node]:
    # To Python a truth value is a number.
    if not isinstance(node.value, str | int) or isinstance(node.value, bool):
        return [node]
    masked, restore = _mask(node.text)
    # With a template the port is known for each replica only, and a range is divided among them.
    if not _MARKS.search(masked) and not is_spread(node.text):
        return [_long_port(node, port) for port in _attempt(node, faults, parse_port, node.text) or ()]
    match = _PORT.fullmatch(masked)
    if match is None:
        faults.add(
            node.place, f"invalid port mapping {node.text!r}", "The form is [IP:][HOST:]MACHINE[/tcp|udp]."
        )
        return []
    long = {
        "host_ip": (match["ip"] or ANY_ADDRESS).strip("[]"),  # Compose publishes on all addresses
        "target": restore(match["machine"]),
        "published": restore(match["host"] or ""),
        "protocol": match["protocol"] or "tcp",
    }
    return [_entry(node, **{key: value for key, value in long.items() if value})]


def _long_port(node: Node, port: PortMapping) -> Node:
    long: dict[str, str | int | bool] = {
        "host_ip": port.host_ip,
        "target": str(port.machine_port),
        "protocol": port.protocol,
    }
    if port.host_port:
        long["published"] = str(port.host_port)
    return _entry(node, **long)


def _volume(node: Node, faults: Faults) -> Iterable[Node]:
    if isinstance(node.value, dict):
        return _long_volume(node, faults)
    if not isinstance(node.value, str):
        return [node]
    masked, restore = _mask(node.value)
    # Any letter will do: the form is all that is looked at here.
    mount = _attempt(node, faults, parse_mount, _MARKS.sub("x", masked))
    if mount is None:
        return []
    if mount.host:
        faults.add(node.place, *host_fault(mount.source, mount.path))
        return []
    # A mark is one character, so places in the masked text are those of what was parsed.
    source = masked[: len(mount.source)]
    if _MARKS.search(masked.removeprefix(source)):
        faults.add(
            node.place, "a template is in the path of a volume", "Only the volume's name may have one."
        )
    long: dict[str, str | int | bool] = {"type": "volume", "target": mount.path, "read_only": mount.read_only}
    return [_entry(node, **({"source": restore(source)} if source else {}), **long)]


def _long_volume(node: Node, faults: Faults) -> Iterable[Node]:
    """Pass on a long form, unless it is of a directory of this computer."""
    kind, source, target = (node.get(key) for key in ("type", "source", "target"))
    path = source.text if source else ""
    if (kind is not None and kind.value == "bind") or (path and is_host_path(path)):
        faults.add(
            (source or kind or node).place, *host_fault(path or "a directory", target.text if target else "")
        )
        return []
    return [node]


def _mask(text: str) -> tuple[str, Callable[[str], str]]:
    """Replace each template by one character, and return what puts them back.

    A text that has such characters itself, or more templates than there are of these, stays as it is.
    """
    templates: list[str] = []
    if _MARKS.search(text) or len(TEMPLATE.findall(text)) > _LAST_MARK - _FIRST_MARK:
        return text, str

    def mark(match: re.Match[str]) -> str:
        templates.append(match[0])
        return chr(_FIRST_MARK + len(templates) - 1)

    return TEMPLATE.sub(mark, text), lambda part: _MARKS.sub(
        lambda match: templates[ord(match[0]) - _FIRST_MARK], part
    )


def _attempt(node: Node, faults: Faults, parse: Callable[[str], T], text: str) -> T | None:
    try:
        return parse(text)
    except StonewareError as error:
        faults.add(node.place, sentence(error), _OPTION.sub("", error.resolution))
        return None


def sentence(error: StonewareError) -> str:
    """Return what an error says, in one line."""
    return ": ".join(part.rstrip(".") for part in (error.brief, error.details) if part)


def _secret(node: Node, _faults: Faults) -> Iterable[Node]:
    if isinstance(node.value, str):
        return [_entry(node, source=node.value, target=node.value)]
    source, target, mode = node.get("source"), node.get("target"), node.get("mode")
    entries = _owned(node)
    keys = dict(node.keys)
    if source is not None and target is None:
        entries["target"] = source
        keys["target"] = source.place
    elif target is not None and isinstance(target.value, str):
        # The same file, whichever way it is written.
        entries["target"] = rebuilt(target, target.value.removeprefix(SECRETS))
    if mode is not None and isinstance(mode.value, int):
        entries["mode"] = rebuilt(
            mode, mode.text
        )  # 440 and 0440 are one number to YAML 1.2, and not to chmod
    return [rebuilt(node, entries, keys) if entries else node]


def _config(node: Node, _faults: Faults) -> Iterable[Node]:
    if isinstance(node.value, str):
        return [_entry(node, source=node.value, target=f"/{node.value}")]
    source, target, mode = node.get("source"), node.get("target"), node.get("mode")
    entries = _owned(node)
    keys = dict(node.keys)
    if source is not None and target is None:
        entries["target"] = rebuilt(source, f"/{source.text}")  # as in Compose
        keys["target"] = source.place
    if mode is not None and isinstance(mode.value, int):
        entries["mode"] = rebuilt(mode, mode.text)
    return [rebuilt(node, entries, keys) if entries else node]


def _owned(node: Node) -> dict[str, Node]:
    # Compose has these as texts, and people write numbers.
    return {key: words.as_text(each) if key in ("uid", "gid") else each for key, each in node.mapping.items()}


def _env_file(node: Node, _faults: Faults) -> Iterable[Node]:
    return [_entry(node, path=node.value) if isinstance(node.value, str) else node]


def _word(node: Node, _faults: Faults) -> Iterable[Node]:
    return [words.as_text(node)]


def _test(node: Node, _faults: Faults) -> Node:
    if not isinstance(node.value, str):
        return node
    # Compose takes every text for the shell, NONE too.
    return rebuilt(node, [Node("CMD-SHELL", node.place, "CMD-SHELL"), node])


def _health(node: Node, faults: Faults) -> Node:
    return _changed(node, {"test": _test}, faults)


def _build(node: Node, faults: Faults) -> Node:
    if isinstance(node.value, str):
        return _entry(node, context=node.value)
    secrets = _items(_secret, "secrets")
    return _changed(node, {"args": pairs, "labels": pairs, "secrets": secrets}, faults)


def _ulimit(node: Node, _faults: Faults) -> Node:
    if not isinstance(node.value, str | int) or isinstance(node.value, bool):
        return node
    return _entry(node, soft=node.value, hard=node.value)


def _labelled(node: Node, faults: Faults) -> Node:
    return _changed(node, {"labels": pairs}, faults)


def _top(node: Node, faults: Faults) -> Node:
    return _labelled(_external(node), faults)


def _external(node: Node) -> Node:
    """Write `external: {name: NAME}`, the form of old files, as `external: true` and `name`."""
    old = node.get("external")
    if old is None or not isinstance(old.value, dict):
        return node
    entries = {**node.mapping, "external": rebuilt(old, True)}
    keys = dict(node.keys)
    if (name := old.get("name")) is not None and "name" not in entries:
        entries["name"] = name
        keys["name"] = old.key_place("name")
    return rebuilt(node, entries, keys)


def _attachments(node: Node, faults: Faults) -> Node:
    named = _names()(node, faults)
    return _each(lambda each, _: _changed(each, {"aliases": _items(_word, "aliases")}, faults))(named, faults)


_IDENTITIES: Mapping[str, Mapping[str, str]] = {  # the entries, and what they are where they are not written
    "ports": {"host_ip": ANY_ADDRESS, "published": "", "target": "", "protocol": "tcp"},
    "volumes": {"target": ""},
    "secrets": {"target": ""},
    "configs": {"target": ""},
    "env_file": {"path": ""},
    "config": {"subnet": ""},  # of ipam
}


def _identity(node: Node, kind: str) -> str:
    """Return what tells one item of a list from another: some of its entries, or its text."""
    if not isinstance(node.value, dict):
        return f"\0\0{node.text}"  # no mapping's identity begins so
    entries = node.value
    known = _IDENTITIES.get(kind, {})
    return "\0".join(entries[key].text if key in entries else default for key, default in known.items())


def _twice(items: Iterable[Node], kind: str, faults: Faults) -> None:
    """Warn of items of one list that take each other's place and are not the same."""
    seen: dict[str, Node] = {}
    for item in items:
        other = seen.setdefault(_identity(item, kind), item)
        if isinstance(item.value, dict) and plain(other) != plain(item):
            what = (item.get("target") or item.get("path") or item).text
            faults.warn(f"{item.place}: {kind}: {what} is there twice; the last one counts")


def unique(node: Node, kind: str) -> Node:
    """Return a list in which of the items with one identity the last is kept, at the place of the first."""
    kept: dict[str, Node] = {}
    for item in node.items:
        kept[_identity(item, kind)] = item
    return rebuilt(node, list(kept.values()))


_SERVICE: Mapping[str, Change] = {
    "build": _build,
    "depends_on": _names(condition="service_started"),
    "deploy": _labelled,
    "env_file": _items(_env_file, "env_file", single=True),
    "environment": pairs,
    "expose": _items(_word, "expose"),
    "healthcheck": _health,
    "labels": pairs,
    "networks": _attachments,
    "ports": _items(_port, "ports"),
    "secrets": _items(_secret, "secrets"),
    "configs": _items(_config, "configs"),
    "command": words.command,
    "entrypoint": words.command,
    **dict.fromkeys(("user", "stop_signal", "container_name", "working_dir", "domainname"), words.scalar),
    "dns_search": words.texts,
    **dict.fromkeys(
        ("cap_add", "cap_drop", "group_add", "security_opt", "dns_opt", "profiles", "links"), words.listed
    ),
    "sysctls": pairs,
    "tmpfs": words.tmpfs,
    "extra_hosts": words.hosts,
    "ulimits": _each(_ulimit),
    "logging": lambda node, faults: _changed(node, {"options": pairs}, faults),
    "volumes": _items(_volume, "volumes"),
}


def _service(node: Node, faults: Faults) -> Node:
    return _changed(node, _SERVICE, faults)
