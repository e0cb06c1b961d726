"""Buckets and objects as Google's Python client, Terraform's backend and gcloud see them."""

from __future__ import annotations

import gzip
import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from stoneware.emulator.service import Service
from tests import programs
from tests.emulator.conftest import PROJECT

pytestmark = [
    pytest.mark.tool,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:google"),
]


@pytest.fixture
def storage(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
    client = Client(project=PROJECT, credentials=AnonymousCredentials())
    yield client
    client.close()


@pytest.fixture
def bucket(storage: Any) -> Any:
    return storage.create_bucket("some-bucket", location="us-central1")


def files(service: Service) -> list[str]:
    return [path.name for place in ("objects", "uploads") for path in (service.store.root / place).iterdir()]


def test_an_object_is_made_once_read_in_parts_and_replaced_by_its_generation(bucket: Any) -> None:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    blob = bucket.blob("größe/a b\N{SNOWMAN}.txt")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("hello", content_type="text/plain; charset=utf-8", if_generation_match=0)
    assert (blob.md5_hash, blob.crc32c, blob.metageneration) == ("XUFAKrxLKna5cZ2REBfFkg==", "mnG7TA==", 1)
    with pytest.raises(PreconditionFailed):
        blob.upload_from_string("again", if_generation_match=0)
    assert blob.download_as_bytes(start=1, end=2) == b"el"
    seen = bucket.get_blob(blob.name)
    assert (seen.content_type, seen.metadata) == ("text/plain; charset=utf-8", {"k": "v"})
    first = seen.generation
    seen.upload_from_string("other", if_generation_match=first)
    assert seen.generation > first
    with pytest.raises(PreconditionFailed):
        seen.delete(if_generation_match=first)
    with pytest.raises(NotFound):
        bucket.blob(blob.name, generation=first).download_as_bytes()
    seen.delete(if_generation_match=seen.generation)
    assert not seen.exists()


def test_a_large_object_goes_in_parts_and_comes_back(bucket: Any, service: Service) -> None:
    content = os.urandom((9 << 20) + 7)
    for size in (None, 2 << 20):
        blob = bucket.blob("big", chunk_size=size)
        blob.upload_from_string(content)
        assert blob.download_as_bytes() == content
    assert len(files(service)) == 1


def test_a_wrong_checksum_makes_nothing(bucket: Any, service: Service) -> None:
    from google.api_core.exceptions import BadRequest

    blob = bucket.blob("o")
    for field in ("md5Hash", "crc32c"):
        blob._properties[field] = "AAAAAA=="
        blob._changes.add(field)
        with pytest.raises(BadRequest, match="doesn't match calculated"):
            blob.upload_from_string("hello", checksum=None)
        blob = bucket.blob("o")
    assert not blob.exists()
    assert files(service) == []


def test_objects_are_listed_by_prefix_and_page(storage: Any, bucket: Any) -> None:
    for name in ("a", "b/", "b/1", "b/2/3", "c"):
        bucket.blob(name).upload_from_string(name)
    pages = storage.list_blobs(bucket, delimiter="/", page_size=1).pages
    assert [[blob.name for blob in page] for page in pages] == [["a"], [], ["c"]]
    within = storage.list_blobs(bucket, prefix="b/", delimiter="/")
    assert ([blob.name for blob in within], within.prefixes) == (["b/", "b/1"], {"b/2/"})
    some = storage.list_blobs(bucket, start_offset="b", end_offset="c", page_size=2)
    assert [blob.name for blob in some] == ["b/", "b/1", "b/2/3"]


def test_objects_are_copied_composed_moved_and_changed(bucket: Any, service: Service) -> None:
    from google.api_core.exceptions import PreconditionFailed

    one = bucket.blob("one")
    one.upload_from_string("1", content_type="text/x")
    two = bucket.copy_blob(one, bucket, "two")
    assert two.content_type == "text/x"
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(one, bucket, "two", if_generation_match=0)
    three = bucket.blob("three")
    assert three.rewrite(two)[0] is None
    both = bucket.blob("both")
    both.compose([one, three])
    assert (both.download_as_bytes(), both.md5_hash, both.component_count) == (b"11", None, 2)
    moved = bucket.move_blob(both, "moved")
    assert (moved.download_as_bytes(), both.exists()) == (b"11", False)
    one.metadata = {"a": "1", "b": "2"}
    one.patch()
    one.metadata = {"a": None, "c": "3"}
    one.patch()
    assert (one.metadata, one.metageneration) == ({"b": "2", "c": "3"}, 3)
    with pytest.raises(PreconditionFailed):
        one.patch(if_metageneration_match=1)
    assert len(files(service)) == 4


def test_a_bucket_is_changed_guarded_and_removed_when_empty(storage: Any, bucket: Any) -> None:
    from google.api_core.exceptions import Conflict, NotFound, PreconditionFailed

    with pytest.raises(Conflict):
        storage.create_bucket("some-bucket")
    bucket.labels = {"team": "a", "env": "b"}
    bucket.patch()
    bucket.labels = {"team": "c"}
    bucket.update()
    assert storage.get_bucket("some-bucket").labels == {"team": "c"}
    with pytest.raises(PreconditionFailed):
        bucket.patch(if_metageneration_match=1)
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": ["allUsers"]})
    bucket.set_iam_policy(policy)
    with pytest.raises(PreconditionFailed):
        bucket.set_iam_policy(policy)
    assert bucket.test_iam_permissions(["storage.objects.get", "x"]) == ["storage.objects.get", "x"]
    bucket.blob("o").upload_from_string("")
    with pytest.raises(Conflict, match="not empty"):
        bucket.delete()
    with storage.batch():
        bucket.blob("o").delete()
    assert [one.name for one in storage.list_buckets()] == ["some-bucket"]
    bucket.delete()
    with pytest.raises(NotFound):
        storage.get_bucket("some-bucket")


def test_a_bucket_with_versioning_keeps_what_was_replaced_and_deleted(storage: Any, bucket: Any) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("o")
    generations = []
    for text in ("one", "two"):
        blob.upload_from_string(text)
        generations.append(blob.generation)
    bucket.delete_blob("o")
    assert list(storage.list_blobs(bucket)) == []
    kept = list(storage.list_blobs(bucket, versions=True))
    assert [one.generation for one in kept] == generations
    assert all(one.time_deleted for one in kept)
    assert bucket.blob("o", generation=generations[0]).download_as_bytes() == b"one"
    bucket.copy_blob(kept[0], bucket, "o", source_generation=generations[0])
    assert bucket.blob("o").download_as_bytes() == b"one"
    bucket.delete_blob("o", generation=generations[0])
    assert len(list(storage.list_blobs(bucket, versions=True))) == 2


def test_a_hold_keeps_an_object(bucket: Any) -> None:
    from google.api_core.exceptions import Forbidden

    blob = bucket.blob("o")
    blob.upload_from_string("kept")
    blob.temporary_hold = True
    blob.patch()
    for change in (blob.delete, lambda: bucket.blob("o").upload_from_string("other")):
        with pytest.raises(Forbidden, match="Temporary hold"):
            change()
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


def test_compressed_contents_are_unpacked_for_a_client_that_does_not_want_them_so(
    bucket: Any, endpoint: str
) -> None:
    plain = b"plain " * 200_000
    blob = bucket.blob("o")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(plain), content_type="text/plain")
    assert blob.download_as_bytes() == plain
    assert gzip.decompress(blob.download_as_bytes(raw_download=True)) == plain
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)
    connection.request("GET", "/some-bucket/o")
    reply = connection.getresponse()
    assert reply.headers["Content-Encoding"] is None
    assert reply.headers["X-Goog-Stored-Content-Encoding"] == "gzip"
    assert reply.read() == plain
    connection.close()


