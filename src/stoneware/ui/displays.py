"""The display that fits `--progress` and the stream: plain lines, JSON, nothing, or the live view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from stoneware.ui.progress import JsonLines, Lines, Style, choose_display

if TYPE_CHECKING:
    from stoneware.ui.cluster import ClusterDisplay
    from stoneware.ui.rollout import RolloutDisplay


def make_cluster_display(style: Style, stream: TextIO) -> ClusterDisplay:
    """Return the display of what is done with a cluster."""
    from stoneware.ui.cluster import PlainDisplay

    def live() -> Callable[[TextIO], ClusterDisplay]:
        from stoneware.ui.cluster_live import ClusterLiveView  # rich is loaded for this view alone

        return ClusterLiveView

    return choose_display(style, stream, live=live, json=JsonLines, plain=PlainDisplay, quiet=Lines)


def make_rollout_display(style: Style, stream: TextIO) -> RolloutDisplay:
    """Return the display of a rollout."""
    from stoneware.ui.rollout import JsonRollout, PlainRollout, QuietRollout

    def live() -> Callable[[TextIO], RolloutDisplay]:
        from stoneware.ui.rollout_live import RolloutLiveView

        return RolloutLiveView

    return choose_display(style, stream, live=live, json=JsonRollout, plain=PlainRollout, quiet=QuietRollout)
