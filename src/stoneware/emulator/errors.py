"""Errors as googleapis.com words them, as replies and within operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

_KINDS = {"addresses": "address"}  # the singulars that an s less does not give

#: gRPC's words for an HTTP status, or for a reason where one status has several.
_STATUSES: dict[int | str, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    "alreadyExists": "ALREADY_EXISTS",
    "failedPrecondition": "FAILED_PRECONDITION",
}


class ApiError(Exception):
    """A request that the API refuses: an HTTP status, Google's reason word, a message, headers."""

    def __init__(
        self, status: int, reason: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON body that Google's clients read."""
        entry = {"message": self.message, "domain": "global", "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [entry]}}

    def rpc_body(self) -> dict[str, Any]:
        """Return the JSON body of the APIs that speak gRPC as well, with gRPC's word for the status."""
        status = _STATUSES.get(self.reason) or _STATUSES.get(self.status, "UNKNOWN")
        return {"error": {"code": self.status, "message": self.message, "status": status}}

    def within_operation(self) -> dict[str, Any]:
        """Return the fields of an operation that ended with this error.

        All three are needed: Google's Python client takes one without an HTTP status for a success, and
        Terraform reads the list only.
        """
        # The word of a reply is notFound, the same one of an operation NOT_FOUND.
        code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.reason).upper()
        return {
            "error": {"errors": [{"code": code, "message": self.message}]},
            "httpErrorStatusCode": self.status,
            "httpErrorMessage": HTTPStatus(self.status).phrase.upper(),
        }


def not_found(path: str) -> ApiError:
    """Return the error for a resource that is not there; `path` begins with `projects/`."""
    return ApiError(404, "notFound", f"The resource '{path}' was not found")


def exists(path: str) -> ApiError:
    """Return the error for a name that is taken."""
    return ApiError(409, "alreadyExists", f"The resource '{path}' already exists")


def invalid(field: str, value: object, why: str) -> ApiError:
    """Return the error for a field with a value the API does not take."""
    return ApiError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def required(field: str) -> ApiError:
    """Return the error for a field that is missing."""
    return ApiError(400, "required", f"Required field '{field}' not specified")


def in_use(path: str, user: str) -> ApiError:
    """Return the error for a resource, a key, that another one holds."""
    collection = path.split("/")[-2]
    kind = _KINDS.get(collection, collection.removesuffix("s"))
    message = f"The {kind} resource '{path}' is already being used by '{user}'"
    return ApiError(400, "resourceInUseByAnotherResource", message)


def unusable(why: str) -> ApiError:
    """Return the error for a use of a resource that it is not meant for."""
    return ApiError(400, "invalidResourceUsage", f"Invalid resource usage: '{why}'.")


def stale(what: str) -> ApiError:
    """Return the error for a fingerprint that is not the current one."""
    return ApiError(
        412, "conditionNotMet", f"{what} fingerprint either invalid or resource labels have changed"
    )


def unavailable(why: str) -> ApiError:
    """Return the error for what may work later."""
    return ApiError(503, "backendError", why)


def not_implemented(method: str, why: str) -> ApiError:
    """Return the error for a method that this emulator does not serve; it is never answered otherwise."""
    return ApiError(501, "notImplemented", f"{method} is not implemented by this emulator: {why}")
