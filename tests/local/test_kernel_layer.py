"""Making a kernel layer: its builder is followed to its end, over machines in memory."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stoneware.errors import BuildError
from stoneware.model.machine import Phase
from stoneware.platforms.local.disks import kernel, reuse
from stoneware.platforms.local.disks.kernel import LAYERS, Layer, Wanted, ensure_layer
from stoneware.platforms.local.store.store import Store
from tests.platforms.memory import MemoryPlatform

WANTED = Wanted("sha256:" + "a" * 64, "linux-image-cloud-amd64", ("ssh-host-keys",), 1767323045)
VERSION = "6.1.0-30-cloud-amd64"


class Records(Store):
    """A store whose checkpoints are records alone."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        (home / "locks/builds").mkdir(parents=True)
        self.saved: dict[str, dict[str, Any]] = {}
        self.roots: list[Path] = []
        self.images: list[str] = []

    def checkpoint_document(self, key: str) -> dict[str, Any] | None:
        return self.saved.get(key)

    def checkpoint_keys(self) -> list[str]:
        return sorted(self.saved)

    def image_ids(self) -> list[str]:
        return self.images

    def image_rootfs(self, image_id: str) -> Path:
        return self.data / "images" / image_id

    def touch_checkpoint(self, key: str) -> None:
        assert key in self.saved

    def save_checkpoint(
        self,
        key: str,
        rootfs: Path,
        document: Mapping[str, Any],
        *,
        taken: Callable[[], None] | None = None,
    ) -> None:
        self.saved[key] = dict(document)
        self.roots.append(rootfs)


class Builders(MemoryPlatform):
    """Machines whose agent reports these states, one each time it is asked."""

    def __init__(self, *said: Mapping[str, Any] | Phase) -> None:
        super().__init__()
        self.said = list(said)
        self.helped = 0
        self.specs: list[Any] = []

    def boot(self, name: str) -> None:
        found = self.observe(name)
        assert found is not None
        self.specs.append(found.spec)

    def guest_attributes(self, name: str) -> dict[str, str]:
        now = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        if isinstance(now, Phase):
            self.show(name, phase=now)
        else:
            token = self.specs[-1].metadata["stoneware-token"]
            report = {"token": token, "step": 1, "exit": 0, "message": "", "boot": "b", **now}
            self.report(name, **{"stoneware/build": json.dumps(report)})
        return super().guest_attributes(name)

    def check_helpers(self) -> None:
        self.helped += 1


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_POLL", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Records:
    return Records(tmp_path)


def running(step: int, message: str) -> dict[str, Any]:
    return {"state": "running", "step": step, "message": message}


def test_a_layer_is_made_once_and_kept(store: Records) -> None:
    finished = {"state": "finished", "step": 3, "message": VERSION}
    machines = Builders(running(1, "apt"), running(2, "unpacking"), running(2, "unpacking"), finished)
    told: list[str] = []
    assert ensure_layer(store, machines, WANTED, told.append) == Layer(WANTED.key, VERSION)
    assert told == [f"installing {WANTED.package} into a copy of the image (once)", "unpacking"]
    document = store.saved[WANTED.key]
    assert (document["image"], document["kernel"]) == (WANTED.image, VERSION)
    (spec,) = machines.specs
    assert (spec.kind, spec.source) == ("builder", f"image:{WANTED.image}")
    assert set(spec.files) == {"ca.tar"}
    assert "ssh-host-keys" in spec.metadata["startup-script"]
    assert store.roots == [store.data / "machines" / spec.name / "rootfs"]
    assert machines.machines() == []
    assert list((store.home / "locks/builds").glob("kernel-*")) == []
    # The second time no machine is asked for.
    assert ensure_layer(store, Builders(Phase.FAILED), WANTED, told.append) == Layer(WANTED.key, VERSION)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"state": "failed", "message": "no network"}, "the kernel cannot be installed"),
        ({"state": "finished", "message": "../../6.1"}, "a version that is none"),
        ({"state": "finished", "message": ""}, "a version that is none"),
        ({"state": "dancing"}, "reports what cannot be"),
        (Phase.STOPPED, "has ended"),
        (Phase.FAILED, "has ended"),
    ],
)
def test_a_builder_that_fails_leaves_nothing(store: Records, said: Any, words: str) -> None:
    machines = Builders(said)
    with pytest.raises(BuildError, match=words):
        ensure_layer(store, machines, WANTED, lambda _: None)
    assert (machines.machines(), store.saved) == ([], {})


