"""What is kept of clusters: the same tests on files of this computer and on objects of a bucket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster.directory import ClusterDirectory
from stoneware.platforms.cluster_files import FileClusters
from stoneware.platforms.cluster_records import ClusterBusy, Clusters, Document, identity, is_gone
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.clusters import GoogleClusters
from stoneware.records import DamagedError
from stoneware.rollout.control import RecordControl, put_request
from stoneware.rollout.journal import Event, Journal, journal_of
from stoneware.rollout.lock import check_unlocked, read_lock, write_lock
from tests.google.emulated import bucket, cloud, document, endpoint, service, settings, store

__all__ = ["bucket", "cloud", "document", "endpoint", "service", "settings", "store"]
DECLARED: dict[str, Any] = {"machines": {"a-1": {"source": "image:1"}}, "networks": {}, "volumes": {}}


@pytest.fixture(params=["files", "objects"])
def clusters(request: pytest.FixtureRequest, tmp_path: Path) -> Clusters:
    if request.param == "files":
        return FileClusters(tmp_path / "clusters")
    held: Bucket = request.getfixturevalue("bucket")
    return GoogleClusters(held, tmp_path / "home")


def test_a_cluster_from_its_beginning_to_its_end(clusters: Clusters) -> None:
    directory = ClusterDirectory(clusters.of("shop"))
    assert (clusters.names(), directory.exists(), directory.variables()) == ([], False, None)
    with directory.lock("stoneware up"):
        assert directory.name == "shop"
        directory.declare(DECLARED)
        directory.keep_origin({"file": "/x/machines.yaml"})
        assert (
            json.loads((directory.path / Document.DECLARED).read_text()) == DECLARED
        )  # as Terraform reads it
    assert (clusters.names(), directory.exists()) == (["shop"], True)
    assert directory.variables() == DECLARED
    assert directory.origin() == {"file": "/x/machines.yaml"}
    assert directory.managed() == frozenset()
    with directory.lock("stoneware down"):
        journal_of(directory).append(Event(1.0, "r1", "begin"))
        directory.remove()
        assert not directory.exists()
    assert (clusters.names(), journal_of(directory).read()) == ([], [])
    assert not directory.path.exists()


def test_documents_have_versions(clusters: Clusters) -> None:
    records = clusters.of("shop")
    with records.lock("stoneware up", 0):
        assert records.version(Document.ORIGIN) == ""
        records.write(Document.ORIGIN, {"a": 1})
        first = records.version(Document.ORIGIN)
        records.write(Document.ORIGIN, {"a": 2})
        assert records.version(Document.ORIGIN) not in ("", first)
        assert records.read(Document.ORIGIN) == {"a": 2}
        records.remove(Document.ORIGIN)
        records.remove(Document.ORIGIN)
        assert records.read(Document.ORIGIN) is None


def test_one_holds_the_lock_and_the_others_learn_who(clusters: Clusters) -> None:
    records = clusters.of("shop")
    with records.lock("stoneware up", 0):
        with pytest.raises(ClusterBusy) as told, records.lock("stoneware down", 0):
            pass
        assert told.value.brief == "the cluster shop is being changed by stoneware up"
        assert f"process {identity()['pid']} of" in told.value.details
        assert "since 20" in told.value.details
    with records.lock("stoneware down", 0):
        pass


def test_the_journal_keeps_its_order(clusters: Clusters) -> None:
    directory = ClusterDirectory(clusters.of("shop"))
    events = [Event(float(n), f"r{n // 3 + 8}", f"e{n}", {"text": "ü\n" * n * 300}) for n in range(9)]
    with directory.lock("stoneware rollout"):
        for event in events:
            journal_of(directory).append(event)
    assert journal_of(directory).read() == events
    assert journal_of(directory).of("r10") == events[6:]
    with directory.lock("stoneware rollout"):
        Journal(directory.records.log).append(Event(9.0, "r10", "again"))
    assert [event.name for event in journal_of(directory).read()] == [*(e.name for e in events), "again"]


def test_the_driver_of_a_rollout(clusters: Clusters) -> None:
    directory = ClusterDirectory(clusters.of("shop"))
    with directory.lock("stoneware rollout"):
        write_lock(directory, "r1")
        found = read_lock(directory)
        assert found is not None
        assert found.alive
        assert (found.rollout, found.pid) == ("r1", identity()["pid"])
        mark = directory.records.read(Document.DRIVER)
        assert mark is not None
        directory.records.write(Document.DRIVER, {**mark, "pid": 1 << 22})
        found = read_lock(directory)
        assert found is not None
        assert not found.alive
        check_unlocked(directory)  # it has no journal, so it never began
        assert read_lock(directory) is None


def test_a_request_is_taken_once(clusters: Clusters) -> None:
    directory = ClusterDirectory(clusters.of("shop"))
    with directory.lock("stoneware rollout"):
        control = RecordControl(directory, "r1")
        assert control.request() == ""
        put_request(directory, "r1", "pause", "me")
        control._next_look = 0
        assert (control.request(), control.asker()) == ("pause", "me")
        control._next_look = 0
        assert control.request() == ""
        put_request(directory, "r1", "abort", "me")
        control.forget()
        control._next_look = 0
        assert control.request() == ""


def test_a_state_that_cannot_be_read_is_put_aside(clusters: Clusters, request: pytest.FixtureRequest) -> None:
    records = clusters.of("shop")
    with records.lock("stoneware up", 0):
        assert records.state() == b""
        if isinstance(clusters, GoogleClusters):
            request.getfixturevalue("bucket").write("clusters/shop/default.tfstate", b"{ torn")
        else:
            (records.work / "terraform.tfstate").write_bytes(b"{ torn")
        assert records.state() == b"{ torn"
        assert records.set_state_aside().endswith("tfstate.damaged")
        assert records.state() == b""


def test_a_document_that_is_damaged_is_named(clusters: Clusters, request: pytest.FixtureRequest) -> None:
    records = clusters.of("shop")
    with records.lock("stoneware up", 0):
        records.write(Document.DECLARED, DECLARED)
    if isinstance(clusters, GoogleClusters):
        request.getfixturevalue("bucket").write(f"clusters/shop/{Document.DECLARED}", b'{"machines": 3}')
    else:
        (records.work / Document.DECLARED).write_text('{"machines": 3}')
    with pytest.raises(DamagedError) as told:
        records.read(Document.DECLARED)
    assert records.place(Document.DECLARED) in told.value.brief
    assert told.value.resolution.startswith("stoneware up")


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({}, False),
        ({"started": 5}, True),
        ({"pid": 1 << 30}, True),
        ({"pid": "7"}, True),
        ({"boot": "another"}, True),
        ({"host": "elsewhere"}, None),
        ({"namespace": 7}, None),
    ],
)
def test_which_process_is_seen_to_be_gone(changes: dict[str, Any], gone: bool | None) -> None:
    assert is_gone({**identity(), **changes}) is gone
