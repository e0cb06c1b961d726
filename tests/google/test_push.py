"""Images of this computer that become images of the project: by an archive in the bucket, which then goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stoneware.errors import InputError, StonewareError
from stoneware.files import canonical_json, locked, sha256_hex
from stoneware.platforms.google import errors, intake, uploads
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.intake import GoogleIntake
from stoneware.platforms.intake import Offer, Taken
from tests.emulator.archives import packed, table, write
from tests.google.cloud import PROJECT, Cloud, Request
from tests.google.test_images import DOCUMENT, KEY, images_of

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
MANIFEST: dict[str, Any] = {
    "name": "team/hello",
    "commit": "0123456789" * 4,
    "dirty": False,
    "schema": 1,
    "architecture": "amd64",
    "base": {"reference": "debian:12", "identity": "x"},
}
DISK = {0: table(), 1 << 20: os.urandom(300 << 10)}
NAME = "team-hello-0123456-abababab"


class Pusher:
    """Pushes one image, and says what was asked of the local platform and told to the user."""

    def __init__(self, images: GoogleImages, **changes: Any) -> None:
        self.images = images
        data = canonical_json(MANIFEST | changes)
        self.id = f"sha256:{sha256_hex(data)}"
        self.offer = Offer(self.id, data, DOCUMENT, ("hello:latest", "hello:0123456"))
        self.written = 0
        self.said: list[str] = []

    def write(self, path: Path) -> None:
        assert not path.exists()
        self.written += 1
        write(path, packed(DISK))

    def __call__(self) -> Taken:
        return GoogleIntake(self.images, sleep=lambda _: None).take(self.offer, self.write, self.said.append)

    @property
    def left(self) -> list[str]:
        """What there is of pushes, in the bucket and here."""
        found = self.images.bucket.names(intake.PUSHES)
        home = self.images.home / intake.PUSHES
        return found + [path.name for path in home.rglob("*") if path.is_file()]


@pytest.fixture
def images(cloud: Cloud, tmp_path: Path) -> GoogleImages:
    made = images_of(cloud, tmp_path / "one")
    body = {"name": "things", "location": "us-central1"}
    made.api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
    return made


@pytest.fixture
def push(images: GoogleImages) -> Pusher:
    return Pusher(images)


def test_an_image_is_as_one_that_was_baked_there(push: Pusher, cloud: Cloud, tmp_path: Path) -> None:
    assert push() == Taken(NAME, new=True)
    record = cloud.of("images")[NAME]
    assert (record["family"], record["status"], record["diskSizeGb"]) == ("team-hello", "READY", "1")
    assert {each["type"] for each in record["guestOsFeatures"]} >= {"UEFI_COMPATIBLE", "GVNIC"}
    assert record["licenses"][0].endswith("/debian-cloud/global/licenses/debian-12")
    assert record["architecture"] == "X86_64"
    assert record["labels"]["stoneware-commit"] == "0123456789" * 4
    other = images_of(cloud, tmp_path / "two")
    assert other.tags() == {"hello:latest": push.id, "hello:0123456": push.id}
    assert other.manifest(push.id) == MANIFEST
    assert other.image_document(push.id)["key"] == KEY
    assert push.left == []


def test_a_second_push_does_nothing(push: Pusher, cloud: Cloud) -> None:
    push()
    cloud.take()
    assert push() == Taken(NAME, new=False)
    assert push.written == 1
    assert [each for each in cloud.take() if each.verb != "GET"] == []


def test_a_tag_that_is_missing_is_set(push: Pusher) -> None:
    push()
    push.images.remove_tag("hello:latest")
    push()
    assert push.images.tags()["hello:latest"] == push.id
    assert push.written == 1


def test_another_image_of_the_same_steps_has_a_number(push: Pusher, images: GoogleImages) -> None:
    push()
    assert Pusher(images, created="later")() == Taken(f"{NAME}-2", new=True)


def test_a_base_that_is_not_debians_has_no_licence(images: GoogleImages, cloud: Cloud) -> None:
    Pusher(images, base={"reference": "imported/abc", "identity": "x"})()
    record = cloud.of("images")[NAME]
    assert "licenses" not in record
    assert {"type": "UEFI_COMPATIBLE"} in record["guestOsFeatures"]


def test_another_processor_is_refused_first(images: GoogleImages, cloud: Cloud) -> None:
    push = Pusher(images, architecture="arm64")
    with pytest.raises(InputError, match="for arm64"):
        push()
    assert push.written == 0


def test_a_bucket_that_is_not_there_is_told_before_anything_is_written(cloud: Cloud, tmp_path: Path) -> None:
    push = Pusher(images_of(cloud, tmp_path / "one"))
    with pytest.raises(errors.MissingError, match="gs://things"):
        push()
    assert push.written == 0


def test_a_quota_is_told_and_the_next_push_goes_on(push: Pusher, cloud: Cloud) -> None:
    cloud.fail("quota")
    with pytest.raises(errors.QuotaError):
        push()
    assert f"pushes/{push.id[7:]}.tar.gz" in push.left
    cloud.fail()
    assert push() == Taken(NAME, new=True)
    assert push.written == 1
    assert push.left == []


# -- uploads ---------------------------------------------------------------------------------------------


def sends(cloud: Cloud) -> list[Request]:
    return [each for each in cloud.asked if each.verb == "PUT" and "upload_id" in each.line]


def test_it_goes_on_where_it_was_cut_off(push: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PIECE", 256 << 10)

    monkeypatch.setattr(push.images.bucket, "put", stopping(push.images.bucket.put, 2))
    with pytest.raises(KeyboardInterrupt):
        push()
    assert set(push.left) == {"disk.tar.gz", "upload.json"}
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "_PIECE", 256 << 10)
    assert push() == Taken(NAME, new=True)
    assert push.written == 1
    assert any("are there already" in said for said in push.said)
    assert push.left == []


def stopping(put: Callable[..., Any], after: int) -> Callable[..., Any]:
    """Return `put` that ends with an interrupt once it was called so many times."""
    left = [after]

    def again(*given: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return put(*given)

    return again


def test_servers_that_are_busy_are_asked_again(push: Pusher, cloud: Cloud) -> None:
    def busy(request: Request) -> None:
        sent = len(sends(cloud))
        cloud.fail(*(["503"] if 1 < sent < 4 and "upload_id" in request.line else []))

    cloud.each = busy
    assert push() == Taken(NAME, new=True)
    assert len(sends(cloud)) > 4


def test_a_session_that_is_gone_is_begun_anew(push: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push.images.bucket, "put", stopping(push.images.bucket.put, 1))
    with pytest.raises(KeyboardInterrupt):
        push()
    monkeypatch.undo()
    (note,) = push.images.home.rglob("upload.json")
    noted = json.loads(note.read_bytes())
    note.write_text(json.dumps(noted | {"session": noted["session"] + "0"}))
    assert push() == Taken(NAME, new=True)


@pytest.mark.parametrize("also_fails", [False, True])
def test_a_server_that_takes_no_bytes_is_given_up(
    images: GoogleImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, also_fails: bool
) -> None:
    """Be it that it says so of each piece, or of each question between failures."""
    path, slept = tmp_path / "file", [0]
    path.write_bytes(bytes(7))

    def answer(_what: str, _url: str, said: str, _piece: bytes) -> Any:
        failed = also_fails and not said.startswith("bytes *")
        return SimpleNamespace(status_code=503 if failed else 308, headers={}, content=b"", text="")

    def sleep(seconds: float) -> None:
        slept[0] += 1
        assert seconds > 0.3
        assert slept[0] < 100

    now = iter(range(10**6))
    monkeypatch.setattr(uploads, "document_of", lambda _: {})
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(images.bucket, "put", answer)
    upload = uploads.Upload(images.bucket, "o", path, tmp_path / "note", sleep=sleep, patience=30.0)
    with pytest.raises(StonewareError, match="servers are busy" if also_fails else "no more of it arrives"):
        upload.run(lambda _at, _of: None)
    assert slept[0] > 3


def test_a_server_that_forgets_each_session_is_given_up(
    images: GoogleImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "file", [0]
    path.write_bytes(bytes(7))
    put = images.bucket.put

    def forget(what: str, url: str, said: str, piece: bytes) -> Any:
        asked[0] += 1
        assert asked[0] < 50
        return put(what, url if said.startswith("bytes *") else f"{url}0", said, piece)

    monkeypatch.setattr(images.bucket, "put", forget)
    upload = uploads.Upload(images.bucket, "o", path, tmp_path / "note", sleep=lambda _: None)
    with pytest.raises(StonewareError):
        upload.run(lambda _at, _of: None)


def test_bytes_that_arrive_changed_are_removed(push: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_checksum", lambda _: "AAAAAA==")
    with pytest.raises(errors.CloudError, match="checksum is wrong"):
        push()
    assert not push.images.bucket.names(intake.PUSHES)
    monkeypatch.undo()
    assert push() == Taken(NAME, new=True)


# -- kills -----------------------------------------------------------------------------------------------

_CHILD = """
import sys, os
from pathlib import Path
from dataclasses import replace
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.images import GoogleImages
from tests.google.test_push import Pusher
from tests.google.clusters import SETTINGS
api = Api(replace(SETTINGS, endpoint=sys.argv[1], bucket="things"))
at, done, request = int(sys.argv[3]), [0], api._attempt
def attempt(*given, **more):
    done[0] += 1
    if done[0] == at:
        os.kill(os.getpid(), 9)
    return request(*given, **more)
