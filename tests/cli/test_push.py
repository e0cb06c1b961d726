"""What `push` offers to the other platform, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoneware.files import sha256_hex
from stoneware.platforms import registry
from stoneware.platforms.disks import DiskFormat, Export
from stoneware.platforms.intake import Offer, Taken
from tests.cli.conftest import Cli
from tests.cli.fakes import FakeStore


class Cloud:
    """A platform that takes images, and this computer, which writes them."""

    form = DiskFormat.GCE

    def __init__(self, store: FakeStore, place: Path) -> None:
        self.store = store
        self.place = place
        self.offers: list[Offer] = []
        self.exports: list[Export] = []
        self.new = True

    def take(self, offer: Offer, write: Callable[[Path], None], progress: Callable[[str], None]) -> Taken:
        self.offers.append(offer)
        if self.new:
            write(self.place)
            progress("half of it")
        return Taken("hello-abcdef0-12345678", self.new)

    def export(self, wanted: Export, progress: Callable[[str], None]) -> None:
        progress("writing it")
        self.exports.append(wanted)

    def open_images(self, *, create: bool = True) -> tuple[FakeStore, list[str]]:
        return self.store, []

    def open_disks(self, _images: Any) -> Cloud:
        return self

    def open_intake(self, _images: Any) -> Cloud:
        return self

    def clear_errors(self) -> Any:
        import contextlib

        return contextlib.nullcontext()


@pytest.fixture
def hello(store: FakeStore) -> str:
    return store.add_image("hello", key="ab" * 32)


@pytest.fixture
def cloud(store: FakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    made = Cloud(store, tmp_path / "disk.tar.gz")
    known = registry.backend
    monkeypatch.setattr(
        registry,
        "backend",
        lambda name="local", *rest: made if name in ("local", "google") else known(name, *rest),
    )
    return made


def test_an_image_is_offered_with_the_tags_of_its_name(
    cli: Cli, cloud: Cloud, store: FakeStore, hello: str
) -> None:
    store.set_tag("hello:1.0", hello)
    store.set_tag("other:1.0", hello)
    done = cli("push", "hello", "google")
    assert (done.code, done.out) == (0, "hello-abcdef0-12345678\n")
    assert "half of it" in done.err
    assert "hello is the image hello-abcdef0-12345678 of google" in done.err
    (offer,) = cloud.offers
    assert offer.image == hello == f"sha256:{sha256_hex(offer.manifest)}"
    assert offer.tags == ("hello:1.0", "hello:latest")
    assert offer.document["key"] == json.loads(offer.manifest)["key"]
    assert cloud.exports == [Export(hello, DiskFormat.GCE, cloud.place)]


def test_an_image_by_its_id_has_all_its_tags(cli: Cli, cloud: Cloud, store: FakeStore, hello: str) -> None:
    store.set_tag("other:1.0", hello)
    assert cli("push", hello, "google").code == 0
    assert cloud.offers[0].tags == ("hello:latest", "other:1.0")


def test_one_that_is_there_is_said_to_be(cli: Cli, cloud: Cloud, hello: str) -> None:
    cloud.new = False
    done = cli("push", "hello:latest", "google", "--json")
    assert "hello:latest is already the image" in done.err
    found = json.loads(done.out)
    assert (found["id"], found["name"], found["new"]) == (hello, "hello-abcdef0-12345678", False)
    assert cloud.exports == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hello", "local"], "is where images are pushed from"),
        (["hello", "azure"], "there is no platform 'azure'"),
        (["nothing", "google"], "there is no image 'nothing'"),
        (["hello"], "PLATFORM"),
    ],
)
def test_what_cannot_be(cli: Cli, cloud: Cloud, hello: str, words: list[str], said: str) -> None:
    done = cli("push", *words)
    assert done.code == 2
    assert said in done.err
    assert cloud.offers == []
