"""Getting through a firewall that drops what the host forwards (Docker's, ufw's), where nftables shows it.

An accept in our own table cannot overrule a drop in another's, so two rules with our mark go into each
chain that drops by policy. Where the firewall is not ours to change, machines have no way out.
"""

from __future__ import annotations

import json
import re
from typing import Any

from stoneware.process import ProcessError, run

_FAMILIES = {"ip", "inet"}


def dropping_chains(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (family, table, name) of the chains in `nft -j list chains` that drop forwarded packets."""
    found = []
    for item in document.get("nftables", ()):
        chain = item.get("chain", {})
        if (
            chain.get("family") in _FAMILIES
            and (chain.get("hook"), chain.get("policy")) == ("forward", "drop")
            and not str(chain.get("table")).startswith("stoneware-")
        ):
            found.append((str(chain["family"]), str(chain["table"]), str(chain["name"])))
    return found


def _chains() -> list[tuple[str, str, str]]:
    listed = run(["nft", "-j", "list", "chains"], check=False)
    try:
        return dropping_chains(json.loads(listed.stdout))
    except ValueError:
        return []


def _marked(family: str, table: str, chain: str, mark: str) -> list[str]:
    listed = run(["nft", "-a", "list", "chain", family, table, chain], check=False).stdout
    return re.findall(rf'comment "{re.escape(mark)}" # handle (\d+)', listed)


def open_forwarding(link: str, mark: str) -> bool:
    """Let packets of a link through the firewalls' chains; return False where one cannot be changed."""
    complete = True
    for chain in _chains():
        if _marked(*chain, mark):
            continue
        place = " ".join(chain)
        rules = "".join(
            f'insert rule {place} {way} "{link}" accept comment "{mark}"\n' for way in ("iifname", "oifname")
        )
        try:
            run(["nft", "-f", "-"], stdin=rules)
        except ProcessError:
            complete = False
    return complete


def close_forwarding(mark: str) -> None:
    """Remove the rules that `open_forwarding` made."""
    for chain in _chains():
        for handle in _marked(*chain, mark):
            run(["nft", "delete", "rule", *chain, "handle", handle], check=False)
