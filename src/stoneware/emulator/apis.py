"""The APIs that one emulator serves, each with its discovery document."""

from __future__ import annotations

from typing import Protocol

from stoneware.dataclass import dataclass
from stoneware.emulator import methods
from stoneware.emulator.discovery import Document, Method
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record


class Api(Protocol):
    """One API: its methods and schemas, which of them it serves, and how it answers."""

    @property
    def document(self) -> Document:
        """Its discovery document."""
        ...

    def serves(self, method: Method) -> bool:
        """Say whether a method of its document is served."""
        ...

    async def answer(self, call: Call) -> Record:
        """Return the reply to a call. Raises ApiError, 501 for a method that is not served."""
        ...


@dataclass(frozen=True)
class Compute:
    """Compute Engine."""

    service: Service

    @property
    def document(self) -> Document:
        """Its discovery document."""
        return self.service.document

    def serves(self, method: Method) -> bool:
        """Say whether a method is served."""
        return methods.handler(method) is not None

    async def answer(self, call: Call) -> Record:
        """Return the reply to a call. Raises ApiError."""
        return await methods.answer(self.service, call)


def of(service: Service) -> list[Api]:
    """Return all APIs of an emulator whose store and faults are those of `service`."""
    return [Compute(service)]
