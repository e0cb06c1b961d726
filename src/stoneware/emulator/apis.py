"""What all APIs of an emulator have in common, and the ones of Compute Engine's kind of service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from stoneware.emulator import errors, methods
from stoneware.emulator.discovery import Document, Method
from stoneware.emulator.faults import Faults
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record, Store
from stoneware.untrusted.bounded import BoundsError, bounded_json

Handler = Callable[[Call], Record]
LARGEST = 4 << 20  # bytes of a document: 512 KiB of metadata, each byte escaped, has room
_DEEPEST = 100  # brackets around each other


class Api(ABC):
    """One API: its discovery document, which of its methods it serves, and how it answers."""

    def __init__(self, document: Document) -> None:
        self.document = document

    @abstractmethod
    def serves(self, method: Method) -> bool:
        """Say whether a method of the document is served."""

    @abstractmethod
    async def answer(self, call: Call) -> Record:
        """Return the reply to a call. Raises ApiError, 501 for a method that is not served."""

    def body(self, raw: bytes, content_type: str) -> Any:
        """Return the value that a request's body of a type stands for. Raises ApiError (400)."""
        del content_type  # some are forms, these are JSON
        return document(raw)

    def refusal(self, error: errors.ApiError) -> Record:
        """Return an error as the API words it."""
        return error.body()


def document(raw: bytes) -> Any:
    """Return the value of a body that is JSON; none is an empty object. Raises ApiError (400)."""
    try:
        return bounded_json(raw, LARGEST, _DEEPEST) if raw.strip() else {}
    except BoundsError as error:
        raise errors.ApiError(400, "parseError", f"Invalid JSON payload received. It {error}.") from error


class Compute(Api):
    """Compute Engine."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.document)
        self._service = service

    def serves(self, method: Method) -> bool:
        """Say whether a method is served."""
        return methods.handler(method) is not None

    async def answer(self, call: Call) -> Record:
        """Return the reply to a call. Raises ApiError."""
        return await methods.answer(self._service, call)


class Functions(Api):
    """An API with a function for each method that is served, by its id."""

    def __init__(self, described: Document, service: Service, handlers: Mapping[str, Handler]) -> None:
        super().__init__(described)
        self._service = service
        self._handlers = handlers

    @property
    def faults(self) -> Faults:
        """What goes wrong on demand."""
        return self._service.faults

    @property
    def store(self) -> Store:
        """The records of the emulator."""
        return self._service.store

    def serves(self, method: Method) -> bool:
        """Say whether a method is served."""
        return method.id in self._handlers

    async def answer(self, call: Call) -> Record:
        """Return the reply to a call; what it changes is kept whole or not at all. Raises ApiError."""
        # First: a server that is busy has done nothing.
        if (refusal := self.faults.refusal()) is not None:
            raise refusal
        serve = self._handlers.get(call.method.id)
        if serve is None:
            raise errors.not_implemented(call.method.id, "see the table of its methods in docs/emulator.md")
        with self.store.transaction():
            return serve(call)
