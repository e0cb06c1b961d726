"""Images that are made of an archive in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.emulator import errors, instance_work
from stoneware.emulator.discovery import Document
from stoneware.emulator.service import Service
from stoneware.emulator.storage.contents import Contents, summary
from stoneware.emulator.storage.records import object_key
from stoneware.emulator.store import Store
from tests.emulator.archives import GIB, packed, write
from tests.emulator.computers import Computers
from tests.emulator.conftest import PROJECT, Api

SOURCE = "https://storage.googleapis.com/things/disks/hello.tar.gz"


@pytest.fixture
def computers() -> Computers:
    return Computers()


@pytest.fixture
def service(document: Document, store: Store, computers: Computers) -> Iterator[Service]:
    made = Service(document, store, delay=0, open_computers=lambda: computers)
    made.add_project(PROJECT)
    yield made
    computers.gate.set()
    made.jobs.close()


def put(service: Service, tmp_path: Path, tar: bytes) -> int:
    """Have an object of a bucket, as an upload leaves it; return its size."""
    contents = Contents(service.store.root)
    path = write(tmp_path / "archive", tar)
    found = summary(path)
    record = {"bucket": "things", "name": "disks/hello.tar.gz", "x-content": contents.keep(path)}
    service.store.put(object_key("things", "disks/hello.tar.gz"), record | {"size": str(found.size)})
    return found.size


def insert(api: Api, name: str = "hello", **more: Any) -> dict[str, Any]:
    body = {"name": name, "rawDisk": {"source": SOURCE, "containerType": "TAR"}} | more
    return api("images.insert", body)


def ended(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    return api("globalOperations.wait", operation=operation["name"])


def test_an_image_is_ready_when_its_archive_is_read(
    api: Api, service: Service, computers: Computers, tmp_path: Path
) -> None:
    size = put(service, tmp_path, packed(size=3 * GIB))
    computers.gate.clear()
    operation = insert(api, family="hello", labels={"a": "b"}, guestOsFeatures=[{"type": "UEFI_COMPATIBLE"}])
    assert operation["status"] != "DONE"
    pending = api("images.get", image="hello")
    assert (pending["status"], pending["archiveSizeBytes"]) == ("PENDING", str(size))
    with pytest.raises(errors.ApiError, match="is not ready"):
        api("disks.insert", {"name": "d", "sourceImage": "global/images/hello"}, zone="us-central1-a")
    with pytest.raises(errors.ApiError, match="not found"):
        api("images.getFromFamily", family="hello")
    computers.gate.set()
    assert "error" not in ended(api, operation)
    made = api("images.getFromFamily", family="hello")
    assert (made["status"], made["diskSizeGb"], made["sourceType"]) == ("READY", "3", "RAW")
    assert made["labels"] == {"a": "b"}
    assert not [field for field in made if field.startswith("x-")]


def test_a_machine_boots_what_was_in_it(
    api: Api, service: Service, computers: Computers, tmp_path: Path
) -> None:
    put(service, tmp_path, packed())
    ended(api, insert(api, diskSizeGb="12"))
    (contents,) = computers.contents
    body = {
        "name": "vm",
        "machineType": "zones/us-central1-a/machineTypes/e2-small",
        "disks": [{"boot": True, "initializeParams": {"sourceImage": "global/images/hello"}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }
    operation = api("instances.insert", body, zone="us-central1-a")
    assert "error" not in api("zoneOperations.wait", operation=operation["name"], zone="us-central1-a")
    (spec,) = computers.machines.values()
    assert spec.source == f"checkpoint:{contents}"
    assert spec.disk == 12 * GIB
    ended(api, api("images.delete", image="hello"))
    service.jobs.close()
    assert list(computers.contents) == [contents]  # the machine's disk has it


def test_a_removed_image_leaves_nothing(
    api: Api, service: Service, computers: Computers, tmp_path: Path
) -> None:
    put(service, tmp_path, packed())
    ended(api, insert(api))
    ended(api, api("images.delete", image="hello"))
    service.jobs.close()
    assert computers.contents == {}


def test_an_image_that_is_removed_meanwhile(
    api: Api, service: Service, computers: Computers, tmp_path: Path
) -> None:
    put(service, tmp_path, packed())
    computers.gate.clear()
    insert(api)
    api("images.delete", image="hello")
    computers.gate.set()
    service.jobs.close()
    assert computers.contents == {}


def test_an_archive_that_holds_no_disk_fails_in_the_operation(
    api: Api, service: Service, computers: Computers, tmp_path: Path
) -> None:
    put(service, tmp_path, packed(name=b"other"))
    operation = ended(api, insert(api))
    assert operation["error"]["errors"][0]["code"] == "INVALID"
    assert "and not the file disk.raw" in operation["error"]["errors"][0]["message"]
    assert operation["httpErrorStatusCode"] == 400
    with pytest.raises(errors.ApiError, match="not found"):
        api("images.get", image="hello")
    assert computers.contents == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rawDisk": {"source": "https://example.com/a/b"}}, "URL is malformed"),
        ({"rawDisk": {"source": "https://storage.googleapis.com/things"}}, "URL is malformed"),
        ({"rawDisk": {"source": "https://storage.googleapis.com/none/x"}}, "not found"),
        ({"sourceImage": "global/images/other"}, "Exactly one source"),
        ({"rawDisk": {}}, "Exactly one source"),
    ],
)
def test_what_is_refused_at_once(
    api: Api, service: Service, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    put(service, tmp_path, packed())
    with pytest.raises(errors.ApiError) as caught:
        insert(api, **more)
    assert said in caught.value.message
    assert not list(service.store.under(f"projects/{PROJECT}/global/images"))


def test_an_emulator_of_records_looks_whether_it_is_a_disk(document: Document, tmp_path: Path) -> None:
    root = tmp_path / "records"
    root.mkdir()
    store = Store(root)
    service = Service(document, store, delay=0)
    service.add_project(PROJECT)
    api = Api(service)
    put(service, tmp_path, packed(size=2 * GIB))
    assert "error" not in ended(api, insert(api))
    assert api("images.get", image="hello")["diskSizeGb"] == "2"
    put(service, tmp_path, packed(size=2 * GIB)[:-700])
    assert "cut off" in ended(api, insert(api, "other"))["error"]["errors"][0]["message"]
    service.jobs.close()
    store.close()


def test_an_emulator_that_was_killed_leaves_no_half_image(
    api: Api, service: Service, computers: Computers, tmp_path: Path
) -> None:
    put(service, tmp_path, packed())
    computers.gate.clear()
    operation = insert(api)
    computers.contents["disk-1"] = "what the killed one has kept already"
    instance_work.resume(service)
    assert "error" in ended(api, operation)
    with pytest.raises(errors.ApiError, match="not found"):
        api("images.get", image="hello")
    assert "disk-1" not in computers.contents
