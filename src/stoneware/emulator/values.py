"""Ids, times, fingerprints and links as Compute Engine makes them."""

from __future__ import annotations

import base64
import re
import secrets
from datetime import UTC, datetime
from typing import Any

from stoneware.emulator import errors
from stoneware.files import canonical_json, sha256_hex

# Whatever host is asked: by another link of its image, Terraform replaces a machine at each plan.
LINK = "https://www.googleapis.com/compute/v1/"
EMPTY_FINGERPRINT = "42WmSpB8rSM="
# Clients write a link of this server or of Google's, the path of one, or only its end.
_BASE = re.compile(r"^(?:https?://[^/]+)?/?(?:compute/[a-z0-9]+/)?(?=projects/|zones/|regions/|global/)")


def new_id() -> str:
    """Return an id of a resource: 64 bits without a sign, as a string."""
    return str(2**60 + secrets.randbelow(2**62))


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def zulu(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 with milliseconds and Z, as the APIs but Compute Engine's do."""
    return timestamp(seconds).replace("+00:00", "Z")


def fingerprint(content: Any) -> str:
    """Return eight bytes of a digest in URL-safe base64; for nothing, the value that Google gives."""
    if not content:
        return EMPTY_FINGERPRINT
    digest = bytes.fromhex(sha256_hex(canonical_json(content)))
    return base64.urlsafe_b64encode(digest[:8]).decode()


def reference(text: str, project: str, collection: str, scope: str) -> str:
    """Return the key that a reference names: a link of any host, a path from any level, or a bare name."""
    path = _BASE.sub("", text)
    if path.startswith("projects/"):
        return path
    if path.startswith(("zones/", "regions/", "global/")):
        return f"projects/{project}/{path}"
    if "/" in path or not path:
        raise errors.invalid(f"resource.{collection}", text, "The URL is malformed.")
    return f"projects/{project}/{scope}/{collection}/{path}"
