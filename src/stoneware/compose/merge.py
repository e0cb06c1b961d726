"""Several cluster files as one, by Compose's rules; on trees in their long forms (see `canonical`)."""

from __future__ import annotations

from stoneware.compose.canonical import unique
from stoneware.compose.faults import Faults
from stoneware.compose.nodes import OVERRIDE, RESET, Node, describe, rebuilt

# Lists of a service whose items have an identity, and what is replaced and not merged.
_UNIQUE = {"ports", "volumes", "secrets", "configs", "env_file", "expose"}
_REPLACED = {("healthcheck", "test"), ("command",), ("entrypoint",)}
# Mappings of KEY=VALUE, where a key without a value is a value too.
_PAIRS = {
    ("environment",),
    ("labels",),
    ("sysctls",),
    ("tmpfs",),
    ("deploy", "labels"),
    ("build", "args"),
    ("build", "labels"),
}


def merge(base: Node, other: Node, faults: Faults, path: tuple[str, ...] = ()) -> Node:
    """Return `base` with `other` laid over it: mappings merge, lists are joined, scalars are replaced.

    `!reset` removes what the base has, `!override` takes its place, and nothing (null) leaves it.
    """
    # Compose replaces some lists (command, entrypoint, test) as a whole.
    if other.directive == OVERRIDE or (path[2:] in _REPLACED and path[0] == "services"):
        return other
    if other.value is None or base.value is None:
        return base if other.value is None else other
    if isinstance(base.value, dict) and isinstance(other.value, dict):
        return _mappings(base, other, faults, path)
    if isinstance(base.value, list) and isinstance(other.value, list):
        joined = rebuilt(other, [*base.value, *other.value])
        kind = path[-1] if path else ""
        listed = path[:1] == ("services",) and (
            path[2:] in {(each,) for each in _UNIQUE} or kind == "aliases"
        )
        listed = listed or (path[:1] == ("networks",) and path[2:] == ("ipam", "config"))
        return unique(joined, kind) if listed else joined
    if isinstance(base.value, dict | list) or isinstance(other.value, dict | list):
        faults.add(
            other.place,
            f"{'.'.join(path) or 'file'}: {_kind(other)} cannot be merged into {_kind(base)} ({base.place})",
            f"Write both in one form, or {OVERRIDE} before the later one.",
        )
        return base
    return other


def _kind(node: Node) -> str:
    return describe(node.value if not isinstance(node.value, dict | list) else type(node.value)())


def _mappings(base: Node, other: Node, faults: Faults, path: tuple[str, ...]) -> Node:
    merged, keys = dict(base.mapping), dict(base.keys)
    paired = path[:1] == ("services",) and path[2:] in _PAIRS
    for key, value in other.mapping.items():
        if value.directive == RESET:
            merged.pop(key, None)
            keys.pop(key, None)
            continue
        known = merged.get(key)
        # Pairs such as labels: the later file's value replaces, and there is nothing to merge.
        merged[key] = value if known is None or paired else merge(known, value, faults, (*path, key))
        if merged[key] is not known:
            keys[key] = other.key_place(key)
    return rebuilt(base, merged, keys)


def without_resets(node: Node) -> Node:
    """Return a first file's tree: there is nothing yet that `!reset` could remove."""
    if isinstance(node.value, dict):
        kept = {key: without_resets(each) for key, each in node.value.items() if each.directive != RESET}
        return rebuilt(node, kept)
    return node
