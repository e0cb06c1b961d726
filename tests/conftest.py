"""What every test shares: unmarked tests are `pure`; machine tests share one store."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import stores

# A shell starts what runs in its background with SIGINT ignored, and that is inherited: tests that send it
# to a program would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy this computer is.
hypothesis.settings.register_profile("any-computer", deadline=None)
hypothesis.settings.load_profile("any-computer")

TIERS = {"pure", "tool", "machine"}
# Suites whose machines publish the same ports of the host, and use the same large images.
SHARING = ("tests/examples/", "tests/docs/", "tests/rollout/test_kafka_rollout.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its tier, and each file to one of the processes that run tests; what takes long comes first."""
    for item in items:
        if not TIERS & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.pure)
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("sharing" if file.startswith(SHARING) else file))
    items.sort(key=_order)


def _order(item: pytest.Item) -> tuple[bool, bool]:
    sharing = next(item.iter_markers("xdist_group")).args == ("sharing",)
    return not sharing, item.get_closest_marker("machine") is None


@pytest.fixture(scope="session")
def machine_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """A store with the base debian:12 in it, for all machine tests of a process; everything of it is gone at the end.

    STONEWARE_TEST_HOME names one to keep between runs while developing.
    """
    from stoneware.local.imagestore import LocalImageStore
    from stoneware.local.recover import teardown

    if os.geteuid() != 0:
        pytest.skip("machines need root")
    kept = os.environ.get("STONEWARE_TEST_HOME")
    own = "" if worker_id == "master" else f"-{worker_id}"
    home = Path(kept + own if kept else tempfile.mkdtemp(prefix="stoneware-test-", dir="/var/tmp"))
    store = LocalImageStore.open(home)
    try:
        stores.have_base(store, shared=tmp_path_factory.getbasetemp().parent)
        yield home
    finally:
        if not kept:
            teardown(store, remove=True)
