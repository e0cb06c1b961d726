"""Methods that issue tokens, and that say what one is for."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from stoneware.emulator import errors, values
from stoneware.emulator.errors import ApiError
from stoneware.emulator.service import Call
from stoneware.emulator.store import Record
from stoneware.emulator.tokens.records import ANYBODY, LIFETIME, Tokens
from stoneware.untrusted.bounded import BoundsError, bounded_json

_KEY = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"
_SKEW = 300  # seconds that a clock may be wrong
_LONGEST = 43_200  # seconds of a token of an impersonated account
_DURATION = re.compile(r"(\d{1,6})(?:\.\d{1,9})?s")
_ACCOUNT = re.compile(r"projects/[^/]+/serviceAccounts/([^/@]+@[^/@]+|\d+)")


def issue(tokens: Tokens, call: Call) -> Record:
    """Issue a token for a service account's signed assertion, or for a refresh token."""
    grant = call.body.get("grantType")
    if grant == _KEY:
        claims = _claims(call.body.get("assertion", ""))
        now = tokens.clock()
        if not _number(claims, "iat") - _SKEW <= now < _number(claims, "exp") + _SKEW:
            raise _refused(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim.",
            )
        if "target_audience" in claims:
            raise errors.not_implemented("An ID token", "the emulator signs nothing")
        who, scopes = str(claims.get("iss", "")), str(claims.get("scope", ""))
        if not who:
            raise _refused("invalid_grant", "Invalid JWT: the claim iss is missing.")
    elif grant == "refresh_token":
        # A refresh token does not say whose it is.
        who, scopes = ANYBODY, call.body.get("scope", "")
        if not call.body.get("refreshToken"):
            raise _refused("invalid_request", "Missing required parameter: refresh_token")
    else:
        raise _refused("unsupported_grant_type", f"Invalid grant_type: {grant}")
    return _issued(tokens, who, scopes) | ({"scope": scopes} if scopes else {})


def _issued(tokens: Tokens, who: str, scopes: str) -> Record:
    return {"access_token": tokens.issue(who, scopes), "expires_in": LIFETIME, "token_type": "Bearer"}


def exchange(tokens: Tokens, call: Call) -> Record:
    """Issue a token for one of another identity provider."""
    for field, wanted in (("grantType", _EXCHANGE), ("requestedTokenType", _ACCESS)):
        if call.body.get(field) != wanted:
            raise _refused("invalid_request", f"{field} must be {wanted}.")
    subject, kind = call.body.get("subjectToken"), call.body.get("subjectTokenType", "")
    if not subject or not kind:
        raise _refused("invalid_request", "subjectToken and subjectTokenType are required.")
    audience = call.body.get("audience", "")
    if kind != _ACCESS and not audience.startswith("//iam.googleapis.com/"):
        raise _refused("invalid_request", "audience must be the name of an identity provider.")
    name = "unknown"
    if kind.endswith((":jwt", ":id_token")):
        claims = _claims(subject)
        if _number(claims, "exp") + _SKEW <= tokens.clock():
            raise _refused("invalid_grant", "The token of the identity provider has expired.")
        name = str(claims.get("sub", name))
    who = f"principal:{audience.rpartition('/providers/')[0]}/subject/{name}"
    return _issued(tokens, who, call.body.get("scope", "")) | {"issued_token_type": _ACCESS}


def impersonate(tokens: Tokens, call: Call) -> Record:
    """Issue a token of a service account."""
    found = _ACCOUNT.fullmatch(call.query["name"])
    if found is None:
        raise errors.invalid("name", call.query["name"], "As projects/-/serviceAccounts/NAME@PROJECT….")
    scopes = call.body.get("scope", [])
    if not scopes:
        raise ApiError(400, "invalid", "At least one scope is required.")
    text = call.body.get("lifetime", f"{LIFETIME}s")
    lifetime = _DURATION.fullmatch(text)
    if lifetime is None or not 0 < int(lifetime[1]) <= _LONGEST:
        raise errors.invalid("lifetime", text, f"From 1s to {_LONGEST}s.")
    seconds = int(lifetime[1])
    return {
        "accessToken": tokens.issue(found[1], " ".join(scopes), seconds),
        # Google's Python library reads whole seconds only.
        "expireTime": values.zulu(tokens.clock() + seconds).split(".")[0] + "Z",
    }


def info(tokens: Tokens, call: Call) -> Record:
    """Return what a token is for."""
    token = call.query.get("access_token") or call.bearer
    record = tokens.known(token)
    if record is None or record["expires"] <= tokens.clock():
        raise _refused("invalid_token", "Invalid Value")
    return {
        "email": record["email"],
        "scope": record["scope"],
        "expires_in": int(record["expires"] - tokens.clock()),
        "verified_email": True,
    }


def user(tokens: Tokens, call: Call) -> Record:
    """Return whom the token of a request is of; one that was not issued here is anybody's."""
    record = tokens.known(call.bearer) or {}
    who = record.get("email", ANYBODY)
    return {"sub": who, "id": who, "email": who, "email_verified": True, "verified_email": True}


def _claims(token: str) -> dict[str, Any]:
    """Return what a JSON Web Token says; nobody looks at its signature."""
    parts = token.split(".")
    try:
        raw = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = bounded_json(raw)
    except (IndexError, binascii.Error, ValueError, BoundsError) as error:
        raise _refused("invalid_grant", "Invalid JWT: it is none.") from error
    if len(parts) != 3 or not isinstance(claims, dict):
        raise _refused("invalid_grant", "Invalid JWT: it is none.")
    return claims


def _number(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float):
        raise _refused("invalid_grant", f"Invalid JWT: the claim {name} is missing.")
    return value


def _refused(word: str, why: str) -> ApiError:
    return ApiError(400, word, why)
