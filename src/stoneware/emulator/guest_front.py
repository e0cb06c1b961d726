"""The emulator as instances see it: the few methods that their tokens are for."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from stoneware.emulator.errors import ApiError
from stoneware.emulator.front import (
    Front,
    bearer_of,
    given,
    parts_of,
    response_of,
    sent_of,
    transfers,
    unknown,
)
from stoneware.emulator.guest_access import Access, Accounts
from stoneware.emulator.service import Call, Service
from stoneware.model.guest_protocol import GUEST_ENDPOINT

_READS = ("GET", "HEAD")


class GuestFront:
    """Answers requests that come from machines of instances."""

    def __init__(self, front: Front, service: Service) -> None:
        self._front = front
        self._access = Access(service)
        self._accounts = Accounts()

    async def respond(self, request: web.Request, machine: str) -> web.StreamResponse:
        """Answer a request of a machine, by its name."""
        return await self._front.answered(request, partial(self._reply, machine))

    async def _reply(self, machine: str, request: web.Request) -> web.StreamResponse:
        # First: what is refused is work as well.
        self._accounts.charge(machine)
        path, query = parts_of(request.raw_path)
        found = self._front.router.find(request.method, path)
        if found is not None:
            call = Call(found.method, given(found, query), base=GUEST_ENDPOINT, guest=machine)
        elif request.method not in _READS or not (known := self._front.storage.public(path, GUEST_ENDPOINT)):
            raise unknown(request.method, path)
        else:
            call = known
        try:
            self._access.check(machine, call.method, call.query, bearer_of(request.headers))
            self._access.check_upload(call.method, call.query, request)
        except ApiError as error:
            api = self._front.apis[call.method.id.partition(".")[0]]
            return response_of(error.status, api.refusal(error), error.headers)
        if request.headers.get("Expect", "").lower() == "100-continue":  # curl asks first, with a large body
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # Else aiohttp takes the reply for begun, and could answer no error any more.
            request.writer.output_size = 0
        if found is None or transfers(found, request):
            return await self._front.transfer(call, request)
        sent = await sent_of(request, GUEST_ENDPOINT, "", machine)
        return response_of(*await self._front.one(sent))
