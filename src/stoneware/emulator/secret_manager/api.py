"""Secret Manager as one of the emulator's APIs: which function serves which method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stoneware.emulator import discovery
from stoneware.emulator.apis import Functions
from stoneware.emulator.errors import ApiError
from stoneware.emulator.secret_manager import secrets, versions
from stoneware.emulator.secret_manager.records import Records
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record

_PLACES = ("projects", "projects.locations")  # secrets of all regions, and of one
_FUNCTIONS: dict[str, Callable[[Records, Call], Record]] = {
    "secrets.addVersion": versions.add,
    "secrets.create": secrets.create,
    "secrets.delete": secrets.delete,
    "secrets.get": secrets.get,
    "secrets.getIamPolicy": secrets.policy,
    "secrets.list": secrets.listed,
    "secrets.patch": secrets.patch,
    "secrets.setIamPolicy": secrets.set_policy,
    "secrets.testIamPermissions": secrets.permissions,
    "secrets.versions.access": versions.access,
    "secrets.versions.destroy": versions.destroy,
    "secrets.versions.disable": versions.disable,
    "secrets.versions.enable": versions.enable,
    "secrets.versions.get": versions.get,
    "secrets.versions.list": versions.listed,
}
_LOCATIONS: dict[str, Callable[[Records, Call], Record]] = {
    "secretmanager.projects.locations.get": secrets.location,
    "secretmanager.projects.locations.list": secrets.locations,
}


class SecretManager(Functions):
    """Secret Manager."""

    def __init__(self, service: Service) -> None:
        records = Records(service.store, service.clock)
        functions = _LOCATIONS | {
            f"secretmanager.{place}.{name}": serve for place in _PLACES for name, serve in _FUNCTIONS.items()
        }
        handlers = {name: partial(serve, records) for name, serve in functions.items()}
        super().__init__(discovery.load("secretmanager.v1"), service, handlers)

    def refusal(self, error: ApiError) -> Record:
        """Return an error as the API words it."""
        return error.rpc_body()