api._attempt = attempt
images = GoogleImages(api, Bucket(api), Path(sys.argv[2]))
Pusher(images)()
"""


@pytest.mark.parametrize("at", [3, 4])  # before and after the image is asked for
def test_what_a_killed_push_leaves_is_removed_or_used(push: Pusher, cloud: Cloud, at: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, cloud.endpoint, str(push.images.home), str(at)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 300
    while any(record["status"] == "PENDING" for record in cloud.of("images").values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    GoogleIntake(push.images).recover()
    assert push.images.bucket.names(intake.PUSHES) == []
    taken = push()
    assert taken.name == NAME
    assert list(cloud.of("images")) == [NAME]
    assert set(push.images.tags()) == {"hello:latest", "hello:0123456"}
    assert push.left == []


def test_a_push_that_lives_is_left_alone(push: Pusher, cloud: Cloud) -> None:
    cloud.fail("quota")
    with pytest.raises(StonewareError):
        push()
    with locked(push.images.home / "locks" / f"push-{push.id[7:]}"):
        assert GoogleIntake(push.images).recover() == []
        assert push.left
    assert len(GoogleIntake(push.images).recover()) == 1
    assert push.left == []


def test_an_upload_that_is_not_whole_stays_for_its_time(
    push: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push.images.bucket, "put", stopping(push.images.bucket.put, 1))
    with pytest.raises(KeyboardInterrupt):
        push()
    monkeypatch.undo()
    assert GoogleIntake(push.images).recover() == []
    (note,) = push.images.home.rglob("upload.json")
    os.utime(note, (0, 0))
    assert GoogleIntake(push.images).recover() == []
    assert push.left == []
