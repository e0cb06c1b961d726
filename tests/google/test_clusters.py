"""Clusters in a bucket that two computers work with: locks that are taken over, writes that are too late."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from stoneware.cluster.directory import ClusterDirectory
from stoneware.platforms.cluster_records import ClusterBusy, ClusterChanged, Document, identity
from stoneware.platforms.google import lease as leases
from stoneware.platforms.google.bucket import NEW, Bucket, Held
from stoneware.platforms.google.clusters import GoogleClusters, GoogleRecords
from stoneware.platforms.google.errors import ChangedError
from stoneware.platforms.google.lease import Lease
from stoneware.rollout.journal import Event, journal_of
from stoneware.rollout.lock import RolloutUnfinished, check_unlocked, read_lock, remove_lock, write_lock
from tests.google.emulated import bucket, cloud, document, endpoint, service, settings, store

__all__ = ["bucket", "cloud", "document", "endpoint", "service", "settings", "store"]
LOCK = "clusters/shop/default.tflock"
T = TypeVar("T")
SHORT = 1.5  # seconds of a lease


@pytest.fixture
def here(bucket: Bucket, tmp_path: Path) -> GoogleRecords:
    return GoogleClusters(bucket, tmp_path / "here", SHORT).of("shop")


@pytest.fixture
def there(bucket: Bucket, tmp_path: Path) -> GoogleRecords:
    return GoogleClusters(bucket.apart(), tmp_path / "there", SHORT).of("shop")


def away(bucket: Bucket, **changes: Any) -> None:
    """Let the lock be that of another computer, where nothing renews it."""
    held = bucket.read(LOCK)
    assert held is not None
    found = json.loads(held.data)
    found["stoneware"] |= {"host": "ci-7", "user": "runner", "token": "its own", **changes}
    bucket.write(LOCK, json.dumps(found).encode())


def abandoned(bucket: Bucket, **changes: Any) -> None:
    """Leave the lock of a driver on another computer that was killed."""
    lease = Lease(bucket.apart(), LOCK, "stoneware rollout", lease=99.0, renewed=50.0)
    lease.acquire("shop", 0)
    lease._ended.set()
    away(bucket, **changes)


def test_both_see_the_same_cluster(here: GoogleRecords, there: GoogleRecords) -> None:
    variables: dict[str, Any] = {"machines": {}, "networks": {}, "volumes": {}}
    with here.lock("stoneware up", 0):
        here.write(Document.DECLARED, variables)
        with pytest.raises(ClusterBusy, match="by stoneware up"), there.lock("stoneware down", 0):
            pass
    assert there.read(Document.DECLARED) == variables
    with there.lock("stoneware down", 0):
        there.clear()
    assert here.read(Document.DECLARED) is None


def test_what_terraform_is_told(here: GoogleRecords) -> None:
    assert here.backend() == {"gcs": {"bucket": "things", "prefix": "clusters/shop"}}


def test_a_lock_that_nobody_renews_is_taken_over(here: GoogleRecords, bucket: Bucket) -> None:
    abandoned(bucket, renewed=1.0)
    with here.lock("stoneware rollout resume", 0):
        held = bucket.read(LOCK)
        assert held is not None
        assert leases.is_this_process(leases.holder_of(held))
    assert bucket.read(LOCK) is None


def test_a_lock_that_seems_fresh_is_taken_over_by_who_waits_long_enough(
    here: GoogleRecords, bucket: Bucket
) -> None:
    abandoned(bucket, renewed=1e12)  # the other computer's clock is wrong
    with pytest.raises(ClusterBusy) as told, here.lock("stoneware up", 0):
        pass
    assert "of runner on ci-7" in told.value.details
    assert "--lock-timeout" in told.value.resolution
    with here.lock("stoneware up", 10):
        pass


def test_a_lock_that_is_renewed_is_never_taken_over(here: GoogleRecords, there: GoogleRecords) -> None:
    with (
        here.lock("stoneware rollout", 0),
        pytest.raises(ClusterBusy, match="stoneware rollout"),
        there.lock("stoneware up", 3 * SHORT),
    ):
        pass


@pytest.mark.parametrize("renewed", [1.0, 1e12])
def test_a_process_of_this_computer_that_is_gone(here: GoogleRecords, bucket: Bucket, renewed: float) -> None:
    lease = Lease(bucket.apart(), LOCK, "stoneware rollout", lease=99.0, renewed=50.0)
    lease.acquire("shop", 0)
    lease._ended.set()
    held = bucket.read(LOCK)
    assert held is not None
    found = json.loads(held.data)
    found["stoneware"] |= {"started": 5, "renewed": renewed}
    bucket.write(LOCK, json.dumps(found).encode())
    with here.lock("stoneware up", 0):
        pass


def test_terraforms_own_lock_is_respected(here: GoogleRecords, bucket: Bucket) -> None:
    lock = {"ID": "1", "Operation": "OperationTypeApply", "Who": "ann@laptop", "Created": "2026-01-01"}
    bucket.write(LOCK, json.dumps(lock).encode())
    with pytest.raises(ClusterBusy, match="OperationTypeApply") as told, here.lock("stoneware up", 2 * SHORT):
        pass
    assert "of ann on laptop" in told.value.details
    assert "gcloud storage rm gs://things/clusters/shop/default.tflock" in told.value.details
    bucket.write(LOCK, b"nonsense")
    with pytest.raises(ClusterBusy, match="another command"), here.lock("stoneware up", 0):
        pass


def test_who_was_asleep_changes_nothing(here: GoogleRecords, there: GoogleRecords, bucket: Bucket) -> None:
    directory = ClusterDirectory(here)
    with here.lock("stoneware rollout", 0):
        here.write(Document.ORIGIN, {"by": "here"})
        journal_of(directory).append(Event(1.0, "r1", "begin"))
        journal_of(directory).read()
        lease = here._held
        assert lease is not None
        lease._ended.set()  # nothing renews it any more
        away(bucket, renewed=1.0)
        with there.lock("stoneware rollout resume", 0):
            here._held = None  # not even its own look at the lock tells it
            here._known[Document.ORIGIN] = bucket.read("clusters/shop/cluster.json")
            there.write(Document.ORIGIN, {"by": "there"})
            journal_of(ClusterDirectory(there)).append(Event(2.0, "r1", "note"))
            with pytest.raises(ClusterChanged) as told:
                journal_of(directory).append(Event(2.0, "r1", "stopping"))
            assert "journal/r1/000002" in told.value.brief
            assert told.value.resolution.startswith("stoneware rollout status")
            here._held = lease
            lease._ended.clear()
            lease._fresh -= 60
            with pytest.raises(ClusterChanged, match="taken over") as told:
                here.write(Document.ORIGIN, {"by": "here again"})
            assert "stoneware rollout resume has it" in told.value.brief
            assert there.read(Document.ORIGIN) == {"by": "there"}
        assert bucket.read(LOCK) is None
    assert [event.name for event in journal_of(directory).read()] == ["begin", "note"]


def test_a_document_that_was_changed_meanwhile_is_not_overwritten(
    here: GoogleRecords, bucket: Bucket
) -> None:
    with here.lock("stoneware up", 0):
        here.write(Document.ORIGIN, {"by": "here"})
        bucket.write("clusters/shop/cluster.json", b'{"by": "somebody"}')
        for change in (lambda: here.write(Document.ORIGIN, {"a": 1}), lambda: here.remove(Document.ORIGIN)):
            here._known[Document.ORIGIN] = Held(b"{}", 1)
            with pytest.raises(ClusterChanged, match=r"gs://things/clusters/shop/cluster.json") as told:
                change()
            assert "Nothing was overwritten" in told.value.details
            assert "stoneware status" in told.value.resolution
        assert here.read(Document.ORIGIN) == {"by": "somebody"}


class Forgetful(Bucket):
    """A bucket whose first reply to a write is lost: the client sends the request again, and is refused."""

    def write(self, name: str, data: bytes, **options: Any) -> int:
        super().write(name, data, **options)
        raise ChangedError(f"cannot write {name}")


def test_replies_that_are_lost(bucket: Bucket, tmp_path: Path) -> None:
    forgetful = Forgetful(bucket._api, bucket.name)
    forgetful.apart = lambda: forgetful  # type: ignore[method-assign]
    records = GoogleClusters(forgetful, tmp_path).of("shop")
    directory = ClusterDirectory(records)
    with records.lock("stoneware up", 0):
        records.write(Document.ORIGIN, {"a": 1})
        records.write(Document.ORIGIN, {"a": 2})
        journal_of(directory).append(Event(1.0, "r1", "begin"))
        journal_of(directory).append(Event(2.0, "r1", "ended"))
    assert bucket.read(LOCK) is None
    assert records.read(Document.ORIGIN) == {"a": 2}
    assert [event.name for event in journal_of(directory).read()] == ["begin", "ended"]


def test_a_rollout_is_told_of_on_the_other_computer(
    here: GoogleRecords, there: GoogleRecords, bucket: Bucket
) -> None:
    mine, other = ClusterDirectory(here), ClusterDirectory(there)
    with here.lock("stoneware rollout", 0):
        write_lock(mine, "r1")
        journal_of(mine).append(Event(1.0, "r1", "begin"))
        mark = here.read(Document.DRIVER)
        assert mark is not None
        found = read_lock(other)
        assert found is not None
        assert found.alive
        assert "is at work" in found.sentence
        # As another computer's it lives for as long as it renews its lock.
        here.write(Document.DRIVER, {**mark, "host": "ci-7"})
        away(bucket)
        found = read_lock(other)
        assert found is not None
        assert (found.alive, found.host) == (True, "ci-7")
        away(bucket, renewed=1.0)
        found = read_lock(other)
        assert found is not None
        assert not found.alive
        with there.lock("stoneware up", 0), pytest.raises(RolloutUnfinished) as told:
            check_unlocked(other)
        assert "rollout resume" in told.value.resolution


def test_a_down_that_was_killed_is_known(here: GoogleRecords, bucket: Bucket) -> None:
    removed = bucket.remove

    def killed(name: str, **options: Any) -> bool:
        if name.endswith(str(Document.DECLARED)):
            raise KeyboardInterrupt
        return removed(name, **options)

    with here.lock("stoneware down", 0):
        here.write(Document.DECLARED, {"machines": {}, "networks": {}, "volumes": {}})
        here.write(Document.ORIGIN, {})
        bucket.remove = killed  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            here.clear()
        bucket.remove = removed  # type: ignore[method-assign]
    assert bucket.names("clusters/") == [f"clusters/shop/{Document.DECLARED}"]
    with here.lock("stoneware down", 0):
        here.clear()
    assert bucket.names("clusters/") == []


class Killed(BaseException):
    """The process is killed here."""


class Mortal(Bucket):
    """A bucket in which the process is killed after one of its requests that change something."""

    def __init__(self, bucket: Bucket, requests: int) -> None:
        super().__init__(bucket._api, bucket.name)
        self._left = requests

    def apart(self) -> Bucket:
        return self

    def write(self, name: str, data: bytes, **options: Any) -> int:
        return self._asked(lambda: super(Mortal, self).write(name, data, **options))

    def remove(self, name: str, **options: Any) -> bool:
        return self._asked(lambda: super(Mortal, self).remove(name, **options))

    def _asked(self, request: Callable[[], T]) -> T:
        if self._left <= 0:
            raise Killed  # nor does it clean up
        self._left -= 1
        done = request()
        if not self._left:
            raise Killed
        return done


def _life(records: GoogleRecords) -> None:
    """Do with a cluster what commands do: bring it up, roll it out, take it down."""
    directory = ClusterDirectory(records)
    with directory.lock("stoneware up", timeout=60):
        directory.keep_origin({"file": "machines.yaml"})
        directory.declare({"machines": {}, "networks": {}, "volumes": {}})
    with directory.lock("stoneware rollout"):
        write_lock(directory, "r1")
        for name in ("begin", "stopping", "ended"):
            journal_of(directory).append(Event(1.0, "r1", name))
        remove_lock(directory)
    with directory.lock("stoneware down"):
        directory.remove()


def test_a_kill_after_any_request_is_followed_by_others(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(1, 99):
        mortal = Mortal(bucket, number)
        try:
            _life(GoogleClusters(mortal, tmp_path / "here", 60.0).of("shop"))
        except Killed:
            if bucket.read(LOCK) is not None:
                away(bucket, host=identity()["host"], started=5, renewed=1.0)  # a process that is gone
        else:
            assert number > 12
            return
        _life(GoogleClusters(bucket.apart(), tmp_path / "there", 60.0).of("shop"))
        assert bucket.names("clusters/") == []
    pytest.fail("it never ended")


def test_two_that_come_at_once(bucket: Bucket, tmp_path: Path) -> None:
    begun = threading.Barrier(4)
    at_work: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        records = GoogleClusters(bucket.apart(), tmp_path / str(number), 30.0).of("shop")
        begun.wait(300)
        with records.lock("stoneware up", 30):
            at_work.append(number)
            most.append(len(at_work))
            at_work.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert most == [1] * 4
    assert bucket.read(LOCK) is None
    assert bucket.write(LOCK, b"x", generation=NEW)
