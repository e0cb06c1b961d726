"""What a machine asks for when it boots, in one answer: each request takes a processor some milliseconds.

Twenty machines that boot at once share these, and each asked five times. Compute Engine has no such path:
there the answer is 404, and the boot agent asks for one value after the other (guest/asking.sh).
"""

from __future__ import annotations

from stoneware.platforms.local.metadata import tree

_ATTRIBUTES = ("instance", "attributes")
# In this order, each on a line of its own.
_VALUES = (
    ("instance", "name"),
    ("instance", "hostname"),
    ("instance", "network-interfaces", "0", "ip"),
    ("instance", "network-interfaces", "0", "dns-servers"),
)


def answer(root: tree.Directory) -> bytes:
    """Return the ETag of the attributes, a machine's name, host name, address and name servers (a line each,
    empty where there is no such value), then its attributes as JSON; each as at its own path."""
    attributes = tree.find(root, _ATTRIBUTES) or tree.Directory(keep_keys=True)
    reply = tree.render(attributes, tree.Query(recursive=True))
    lines = [reply.etag, *(_line(tree.find(root, path)) for path in _VALUES)]
    return "\n".join(lines).encode("utf-8", "replace") + b"\n" + reply.body


def _line(node: tree.Node | None) -> str:
    if node is None:
        return ""
    return " ".join(tree.render(node, tree.Query()).body.decode().split())
