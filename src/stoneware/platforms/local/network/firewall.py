"""What the host forwards: switching that on without opening it, and getting through firewalls that are shut.

A computer that forwards nothing becomes a router between all of its links when forwarding is switched on.
Where we do that, what no rule lets through is dropped from then on, as Docker does it: by the policy of the
chain FORWARD that iptables, Docker, libvirt and others put their rules into. Where forwarding
was on before, the operator decides: then nothing is changed.

An accept in our own table cannot overrule a drop in another's, so two rules with our mark go into each
chain that drops by policy (that one, Docker's, ufw's), where nftables shows it. Where the firewall is not
ours to change, machines have no way out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from stoneware.files import locked, write_atomic
from stoneware.platforms.local.network import namespace as network_namespace
from stoneware.process import ProcessError, run

_FAMILIES = {"ip", "inet"}
_SWITCH = Path("/proc/sys/net/ipv4/ip_forward")
# There once we have switched it on; ends with the boot, as the setting does.
_OURS = "forwarding-by-stoneware"
_SHUT = """
add table ip filter
add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
"""


def switch_on(runtime: Path) -> None:
    """Let the host forward; where it did not before, only what a rule lets through. Raises ProcessError.

    `runtime` is the directory under /run that all stores share. A chain that is opened by hand stays open.
    """
    with locked(runtime / "forwarding.lock"):
        if _SWITCH.read_text().strip() != "1":
            run(["nft", "-f", "-"], stdin=_SHUT)  # first: there is no moment at which all is forwarded
            write_atomic(runtime / _OURS, "")
            _SWITCH.write_text("1")
        elif not shut(runtime):
            run(["nft", "-f", "-"], stdin=_SHUT)


def shut(runtime: Path) -> bool:
    """Say whether what is not let through is dropped, or was forwarded before us; starts no program."""
    return not (runtime / _OURS).exists() or network_namespace.has_table("ip", "filter")


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
        # In front: the chain may reject by a rule before it drops by its policy.
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
