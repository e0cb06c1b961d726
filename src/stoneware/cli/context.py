"""Where the commands get the store and the platform from; tests put fakes in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoneware.cli.output import say

if TYPE_CHECKING:
    from stoneware.platforms.local.platform import LocalPlatform
    from stoneware.platforms.local.store.images import LocalImageStore


def open_store(*, create: bool = True) -> LocalImageStore:
    """Open the store of STONEWARE_HOME, making it where there is none and `create` is set."""
    from stoneware.platforms.local.store.images import LocalImageStore

    store = LocalImageStore.open(create=create)
    for sentence in store.told:
        say(sentence)
    return store


def open_platform(store: LocalImageStore | None = None) -> LocalPlatform:
    """Return the local platform over the store, once what killed commands left there is removed."""
    from stoneware.bake import workdir as workspace
    from stoneware.platforms.local.platform import LocalPlatform
    from stoneware.platforms.local.store.recover import recover

    found = store if store is not None else open_store()
    platform = LocalPlatform(found)
    # Builders first, by the Terraform that made them.
    for sentence in [*workspace.recover(found, platform), *recover(found)]:
        say(sentence)
    return platform
