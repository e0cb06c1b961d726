"""The state of the emulator: whole after any end, and for one emulator at a time."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stoneware.emulator import discovery, errors
from stoneware.emulator.service import Service
from stoneware.emulator.store import FILE, Record, Store, opened
from stoneware.errors import HostError, InputError
from stoneware.records import DamagedError
from tests.emulator.conftest import Api


class Ending(Store):
    """A store that ends with the change of a number, before anything is kept of it."""

    left = 0

    def put(self, key: str, record: Record) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        super().put(key, record)


def kept(root: Path) -> dict[str, Record]:
    with opened(root) as store:
        return dict(store._records)


@pytest.mark.parametrize("at", range(1, 8))
def test_a_project_and_its_network_are_made_whole_or_not_at_all(
    tmp_path: Path, document: discovery.Document, at: int
) -> None:
    store = Ending(tmp_path)
    store.left = at
    with pytest.raises(KeyboardInterrupt):
        Service(document, store).add_project("proj-1")
    assert store._records == {}
    store.close()
    assert kept(tmp_path) == {}


def test_a_resource_is_kept_with_its_operation_or_not_at_all(
    tmp_path: Path, document: discovery.Document
) -> None:
    store = Ending(tmp_path)
    service = Service(document, store, delay=0)
    service.add_project("proj-1")
    before = kept_now(store)
    for at in (1, 2):
        store.left = at
        with pytest.raises(KeyboardInterrupt):
            Api(service)("disks.insert", {"name": "d", "sizeGb": 10}, zone="us-central1-a")
        assert kept_now(store) == before
    store.close()
    assert kept(tmp_path) == before


def kept_now(store: Store) -> dict[str, Record]:
    return dict(store._records)


def test_a_disk_that_is_full_refuses_the_change_and_no_other(service: Service, api: Api) -> None:
    before = kept_now(service.store)
    with sqlite3.connect(service.store._database.execute("PRAGMA database_list").fetchone()[2]) as other:
        other.execute("BEGIN IMMEDIATE")  # as good as full: nothing can be written
        service.store._database.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(errors.ApiError) as caught:
            api("disks.insert", {"name": "d", "sizeGb": 10}, zone="us-central1-a")
        assert (caught.value.status, kept_now(service.store)) == (503, before)
    other.close()
    assert api("disks.insert", {"name": "d", "sizeGb": 10}, zone="us-central1-a")["status"] == "DONE"


def test_one_emulator_has_the_state(tmp_path: Path) -> None:
    with opened(tmp_path / "a"):
        with pytest.raises(InputError, match="another emulator"), opened(tmp_path / "a"):
            pass
        with opened(tmp_path / "b"):
            pass
    with opened(tmp_path / "a"):
        pass


def test_a_place_that_cannot_have_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(HostError, match="cannot keep its state"), opened(place):
            pass
    (tmp_path / FILE).write_text("this is not a database, " * 100)
    with pytest.raises(DamagedError), opened(tmp_path):
        pass
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with pytest.raises(DamagedError), opened(tmp_path):
        pass
    (tmp_path / FILE).rmdir()
    with sqlite3.connect(tmp_path / FILE) as edited:
        edited.execute("CREATE TABLE records (key TEXT PRIMARY KEY, record TEXT)")
        edited.execute("INSERT INTO records VALUES ('projects/p', '{')")
    edited.close()
    with pytest.raises(DamagedError, match="damaged") as caught, opened(tmp_path):
        pass
    assert caught.value.resolution.startswith(f"rm -r {tmp_path / FILE}")
    (tmp_path / FILE).unlink()
    with sqlite3.connect(tmp_path / FILE) as later:
        later.execute("PRAGMA user_version = 7")
    later.close()
    with pytest.raises(InputError, match="another version"), opened(tmp_path):
        pass


def test_records_and_running_operations_survive_a_restart(
    tmp_path: Path, document: discovery.Document
) -> None:
    now = [1000.0]
    with opened(tmp_path) as store:
        first = Service(document, store, delay=5, clock=lambda: now[0])
        first.add_project("p")
        image = "projects/p/global/images/i"
        name = first.operations.start("projects/p/global", "insert", image, "1")["name"]
        network = store.get("projects/p/global/networks/default")
    key = f"projects/p/global/operations/{name}"
    with opened(tmp_path) as store:
        second = Service(document, store, delay=5, clock=lambda: now[0])
        assert store.get("projects/p/global/networks/default") == network
        assert second.operations.get(key)["status"] == "RUNNING"
        now[0] += 5
        assert second.operations.get(key)["status"] == "DONE"
        now[0] += 15 * 86400
        second.operations.forget_old()
        assert store.get(key) is None
