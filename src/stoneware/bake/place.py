"""Where a bake happens."""

from __future__ import annotations

from stoneware.bake.workdir import Leave
from stoneware.dataclass import dataclass
from stoneware.platforms.protocols import Images, Platform


@dataclass(frozen=True)
class Place:
    """A platform to run builders on and a store to keep images in.

    Without `leave` a bake removes its builder before it returns.
    """

    platform: Platform
    store: Images
    leave: Leave | None = None
