"""Names that machines on a network know besides those of each other."""

from __future__ import annotations

from stoneware.platforms.local.network import servers
from stoneware.platforms.local.network.layout import StorePaths, layout_of
from stoneware.platforms.local.network.state import exclusive
from stoneware.platforms.local.network.views import Views, Zones


def name(store: StorePaths, network: str, zones: Zones) -> None:
    """Let the machines on a network know these names: those that are on it, and those to come.

    Until the next boot of this computer, whether the store has a router or not.
    """
    layout = layout_of(store)
    with exclusive(layout):
        for view in Views(layout.runtime).name(network, zones):
            # Told, since a server may not see by itself what has gone from a file.
            servers.resolver(layout, view.key).reload()
