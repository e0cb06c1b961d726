from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.errors import StonewareError
from stoneware.platforms.google import errors
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import NEW, Bucket
from tests.google.emulated import bucket, cloud, document, endpoint, service, settings, store

__all__ = ["bucket", "cloud", "document", "endpoint", "service", "settings", "store"]
pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]


def test_a_document_is_written_only_as_it_was_read(bucket: Bucket) -> None:
    assert bucket.document("locks/kafka.json") == (None, NEW)
    first = bucket.put_document("locks/kafka.json", {"holder": "a"}, generation=NEW)
    with pytest.raises(errors.ChangedError):
        bucket.put_document("locks/kafka.json", {"holder": "b"}, generation=NEW)
    found, generation = bucket.document("locks/kafka.json")
    assert (found, generation) == ({"holder": "a"}, first)
    second = bucket.put_document("locks/kafka.json", {"holder": "b"}, generation=generation)
    assert second != first
    with pytest.raises(errors.ChangedError):
        bucket.put_document("locks/kafka.json", {"holder": "c"}, generation=first)
    with pytest.raises(errors.ChangedError):
        bucket.remove("locks/kafka.json", generation=first)
    assert bucket.remove("locks/kafka.json", generation=second)
    assert not bucket.remove("locks/kafka.json")
    assert bucket.read("locks/kafka.json") is None


def test_names_are_listed_by_prefix(bucket: Bucket) -> None:
    for name in ("a/2", "a/1", "b/1", "a/päth & more"):
        bucket.write(name, b"")
    assert bucket.names("a/") == ["a/1", "a/2", "a/päth & more"]
    assert bucket.has("a/päth & more")
    assert not bucket.has("a/3")
    held = bucket.read("a/1")
    assert held is not None
    assert held.data == b""


def test_files_are_sent_and_fetched(bucket: Bucket, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(17 << 20))  # more than one piece
    bucket.upload("bundles/b.tar", source)
    assert bucket.download("bundles/b.tar", copy)
    assert copy.read_bytes() == source.read_bytes()
    assert not bucket.download("bundles/none.tar", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 5000])
def test_damaged_documents_are_told(bucket: Bucket, data: bytes) -> None:
    bucket.write("tags/x.json", data)
    with pytest.raises(StonewareError, match=r"gs://things/tags/x\.json is damaged"):
        bucket.document("tags/x.json")


def test_a_bucket_that_is_not_there_is_told(cloud: Api, tmp_path: Path) -> None:
    other = Bucket(cloud, "nothing-here")
    # Nothing that it lacks is told as missing, which would be a cluster or an image that there is not.
    for ask in (
        lambda: other.write("a", b""),
        lambda: other.read("a"),
        lambda: other.document("a"),
        lambda: other.remove("a"),
        lambda: other.names("a"),
        lambda: other.download("a", tmp_path / "a"),
    ):
        with pytest.raises(errors.MissingError, match="there is no bucket nothing-here") as told:
            ask()
        assert told.value.resolution.startswith("gcloud storage buckets create gs://nothing-here --project")
    assert not (tmp_path / "a").exists()


def test_nobody_answers(cloud: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    far = Bucket(Api(replace(cloud.settings, endpoint="http://127.0.0.1:9")))
    monkeypatch.setattr("google.cloud.storage.retry._DEFAULT_RETRY_DEADLINE", 0.1, raising=False)
    from google.cloud.storage import retry

    monkeypatch.setattr(retry.DEFAULT_RETRY, "_timeout", 0.1)
    with pytest.raises(errors.UnreachableError):
        far.read("a")
