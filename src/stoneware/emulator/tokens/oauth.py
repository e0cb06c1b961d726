"""The token endpoint of OAuth 2, which has no discovery document; this is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT = {"type": "string"}

DOCUMENT: Mapping[str, Any] = {
    "name": "oauth",
    "title": "OAuth 2.0 endpoints",
    "revision": "RFC 6749",
    "basePath": "/",
    "resources": {
        "tokens": {
            "methods": {
                "issue": {
                    "id": "oauth.tokens.issue",
                    "httpMethod": "POST",
                    "path": "token",
                    "request": {"$ref": "TokenRequest"},
                    "response": {"$ref": "TokenResponse"},
                },
                "info": {
                    "id": "oauth.tokens.info",
                    "httpMethod": "GET",
                    "path": "tokeninfo",
                    "parameters": {"access_token": {"type": "string", "location": "query"}},
                    "response": {"$ref": "TokenInfo"},
                },
                "user": {
                    "id": "oauth.tokens.user",
                    "httpMethod": "GET",
                    "path": "v1/userinfo",
                    "response": {"$ref": "UserInfo"},
                },
            }
        }
    },
    "schemas": {
        "TokenRequest": {
            "id": "TokenRequest",
            "type": "object",
            "properties": dict.fromkeys(
                ("assertion", "clientId", "clientSecret", "grantType", "refreshToken", "scope"), _TEXT
            ),
        },
        **{name: {"id": name, "type": "object"} for name in ("TokenResponse", "TokenInfo", "UserInfo")},
    },
}
