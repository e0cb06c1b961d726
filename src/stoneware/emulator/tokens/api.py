"""The token endpoints as APIs of the emulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from stoneware.emulator import apis, discovery
from stoneware.emulator.apis import Functions
from stoneware.emulator.errors import ApiError
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record
from stoneware.emulator.tokens import grants, oauth
from stoneware.emulator.tokens.records import Tokens

Grants = Mapping[str, Callable[[Tokens, Call], Record]]
_FORM = "application/x-www-form-urlencoded"
_OAUTH: Grants = {
    "oauth.tokens.info": grants.info,
    "oauth.tokens.issue": grants.issue,
    "oauth.tokens.user": grants.user,
}
_TOKENINFO: Grants = {
    "oauth2.tokeninfo": grants.info,
    "oauth2.userinfo.get": grants.user,
    "oauth2.userinfo.v2.me.get": grants.user,
}
_STS: Grants = {"sts.token": grants.exchange}
_IAM: Grants = {"iamcredentials.projects.serviceAccounts.generateAccessToken": grants.impersonate}


class _Endpoint(Functions):
    """A token endpoint: its bodies may be forms, its errors are those of OAuth 2."""

    def __init__(
        self, document: discovery.Document, service: Service, tokens: Tokens, functions: Grants
    ) -> None:
        super().__init__(
            document, service, {name: partial(serve, tokens) for name, serve in functions.items()}
        )

    def body(self, raw: bytes, content_type: str) -> Any:
        """Return the fields of a form, named as those of documents, or a document. Raises ApiError (400)."""
        if not content_type.startswith(_FORM) or raw.lstrip().startswith(b"{"):
            return apis.document(raw)
        try:
            # Bounded, as all that clients send.
            pairs = parse_qsl(raw.decode(errors="replace"), max_num_fields=100)
        except ValueError as error:
            raise ApiError(400, "invalid_request", "The form has more than 100 fields.") from error
        return {_camel(name): value for name, value in pairs}

    def refusal(self, error: ApiError) -> Record:
        """Return an error as RFC 6749 words it."""
        return {"error": error.reason, "error_description": error.message}


class _Impersonation(_Endpoint):
    """IAM's credentials, whose errors are as those of other APIs."""

    def refusal(self, error: ApiError) -> Record:
        """Return an error as the API words it."""
        return error.rpc_body()


def endpoints(service: Service, tokens: Tokens) -> list[Functions]:
    """Return all that issues tokens."""
    return [
        _Endpoint(discovery.parse(oauth.DOCUMENT), service, tokens, _OAUTH),
        _Endpoint(discovery.load("oauth2.v2"), service, tokens, _TOKENINFO),
        _Endpoint(discovery.load("sts.v1"), service, tokens, _STS),
        _Impersonation(discovery.load("iamcredentials.v1"), service, tokens, _IAM),
    ]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
