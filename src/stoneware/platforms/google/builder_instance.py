"""Instances as machines: what the API says of one, its console, its reports, its metadata."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

from stoneware.errors import InputError
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.platforms.google import errors, labels
from stoneware.platforms.google.api import Api, last
from stoneware.platforms.google.instance import items_of, metadata_of

_PHASES = {
    "PROVISIONING": Phase.CREATED,
    "STAGING": Phase.CREATED,
    "PENDING": Phase.CREATED,
    "RUNNING": Phase.RUNNING,
    "REPAIRING": Phase.BOOTING,
    "PENDING_STOP": Phase.STOPPING,
    "STOPPING": Phase.STOPPING,
    "SUSPENDING": Phase.STOPPING,
    "DEPROVISIONING": Phase.STOPPING,
}
T = TypeVar("T")
_ATTEMPTS = 10  # to change metadata that others change as well


class Instance:
    """One instance by its zone and name. Asking one that is gone is an InputError, unless said otherwise."""

    def __init__(self, api: Api, zone: str, name: str) -> None:
        self.name = name
        self.path = f"zones/{zone}/instances/{name}"
        self._api = api

    def record(self) -> dict[str, Any] | None:
        """Return what the API says of it, or None where it is gone."""
        return self._api.find("compute", self.path, f"look at the instance {self.name}")

    def reports(self) -> dict[str, str]:
        """Return its guest attributes, `namespace/key` to value; none where it has none, or is gone."""
        path, what = f"{self.path}/getGuestAttributes", f"read the reports of {self.name}"
        found = self._api.find("compute", path, what, queryPath="stoneware/")
        value = (found or {}).get("queryValue")
        items = value.get("items") if isinstance(value, dict) else None
        return {
            f"{item.get('namespace')}/{item.get('key')}": str(item.get("value", ""))
            for item in (items if isinstance(items, list) else [])
            if isinstance(item, dict)
        }

    def console(self, offset: int) -> tuple[bytes, int]:
        """Return a piece of its console from an offset on, and the offset to go on from.

        That of an instance that has stopped cannot be read.
        """
        what = f"read the console of {self.name}"
        try:
            found = self._api.get("compute", f"{self.path}/serialPort", what, start=offset, port=1)
        except errors.MissingError:
            raise self._gone() from None
        except errors.CloudError as error:
            # What it says of one that is off, under no better name.
            if error.status == 400:
                return b"", offset
            raise
        after = str(found.get("next", ""))
        return str(found.get("contents", "")).encode(), int(after) if after.isdigit() else offset

    def tell(self, changes: Mapping[str, str | None]) -> None:
        """Change its attributes (None removes one); again where somebody else changes them as well."""

        def attempt() -> None:
            record = self.record()
            if record is None:
                raise self._gone()
            values = metadata_of(record)
            wanted = {key: value for key, value in {**values, **changes}.items() if value is not None}
            # Told already, by an attempt whose reply was lost.
            if wanted == values:
                return
            fingerprint = (record.get("metadata") or {}).get("fingerprint", "")
            body = {"fingerprint": fingerprint, "items": items_of(wanted)}
            self._api.operate("POST", f"{self.path}/setMetadata", f"tell {self.name} something", body)

        errors.until_unchanged(attempt, _ATTEMPTS)

    def stop(self) -> None:
        """Stop it, and wait until it has stopped."""
        try:
            self._api.operate("POST", f"{self.path}/stop", f"stop the instance {self.name}")
        except errors.MissingError:
            raise self._gone() from None

    def delete(self) -> bool:
        """Delete it with its boot disk, and say whether it was there."""
        try:
            self._api.operate("DELETE", self.path, f"delete the instance {self.name}")
        except errors.MissingError:
            return False
        return True

    def _gone(self) -> InputError:
        return InputError(
            f"there is no instance {self.name}", resolution="stoneware doctor --platform google"
        )


def is_builder(record: Mapping[str, Any]) -> bool:
    """Say whether an instance is the builder of a bake."""
    return labels.BAKE in (record.get("labels") or {})


def machine(record: Mapping[str, Any], source: str = "") -> Machine:
    """Return an instance as a machine of kind `builder`, made from a source."""
    interface = (record.get("networkInterfaces") or [{}])[0]
    name, status = str(record.get("name")), str(record.get("status"))
    spec = MachineSpec(
        name=name,
        source=source,
        kind="builder",
        labels={"zone": last(record.get("zone"))},
        metadata=metadata_of(record),
    )
    return Machine(
        name=name,
        id=str(record.get("id", "")),
        kind="builder" if is_builder(record) else "machine",
        image_id="",
        image="",
        phase=_PHASES.get(status, Phase.STOPPED),
        health=Health.NONE,
        ip=str(interface.get("networkIP", "")),
        ports=(),
        config_digest="",
        error=str(record.get("statusMessage", "")),
        created=_time(record.get("creationTimestamp")) or 0.0,
        started=_time(record.get("lastStartTimestamp")),
        exit_code=None,
        leader=None,
        spec=spec,
    )


def _time(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


class Seldom(Generic[T]):
    """What is looked at often, and asked of Google once in `interval` seconds."""

    def __init__(
        self, ask: Callable[[], T], interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._interval = interval
        self._clock = clock
        self._known: list[tuple[float, T]] = []

    def __call__(self) -> T:
        """Return the answer, which may be as old as the interval."""
        now = self._clock()
        if not self._known or now - self._known[0][0] >= self._interval:
            self._known = [(now, self._ask())]
        return self._known[0][1]

    def forget(self) -> None:
        """Let the next call ask: we have changed it."""
        self._known = []

    def due(self) -> bool:
        """Say whether the next call would ask."""
        return not self._known or self._clock() - self._known[0][0] >= self._interval