def test_a_builder_that_says_nothing_is_given_up(store: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_LONGEST", 0.05)
    machines = Builders({"token": "another", "state": "finished"})
    with pytest.raises(BuildError, match="is not installed after"):
        ensure_layer(store, machines, WANTED, lambda _: None)
    assert machines.machines() == []


def test_what_machines_depend_on_is_looked_after_meanwhile(
    store: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(1000))  # each look at the clock takes one
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=lambda _: None, time=time.time)
    monkeypatch.setattr(kernel, "time", clock)
    machines = Builders(*[running(1, "apt")] * 4, {"state": "finished", "message": VERSION})
    ensure_layer(store, machines, WANTED, lambda _: None)
    assert machines.helped > 0


def test_of_two_that_want_the_same_one_waits(store: Records) -> None:
    told: list[str] = []
    waits = threading.Event()
    results: list[Layer] = []

    def tell(text: str) -> None:
        told.append(text)
        waits.set()

    def second() -> None:
        results.append(ensure_layer(store, Builders(Phase.FAILED), WANTED, tell))

    with kernel.only_one(store, WANTED.key, lambda _: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(300)
        assert results == []
        store.saved[WANTED.key] = {"kernel": VERSION}
    thread.join(300)
    assert results == [Layer(WANTED.key, VERSION)]
    assert told == ["waiting for another command that makes the same"]


def test_an_image_a_package_and_an_agent_have_layers_of_their_own() -> None:
    others = [
        Wanted("sha256:" + "b" * 64, WANTED.package, (), WANTED.epoch),
        Wanted(WANTED.image, "linux-image-amd64", (), WANTED.epoch),
        Wanted(WANTED.image, WANTED.package, (), WANTED.epoch, kernel.AGENT),
    ]
    keys = {WANTED.key, *(other.key for other in others)}
    assert len(keys) == 4
    assert all(key.startswith(LAYERS) for key in keys)


OTHERS = [f"sha256:{letter * 64}" for letter in "bcdef"]


def remember(store: Records, wanted: Wanted, **more: object) -> str:
    """Save a layer's record as one that was installed now, but for `more`."""
    document = {"image": wanted.image, "kernel": VERSION, "recipe": wanted.recipe, "created": 1.0}
    store.saved[wanted.key] = {**document, "installed": time.time(), **more}
    store.images.append(wanted.image)
    return wanted.key


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that were tried; none is alike."""
    found: list[str] = []

    @contextlib.contextmanager
    def derived(_: Store, roots: reuse.Roots, *names: str) -> Iterator[Path]:
        assert names[1] == str(kernel.partition_uuid(WANTED.image, "root"))
        found.append(roots.layer.parent.name)
        if len(found) > 2:
            yield Path("/derived")
            return
        raise reuse.Unlike(f"/etc/{len(found)} is another one")

    monkeypatch.setattr(reuse, "derived", derived)
    return found


def test_the_last_layers_of_other_images_are_tried_before_a_kernel_is_installed(
    store: Records, tried: list[str]
) -> None:
    keys = [
        remember(store, replace(WANTED, image=image), created=float(at)) for at, image in enumerate(OTHERS)
    ]
    told: list[str] = []
    layer = ensure_layer(store, Builders(Phase.FAILED), WANTED, told.append)
    assert tried == [keys[4], keys[3], keys[2]]
    assert (layer, store.roots) == (Layer(WANTED.key, VERSION), [Path("/derived")])
    assert store.saved[WANTED.key]["installed"] == store.saved[keys[2]]["installed"]
    assert told == [f"took kernel {VERSION} from an image that differs in its application alone"]


def test_the_kernel_is_installed_where_no_other_image_is_alike(store: Records, tried: list[str]) -> None:
    for image in OTHERS[:2]:
        remember(store, replace(WANTED, image=image))
    told: list[str] = []
    finished = {"state": "finished", "step": 2, "message": VERSION}
    assert ensure_layer(store, Builders(finished), WANTED, told.append) == Layer(WANTED.key, VERSION)
    assert len(tried) == 2
    words = "(once: /etc/1 is another one)"
    assert told == [f"installing {WANTED.package} into a copy of the image {words}"]


def test_layers_that_were_made_otherwise_are_not_tried(store: Records, tried: list[str]) -> None:
    first, second, third, fourth, fifth = OTHERS
    remember(store, replace(WANTED, image=first, package="linux-image-amd64"))
    remember(store, replace(WANTED, image=second, extras=("qemu-guest-agent",)))
    remember(store, replace(WANTED, image=third, skipped=()))
    remember(store, replace(WANTED, image=fourth), installed=time.time() - 8 * 86400)
    remember(store, replace(WANTED, image=fifth))
    store.images.remove(fifth)  # its layer alone says nothing
    finished = {"state": "finished", "step": 2, "message": VERSION}
    ensure_layer(store, Builders(finished), WANTED, lambda _: None)
    assert tried == []
    bare = replace(WANTED, source="checkpoint:base-1")
    remember(store, replace(WANTED, image=first))
    ensure_layer(store, Builders(finished), bare, lambda _: None)
    assert tried == []