BACKEND = """terraform {
  backend "gcs" {
    bucket = "some-bucket"
    prefix = "cluster"
  }
}
resource "terraform_data" "x" {
  input = "one"
}
"""


@pytest.mark.parametrize("by", ["environment", "configuration"])
def test_terraform_keeps_its_state_in_a_bucket_and_locks_it(
    bucket: Any, endpoint: str, tmp_path: Path, by: str
) -> None:
    binary = programs.terraform_or_skip()
    (tmp_path / "main.tf").write_text(BACKEND)
    environment = {**os.environ, "TF_DATA_DIR": str(tmp_path / "data"), "GOOGLE_OAUTH_ACCESS_TOKEN": "any"}
    environment.pop("STORAGE_EMULATOR_HOST")
    options = []
    if by == "environment":
        environment["STORAGE_EMULATOR_HOST"] = endpoint
    else:
        options = [f"-backend-config=storage_custom_endpoint={endpoint}/storage/v1/"]

    def terraform(*words: str, code: int = 0) -> str:
        done = programs.run(binary, *words, directory=tmp_path, environment=environment, code=code)
        return done.stdout + done.stderr

    terraform("init", "-input=false", "-no-color", *options)
    terraform("apply", "-auto-approve", "-no-color")
    state = json.loads(bucket.blob("cluster/default.tfstate").download_as_bytes())
    assert [one["name"] for one in state["resources"]] == ["x"]
    assert not bucket.blob("cluster/default.tflock").exists()
    bucket.blob("cluster/default.tflock").upload_from_string('{"Who": "somebody@else"}')
    assert "somebody@else" in terraform("plan", "-no-color", code=1)
    bucket.delete_blob("cluster/default.tflock")
    terraform("plan", "-no-color", "-detailed-exitcode")


@programs.needs_gcloud
def test_gcloud_copies_shows_and_removes(bucket: Any, endpoint: str, tmp_path: Path) -> None:
    environment = programs.gcloud_environment(tmp_path, PROJECT, storage=f"{endpoint}/storage/v1/")
    (tmp_path / "file").write_text("hi\n")

    def gcloud(*words: str, code: int = 0) -> str:
        done = programs.run("gcloud", "storage", *words, environment=environment, code=code)
        return done.stdout + done.stderr

    gcloud("cp", str(tmp_path / "file"), "gs://some-bucket/d/file", "--if-generation-match=0")
    again = ("cp", str(tmp_path / "file"), "gs://some-bucket/d/file", "--if-generation-match=0")
    assert "412" in gcloud(*again, code=1)
    assert gcloud("cat", "gs://some-bucket/d/file") == "hi\n"
    gcloud("rm", "-r", "gs://some-bucket")
    assert not bucket.exists()
