"""What every test shares: unmarked tests are `pure`; machine tests share one store."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A shell starts what runs in its background with SIGINT ignored, and that is inherited: tests that send it
# to a program would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy this computer is.
hypothesis.settings.register_profile("any-computer", deadline=None)
hypothesis.settings.load_profile("any-computer")

TIERS = {"pure", "tool", "machine"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not TIERS & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.pure)


@pytest.fixture(scope="session")
def machine_home() -> Iterator[Path]:
    """A store with the base debian:12 in it, for all machine tests; everything of it is gone at the end.

    STONEWARE_TEST_HOME names one to keep between runs while developing.
    """
    from stoneware.local.imagestore import LocalImageStore
    from stoneware.local.recover import teardown

    if os.geteuid() != 0:
        pytest.skip("machines need root")
    kept = os.environ.get("STONEWARE_TEST_HOME")
    home = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="stoneware-test-", dir="/var/tmp"))
    store = LocalImageStore.open(home)
    try:
        store.ensure_base("debian:12", refresh=False, progress=lambda _: None)
        yield home
    finally:
        if not kept:
            teardown(store, remove=True)
