"""Records of the emulated cloud, in one SQLite file that one emulator at a time has open."""

from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stoneware.emulator import errors
from stoneware.errors import HostError, InputError
from stoneware.files import locked
from stoneware.records import DamagedError

Record = dict[str, Any]
FILE = "records.sqlite"
_VERSION = 1  # of the table below, in the file's user_version


class Store:
    """All records of one state directory, kept in memory and written through.

    A key is the resource's path from `projects/` on. Each change, and all changes of one transaction, are in
    the file whole or not at all, whatever ends the process. One thread at a time is in a transaction.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            # Threads of jobs write as well, one at a time by the lock.
            self._database = sqlite3.connect(root / FILE, check_same_thread=False)
        except sqlite3.Error as error:
            raise _damaged(root / FILE, error) from error
        self._records: dict[str, Record] = {}
        self._below: dict[str, dict[str, None]] = {}  # the keys directly below a collection, in order
        self._lock = threading.RLock()  # of who is in a transaction
        self._before: dict[str, Record | None] | None = None  # in a transaction: what it has changed
        self._later: list[Callable[[], None]] = []  # in a transaction: what is done once it is kept
        try:
            self._read()
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise _damaged(root / FILE, error) from error
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise InputError(f"the emulator's state is of another version ({version}, not {_VERSION})")
        # A commit is on the disk when the system writes it; a kill of the process loses none.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, record TEXT)")
        self._database.execute(f"PRAGMA user_version = {_VERSION}")
        for key, text in self._database.execute("SELECT key, record FROM records ORDER BY key"):
            self._set(key, json.loads(text))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[dict[str, Record | None]]:
        """Keep all changes of the block, or where it raises, none. Raises ApiError (503) for a full disk.

        Gives what the changed records were before.
        """
        with self._lock:
            if self._before is not None:  # part of the one around it
                yield self._before
                return
            before = self._before = {}
            later = self._later = []
            try:
                yield before
                self._write(before)
            except BaseException:
                for key, record in before.items():
                    self._set(key, record)
                raise
            finally:
                self._before = None
        # Out of the lock, which a job that begins here may want in another thread.
        for action in later:
            action()

    def afterwards(self, action: Callable[[], None]) -> None:
        """Do something once the transaction around is kept, now where there is none; never if it is not."""
        with self._lock:
            if self._before is not None:
                self._later.append(action)
                return
        action()

    def _write(self, changed: dict[str, Record | None]) -> None:
        try:
            with self._database:
                for key in changed:
                    self._write_one(key, self._records.get(key))
        except sqlite3.Error as error:
            raise errors.unavailable(f"the emulator cannot write its state: {error}") from error

    def _write_one(self, key: str, record: Record | None) -> None:
        if record is None:
            self._database.execute("DELETE FROM records WHERE key = ?", (key,))
        else:
            row = (key, json.dumps(record))
            self._database.execute("INSERT OR REPLACE INTO records VALUES (?, ?)", row)

    def _set(self, key: str, record: Record | None) -> None:
        place = key.rpartition("/")[0]
        if record is None:
            self._records.pop(key, None)
            self._below.get(place, {}).pop(key, None)
        else:
            self._records[key] = record
            self._below.setdefault(place, {})[key] = None

    def get(self, key: str) -> Record | None:
        """Return a copy of a record, None where there is none."""
        found: dict[str, Any] | None = _copied(self._records.get(key))
        return found

    def put(self, key: str, record: Record) -> None:
        """Write a record."""
        self._change(key, _copied(record))

    def remove(self, key: str) -> None:
        """Forget a record that is there."""
        self._change(key, None)

    def _change(self, key: str, record: Record | None) -> None:
        with self.transaction() as before:
            # The first counts, of several changes in one transaction.
            before.setdefault(key, self._records.get(key))
            self._set(key, record)

    def under(self, prefix: str) -> Iterator[tuple[str, Record]]:
        """Give the records directly below a collection, as `projects/p/zones/z/disks`, with their keys."""
        for key in self.keys(prefix):
            yield key, _copied(self._records[key])

    def keys(self, prefix: str) -> list[str]:
        """Return the keys directly below a collection."""
        return list(self._below.get(prefix, ()))

    def count(self, prefix: str) -> int:
        """Return how many records are directly below a collection."""
        return len(self._below.get(prefix, ()))

    def field(self, name: str, beginning: str) -> set[Any]:
        """Return the values that a field has in all records whose keys begin so."""
        some = (record for key, record in self._records.items() if key.startswith(beginning))
        return {record[name] for record in some if name in record}

    def everywhere(self, project: str, collection: str) -> Iterator[tuple[str, Record]]:
        """Give the records of a collection in all zones, regions and globally, with their keys."""
        return self.matching(f"projects/{project}/", collection)

    def matching(self, prefix: str, collection: str) -> Iterator[tuple[str, Record]]:
        """Give the records of a collection whose keys begin with `prefix`, with their keys."""
        # A list, for other threads may change records meanwhile.
        for key, record in list(self._records.items()):
            if key.startswith(prefix) and key.count("/") > 1 and key.split("/")[-2] == collection:
                yield key, _copied(record)


def _damaged(path: Path, error: Exception) -> DamagedError:
    fix = f"rm -r {shlex.quote(str(path))}    # forgets the emulated resources"
    return DamagedError(path, f"is no state of the emulator: {error}", resolution=fix)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Store]:
    """Open the state below a directory, made where it is missing, for one emulator.

    Raises InputError where another emulator has it, HostError where it cannot be made, DamagedError.
    """
    try:
        # Payloads of secrets are in it as they are.
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = contextlib.ExitStack()
        held.enter_context(locked(root / "lock", timeout=0))
    except TimeoutError as error:
        raise InputError(
            f"another emulator keeps its state in {root}",
            resolution="stoneware emulate google --state /another/directory",
        ) from error
    except OSError as error:
        raise HostError(
            f"the emulator cannot keep its state in {root}",
            details=f"{error.filename or root}: {error.strerror}.",
            resolution="stoneware emulate google --state /another/directory",
        ) from error
    with held:
        store = Store(root)
        try:
            yield store
        finally:
            store.close()


def _copied(value: Any) -> Any:
    """Return JSON data of its own: a copy of records is most of what a request of a list takes."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value
