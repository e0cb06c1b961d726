"""What every test shares: unmarked tests are `pure`; machine tests share one store."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st
from xdist.scheduler import LoadScopeScheduling

from stoneware.scratch import remove_left, scratch_directory
from tests import commands, processors, stores

if TYPE_CHECKING:
    from bench.kafka_cluster import KafkaCluster

# A shell starts what runs in its background with SIGINT ignored, and that is inherited: tests that send it
# to a program would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the same of nohup

# How long an example takes says how busy this computer is.
hypothesis.settings.register_profile("any-computer", deadline=None)
hypothesis.settings.load_profile("any-computer")

TIERS = {"pure", "tool", "machine"}
# Suites whose machines publish the same ports of the host, or use the same large images; the longest first.
# The first two share a cluster of brokers as well, which the second of them takes down.
SHARING = {
    "tests/examples/test_kafka": "kafka",
    "tests/rollout/test_kafka_rollout.py": "kafka",
    "tests/google/test_kafka.py": "kafka",
    "tests/examples/test_disk": "disks",
    "tests/examples/test_mixed_cluster.py": "disks",
    "tests/examples/": "examples",
    "tests/docs/": "examples",
    "tests/provider/test_machines.py": "examples",
}
# What tests run with (`make test-lowest` gives way), and how far those of groups go before it.
PRIORITY = os.getpriority(os.PRIO_PROCESS, 0)
AHEAD = 5
GROUPS = [*dict.fromkeys(SHARING.values()), ""]
# Of the others this goes first: it is long, and needs no base, which the first of the groups make meanwhile.
FIRST = "tests/google/test_kills.py"
# Long ones without machines: at the end one process would have them while the others have nothing.
LONG = (
    "tests/rollout/test_sessions.py",
    "tests/rollout/test_session_releases.py",
    "tests/google/",
    "tests/guest/test_build.py",
    "tests/guest/test_seal.py",
    "tests/cluster/test_engine.py",
    "tests/cluster/test_engine_down.py",
    "tests/cluster/test_engine_repairs.py",
    "tests/setup/test_lasting.py",
)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the groups go before other tests and what those start: in turn they take longest of all."""
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY - (AHEAD if _sharing(item.nodeid) else 0))


def pytest_runtest_teardown() -> None:
    """Take SIGINT again: a command that a test has run in this process ignores it from its end on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name cases by no bytes: an archive has the time of its making in it, and each process makes its own."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its tier; what takes long comes first."""
    for item in items:
        if not TIERS & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.pure)
    items.sort(key=_order)


def _sharing(nodeid: str) -> str:
    return next((name for prefix, name in SHARING.items() if nodeid.startswith(prefix)), "")


def _order(item: pytest.Item) -> tuple[int, int, int]:
    group = GROUPS.index(_sharing(item.nodeid))
    place = next((n for n, prefix in enumerate(SHARING) if item.nodeid.startswith(prefix)), 0)
    return group, _rank(item), place


def _rank(item: pytest.Item) -> int:
    if item.nodeid.startswith(FIRST):
        return 0
    if item.get_closest_marker("machine"):
        return 1
    return 2 if item.nodeid.startswith(LONG) else 3


class Files(LoadScopeScheduling):
    """Gives each file to one of the processes that run tests (`-n`), and those that share to the same."""

    def _split_scope(self, nodeid: str) -> str:
        return _sharing(nodeid) or nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` for a debugger
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files:
    """Return who decides which process runs what."""
    return Files(config, log)


def pytest_collection_finish() -> None:
    """Let collections of garbage leave out all tests and modules: a sixth of the time of pure tests."""
    # Older versions of hypothesis look for what refers to their random numbers when a first test takes them,
    # find nothing that is frozen, and warn. So that is now.
    hypothesis.settings(max_examples=1, database=None)(hypothesis.given(st.none())(lambda _: None))()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000)


def pytest_configure(config: pytest.Config) -> None:
    """Have a directory that all processes of a run know: it is this process's, and inherited."""
    gc.disable()  # until the tests are collected
    if not hasattr(config, "workerinput"):
        # What a run that was killed has left, goes first: its stores have mounts and machines.
        remove_left(Path(tempfile.gettempdir()), stores.KIND, stores.remove_left)
        held = contextlib.ExitStack()
        os.environ[stores.RUN] = str(held.enter_context(scratch_directory(stores.KIND)))
        held.enter_context(processors.for_machines())
        config.add_cleanup(held.close)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the stores of processes that were ended before they could, as by Ctrl-C."""
    if not hasattr(config, "workerinput"):
        stores.remove_left(Path(os.environ[stores.RUN]))


@pytest.fixture(scope="session")
def machine_home() -> Iterator[Path]:
    """A store with the base debian:12 in it, for all machine tests of a process; it is gone at the end.

    STONEWARE_TEST_HOME names one to keep between runs while developing.
    """
    if os.geteuid() != 0:
        pytest.skip("machines need root")
    kept = os.environ.get("STONEWARE_TEST_HOME")
    own = f"-{worker}" if (worker := os.environ.get("PYTEST_XDIST_WORKER")) else ""
    with stores.store_of_run(Path(kept + own) if kept else None) as home:
        yield home


@pytest.fixture(scope="session")
def kafka_cluster(machine_home: Path) -> Iterator[KafkaCluster]:
    """The example's three brokers, with the older version; tests leave them healthy."""
    from bench.kafka_cluster import OLD, QUICK, KafkaCluster

    made = KafkaCluster(machine_home, {"MONITOR": "2s", **QUICK}, program=commands.run_in)
    try:
        made.run("up", "--yes", version=OLD)
        yield made
    finally:
        made.run("rollout", "abort", check=False)
        made.run("down", "--volumes", "--yes", check=False)


@pytest.fixture(autouse=True)
def _no_hints_of_others() -> Iterator[None]:
    """Forget what a test's command was given: hints of the next test in this process would repeat it."""
    yield
    if hints := sys.modules.get("stoneware.ui.hints"):
        hints.remember(hints.ClusterFlags())
        hints.remember_platform("")
