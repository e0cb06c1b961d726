"""Cloud Storage as one of the emulator's APIs: which function serves which method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import unquote

from aiohttp import web

from stoneware.emulator import discovery, errors, validate
from stoneware.emulator.apis import Functions
from stoneware.emulator.service import Call, Service
from stoneware.emulator.storage import buckets, downloads, objects, uploads
from stoneware.emulator.storage.contents import Contents
from stoneware.emulator.storage.records import Records, bucket_key
from stoneware.emulator.storage.sessions import Sessions
from stoneware.emulator.store import Record

_FUNCTIONS: dict[str, Callable[[Records, Call], Record]] = {
    "buckets.delete": buckets.delete,
    "buckets.get": buckets.get,
    "buckets.getIamPolicy": buckets.policy,
    "buckets.getStorageLayout": buckets.layout,
    "buckets.insert": buckets.insert,
    "buckets.list": buckets.listed,
    "buckets.patch": buckets.patch,
    "buckets.setIamPolicy": buckets.set_policy,
    "buckets.testIamPermissions": buckets.permissions,
    "buckets.update": buckets.update,
    "managedFolders.list": buckets.managed_folders,
    "objects.compose": objects.compose,
    "objects.copy": objects.copy,
    "objects.delete": objects.delete,
    "objects.get": objects.get,
    "objects.insert": objects.insert,
    "objects.list": objects.listed,
    "objects.move": objects.move,
    "objects.patch": objects.patch,
    "objects.rewrite": objects.rewrite,
    "objects.update": objects.update,
}
_OWN_KEYS = "X-Goog-Encryption-Algorithm"  # a header: the client brings the key


class Storage(Functions):
    """Cloud Storage."""

    def __init__(self, service: Service) -> None:
        records = Records(service.store, Contents(service.store.root), service.clock)
        handlers = {f"storage.{name}": partial(serve, records) for name, serve in _FUNCTIONS.items()}
        super().__init__(discovery.load("storage.v1"), service, handlers)
        self.records = records
        self._sessions = Sessions(records, self.document)
        # At the start, for nothing watches the clock later.
        self._sessions.forget_old()

    async def transfer(self, call: Call, request: web.Request) -> web.StreamResponse:
        """Answer an upload or a download. Raises ApiError."""
        if (refusal := self.faults.refusal()) is not None:
            raise refusal
        if _OWN_KEYS in request.headers:
            raise errors.not_implemented(call.method.id, "keys of the client's own are not kept")
        if call.method.verb == "get":
            record = objects.found(self.records, call.query, reads=True)
            return await downloads.send(self.records, record, request)
        # First, for the address of a session has an uploadType as well.
        if session := request.query.get("upload_id"):
            if request.method == "DELETE":
                return self._sessions.cancel(session, call.guest)
            return await self._sessions.go_on(session, call, request)
        kind = request.query.get("uploadType")
        if kind == "resumable":
            return await self._sessions.begin(call, request)
        if kind == "media":
            return web.json_response(await uploads.media(self.records, call, request))
        if kind == "multipart":
            return web.json_response(await uploads.multipart(self.records, self.document, call, request))
        raise errors.ApiError(400, "badRequest", "uploadType is media, multipart or resumable.")

    def public(self, path: str, base: str) -> Call | None:
        """Return the call that a path of the XML API, `/BUCKET/OBJECT`, stands for; only reads are served."""
        bucket, _, name = path.removeprefix("/").partition("/")
        if not name or self.records.store.get(bucket_key(unquote(bucket))) is None:
            return None
        method = self.document.methods["storage.objects.get"]
        names = {"bucket": unquote(bucket), "object": unquote(name)}
        return Call(method, validate.parameters(method, names), base=base)
