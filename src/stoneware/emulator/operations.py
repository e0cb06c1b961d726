"""Long-running operations: done at a moment that is written down, so a restart loses none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.emulator import errors, values
from stoneware.emulator.store import Record, Store

WAIT_SECONDS = 120.0
KEPT_SECONDS = 14 * 86400.0  # as Google keeps those that are done
_DUE = "x-due"  # seconds since 1970, None while its work goes on; not shown
_LEAST = "x-least"  # seconds that it runs after its work is done
_POLL = 0.05  # seconds between two looks at one whose work goes on
_FAILURE = "x-failure"  # what is shown once it is done
_REQUESTS = (
    "requests"  # the collection, outside of the projects' own, of request ids: each names its operation
)


@dataclass(frozen=True)
class Operations:
    """Starts, shows and awaits the operations of a store. `delay`: seconds that one runs."""

    store: Store
    delay: float
    clock: Callable[[], float] = time.time

    def start(
        self,
        scope: str,
        kind: str,
        target: str,
        target_id: str,
        *,
        request: str | None = None,
        failure: errors.ApiError | None = None,
        slower: float = 0.0,
        working: bool = False,
    ) -> Record:
        """Record an operation on `target`, a key, and return it. `scope` is as `projects/p/zones/z`.

        `request`: the caller's id of the request. With `failure` it ends with that error. It takes `slower`
        seconds longer than others. One that is `working` runs until `finish`.
        """
        now = self.clock()
        name = f"operation-{int(now * 1000)}-{values.new_id()}"
        record: Record = {
            "kind": "compute#operation",
            "id": values.new_id(),
            "name": name,
            "operationType": kind,
            "targetLink": values.LINK + target,
            "targetId": target_id,
            "insertTime": values.timestamp(now),
            "startTime": values.timestamp(now),
            "user": "emulator@localhost",
            "selfLink": f"{values.LINK}{scope}/operations/{name}",
            _DUE: None if working else now + self.delay + slower,
            _LEAST: self.delay + slower,
        }
        place = scope.split("/")[2]
        # Clients take one without a place for global, and would ask for it there.
        if place != "global":
            record[place.removesuffix("s")] = values.LINK + scope
        key = f"{scope}/operations/{name}"
        if failure:
            record[_FAILURE] = failure.within_operation()
        if request:
            record["clientOperationId"] = request
            self.store.put(_request_key(scope, request), {"operation": key})
        self.store.put(key, record)
        return self.show(record)

    def finish(self, key: str, failure: errors.ApiError | None) -> None:
        """End the work of an operation, well or with an error; one that is forgotten is no error."""
        record = self.store.get(key)
        if record is None:
            return
        # Not done at once: clients have to bear an operation that still runs.
        record[_DUE] = self.clock() + record[_LEAST]
        if failure:
            record[_FAILURE] = failure.within_operation()
        self.store.put(key, record)

    def working(self) -> list[str]:
        """Return the keys of the operations whose work goes on, or did when the last emulator ended."""
        found = self.store.matching("projects/", "operations")
        return [key for key, record in found if record[_DUE] is None]

    def repeated(self, scope: str, request: str) -> Record | None:
        """Return the operation that a request id has started before in the project of `scope`."""
        started = self.store.get(_request_key(scope, request))
        return None if started is None else self.get(started["operation"])

    def forget_old(self) -> None:
        """Remove the operations, and their request ids, that were done 14 days ago."""
        before = self.clock() - KEPT_SECONDS
        with self.store.transaction():
            for key, record in self.store.matching("projects/", "operations"):
                if record[_DUE] is not None and record[_DUE] < before:
                    self.remove(key)

    def remove(self, key: str) -> None:
        """Remove an operation that is there, and its request id."""
        record = self.store.get(key) or {}
        with self.store.transaction():
            self.store.remove(key)
            if request := record.get("clientOperationId"):
                self.store.remove(_request_key(key, request))

    def show(self, record: Record) -> Record:
        """Return an operation as the API gives it at this moment."""
        due = record[_DUE]
        shown: dict[str, Any] = {key: value for key, value in record.items() if not key.startswith("x-")}
        if due is None or self.clock() < due:
            return shown | {"status": "RUNNING", "progress": 0}
        failure: Record = record.get(_FAILURE, {})
        return shown | {"status": "DONE", "progress": 100, "endTime": values.timestamp(due)} | failure

    def get(self, key: str) -> Record:
        """Return an operation. Raises ApiError (404)."""
        record = self.store.get(key)
        if record is None:
            raise errors.not_found(key)
        return self.show(record)

    async def wait(self, key: str) -> Record:
        """Return an operation once it is done, or as it is after two minutes. Raises ApiError (404)."""
        end = time.monotonic() + WAIT_SECONDS
        while (record := self.store.get(key)) is not None:
            due, left = record[_DUE], end - time.monotonic()
            pause = _POLL if due is None else due - self.clock()
            if pause <= 0 or left <= 0:
                return self.show(record)
            await asyncio.sleep(min(pause, left))
        raise errors.not_found(key)


def _request_key(key: str, request: str) -> str:
    """Return where a request id is kept. `key`: any of its project."""
    # In lowercase: two spellings of a UUID are one request.
    return f"{_REQUESTS}/{key.split('/')[1]}/{request.lower()}"
