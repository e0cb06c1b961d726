"""Short forms of what a service runs and of its system, written out: words, pairs, host names."""

from __future__ import annotations

import shlex

from stoneware.compose.faults import Faults
from stoneware.compose.model import Place
from stoneware.compose.nodes import Node, describe, plain, rebuilt


def as_text(node: Node) -> Node:
    """Return a number or a truth value as it is written."""
    return rebuilt(node, node.text) if isinstance(node.value, int | float) else node


def texts(node: Node, _faults: Faults) -> Node:
    """Return a list, or one value alone as a list, of texts."""
    if isinstance(node.value, dict) or node.value is None:
        return node
    items = node.value if isinstance(node.value, list) else [node]
    return rebuilt(node, [as_text(each) for each in items])


def listed(node: Node, faults: Faults) -> Node:
    """Return a list of texts; one value alone is none, as in Compose."""
    return texts(node, faults) if isinstance(node.value, list) else node


def scalar(node: Node, _faults: Faults) -> Node:
    """Return a number as the text that it is written as."""
    return as_text(node)


def command(node: Node, faults: Faults) -> Node:
    """Return a command as its words: a text is cut as a shell would cut it, and nothing else of a shell."""
    if isinstance(node.value, list | dict):
        return texts(node, faults)
    try:
        words = shlex.split(node.text)
    except ValueError:
        faults.add(node.place, f"a quote in {node.text!r} has no end", "Write a list: [program, argument].")
        words = []
    return rebuilt(node, [Node(word, node.place, word) for word in words])


def hosts(node: Node, faults: Faults) -> Node:
    """Return `extra_hosts` as a list of NAME=ADDRESS."""
    if isinstance(node.value, dict):
        found = [
            _host(name, each, node.key_place(name))
            for name, given in node.value.items()
            for each in (given.items if isinstance(given.value, list) else [given])
        ]
        return rebuilt(node, list(found))
    if not isinstance(node.value, list):
        return node
    items = []
    for each in node.value:
        if not isinstance(each.value, str):
            faults.add(each.place, f"expected NAME=ADDRESS, not {describe(plain(each))}")
            continue
        colon, equals = each.value.find(":"), each.value.find("=")
        # The first of the two signs counts: an address of IPv6 has colons as well.
        cut = equals if equals >= 0 and (colon < 0 or equals < colon) else colon
        if cut < 0:
            faults.add(each.place, f"{each.value!r} names no address", "Write NAME=ADDRESS.")
            continue
        items.append(_host(each.value[:cut], rebuilt(each, each.value[cut + 1 :]), each.place))
    return rebuilt(node, list(items))


def _host(name: str, address: Node, place: Place) -> Node:
    text = f"{name.strip()}={address.text.strip().strip('[]')}"
    return Node(text, place, text)


def tmpfs(node: Node, faults: Faults) -> Node:
    """Return `tmpfs` as a mapping from each path to its mount options."""
    listed = texts(node, faults)
    if not isinstance(listed.value, list):
        return node
    entries: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for each in listed.value:
        if not isinstance(each.value, str):
            faults.add(each.place, "expected a path")
            continue
        path, _, options = each.value.partition(":")
        entries[path] = Node(options, each.place, options)
        keys[path] = each.place
    return rebuilt(node, dict(entries), keys)
