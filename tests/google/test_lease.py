"""A cluster's lock as an object: who may take it when, by a bucket in memory and a clock of the test's."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from stoneware.platforms.cluster_records import ClusterBusy, ClusterChanged
from stoneware.platforms.google.bucket import NEW, Bucket, Held
from stoneware.platforms.google.errors import ChangedError
from stoneware.platforms.google.lease import Lease, holder_of, seems_alive

pytestmark = pytest.mark.pure

LOCK = "clusters/shop/default.tflock"
ANN = {"host": "ci-7", "user": "ann", "since": "noon", "command": "stoneware down", "token": "hers", "pid": 7}


class OneObject:
    """A bucket with room for one object."""

    def __init__(self) -> None:
        self.held: Held | None = None
        self.generation = 0
        self.lost_replies = 0  # so many writes are made whose reply does not come

    def url(self, name: str) -> str:
        return f"gs://things/{name}"

    def read(self, name: str) -> Held | None:
        assert name == LOCK
        return self.held

    def write(self, name: str, data: bytes, *, generation: int | None = None) -> int:
        assert name == LOCK
        if generation is not None and generation != (self.held.generation if self.held else NEW):
            raise ChangedError("another generation", resolution="look")
        self.generation += 1
        self.held = Held(data, self.generation)
        if self.lost_replies:
            self.lost_replies -= 1
            raise ChangedError("sent again", resolution="look")
        return self.generation

    def remove(self, name: str, *, generation: int | None = None) -> bool:
        assert self.held is not None
        found = name == LOCK and generation == self.held.generation
        self.held = None if found else self.held
        return found

    def hold(self, **holder: Any) -> None:
        """Let somebody else have the lock."""
        self.generation += 1
        self.held = Held(json.dumps({"stoneware": holder}).encode(), self.generation)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bucket() -> OneObject:
    return OneObject()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease_of(bucket: OneObject, clock: Clock) -> Lease:
    return Lease(cast("Bucket", bucket), LOCK, "stoneware up", lease=40.0, renewed=1e6, clock=clock)


def test_a_free_lock_is_taken_named_and_given_back(bucket: OneObject, clock: Clock) -> None:
    lease = lease_of(bucket, clock)
    lease.acquire("shop", 0)
    assert bucket.held is not None
    assert holder_of(bucket.held)["command"] == "stoneware up"
    says = json.loads(bucket.held.data)
    assert says["Operation"] == "stoneware up"
    assert says["Path"] == f"gs://things/{LOCK}"
    lease.release()
    assert bucket.held is None


def test_a_write_whose_reply_was_lost_is_known_as_ones_own(bucket: OneObject, clock: Clock) -> None:
    bucket.lost_replies = 1
    lease = lease_of(bucket, clock)
    lease.acquire("shop", 0)
    lease.release()
    assert bucket.held is None


@pytest.mark.parametrize(
    ("holder", "details"),
    [
        (ANN, "It is ann's on ci-7, since noon. This computer"),
        ({"command": "stoneware down"}, " This computer"),  # whoever says little is not made up
    ],
)
def test_who_slept_learns_who_has_the_lock_before_the_next_write(
    bucket: OneObject, clock: Clock, holder: dict[str, Any], details: str
) -> None:
    lease = lease_of(bucket, clock)
    lease.acquire("shop", 0)
    lease.check()
    bucket.hold(**holder)
    clock.now += 20.0
    lease.check()  # it was renewed half a lease ago: nobody may have taken it yet
    clock.now += 0.5
    with pytest.raises(ClusterChanged, match="stoneware down has it") as told:
        lease.check()
    assert told.value.details.startswith(details)
    lease.release()
    assert bucket.held is not None, "the lock of whoever has it now stays"


def test_a_lock_that_is_gone_altogether_is_told(bucket: OneObject, clock: Clock) -> None:
    lease = lease_of(bucket, clock)
    lease.acquire("shop", 0)
    bucket.held = None
    clock.now += 30.0
    with pytest.raises(ClusterChanged, match="no command has it"):
        lease.check()
    lease.release()


def test_terraforms_own_lock_is_nobodys_to_take(bucket: OneObject, clock: Clock) -> None:
    lock = {"ID": "1", "Operation": "OperationTypeApply", "Who": "ann@laptop", "Created": "noon"}
    bucket.held = Held(json.dumps(lock).encode(), 5)
    with pytest.raises(ClusterBusy, match="OperationTypeApply"):
        lease_of(bucket, clock).acquire("shop", 0)
    assert holder_of(bucket.held)["host"] == "laptop"


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"nonsense", b"[" * 5000])
def test_what_is_no_lock_names_nobody(data: bytes) -> None:
    assert holder_of(Held(data, 1)) == {}


def test_who_seems_alive() -> None:
    assert seems_alive({"foreign": True}, 1e9)
    assert seems_alive({**ANN, "renewed": 100.0}, 144.0)
    assert not seems_alive({**ANN, "renewed": 100.0}, 145.0)
    assert not seems_alive({**ANN, "renewed": "later"}, 145.0)
