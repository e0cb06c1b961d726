"""Errors of Google's APIs as ours: what could not be done, what Google said, what to type next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stoneware.errors import HostError, InputError, StonewareError
from stoneware.untrusted.visible import LINES, visible

_NAME = r"[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+"
# How it says that an assertion has a time that is wrong.
_SKEW = re.compile(r"iat and exp|reasonable timeframe|used too early")
# `Required 'compute.images.create' permission for …` of Compute Engine, `Permission … denied` of others.
_PERMISSION = re.compile(rf"\b({_NAME})\b(?=['\"]? (?:permission|access|denied))|'({_NAME})'")
# Not that of the types that errors are of.
_SERVICE = re.compile(r"\b((?!type\.)[a-z]+\.googleapis\.com)\b")
_STATUS = re.compile(r"[1-5][0-9]{2}")
_LONGEST = 2000  # characters of what a server says
# In lowercase and without _: older APIs write accessNotConfigured, newer ones SERVICE_DISABLED.
_DISABLED = {"accessnotconfigured", "servicedisabled"}
# The same without its word, as replies that are no JSON say it.
_UNUSED = re.compile(r"has not been used in project \S+ before or it is disabled")
_NO_BILLING = {"billingdisabled", "billingnotenabled", "accountdisabled", "ureqprojectbillingnotfound"}
_STOCKOUT = {"zoneresourcepoolexhausted", "zoneresourcepoolexhaustedwithdetails"}
_QUOTA = {"quotaexceeded", "quota"}
_LIMITED = {"ratelimitexceeded", "userratelimitexceeded"}
_NOT_FOUND = {"resourcenotfound", "notfound"}
_CHANGED = {"aborted"}  # with status 409, of policies
_EXISTS = {"resourcealreadyexists", "alreadyexists"}


class CloudError(StonewareError):
    """Google refused something. `status` is that of HTTP (0: none), `reason` Google's word for it."""

    def __init__(self, brief: str, *, status: int = 0, reason: str = "", **more: str) -> None:
        super().__init__(brief, **more)
        self.status = status
        self.reason = reason


class MissingError(CloudError):
    """Something is not there."""


class TakenError(CloudError):
    """Something of that name is there already."""


class ChangedError(CloudError):
    """Something is no longer as it was when it was read: somebody else has changed it."""


def until_unchanged(attempt: Callable[[], None], tries: int = 5) -> None:
    """Read something and write it changed; again where somebody else has changed it in between.

    Raises ChangedError where that was so each time.
    """
    for left in reversed(range(tries)):
        try:
            attempt()
        except ChangedError:
            if not left:
                raise
        else:
            return


class StockoutError(CloudError):
    """A zone has no room for a machine now; another may."""


class QuotaError(CloudError):
    """The project may not have more."""


class AccessError(CloudError, HostError):
    """There are no credentials, a permission is missing, or an API is not enabled."""

    exit_code = HostError.exit_code


class UnreachableError(CloudError, HostError):
    """Google's servers, or the emulator, cannot be reached."""

    exit_code = HostError.exit_code


# The first that fits counts: a stockout and a quota come with statuses that mean other things too.
_KINDS: tuple[tuple[set[int], set[str], type[CloudError], str, str], ...] = (
    (
        set(),
        _STOCKOUT,
        StockoutError,
        ": the zone has no room for it now",
        "try again later, or name other zones or another machine_type in stoneware.toml",
    ),
    (
        set(),
        _QUOTA,
        QuotaError,
        ": the quota of the project is used up",
        "gcloud compute project-info describe --project {project}    # its quotas",
    ),
    ({404}, _NOT_FOUND, MissingError, ": it is not there", "stoneware doctor --platform google"),
    (set(), _CHANGED, ChangedError, ": somebody else has changed it meanwhile", "try again"),
    ({409}, _EXISTS, TakenError, ": there is one already", "take another name, or remove what has it"),
    ({412}, set(), ChangedError, ": somebody else has changed it meanwhile", "try again"),
    (
        {429, 500, 502, 503, 504},
        _LIMITED,
        CloudError,
        ": Google's servers are busy",
        "try again later: https://status.cloud.google.com",
    ),
)


def missing_extra(error: ImportError) -> InputError:
    """Return the error for Google's libraries that are not installed."""
    return InputError(
        "the platform google needs libraries that are not installed",
        details=f"There is no module {error.name}.",
        resolution="pip install 'stoneware[google]'",
    )


def of_response(what: str, status: int, document: object, project: str) -> StonewareError:
    """Return the error for a reply that is none of success; `what` is the verb and what it was about."""
    said = document.get("error") if isinstance(document, Mapping) else None
    fault = said if isinstance(said, Mapping) else {}
    message = str(fault.get("message") or (said if isinstance(said, str) else "") or f"HTTP status {status}")
    # Compute Engine and Storage say it in `errors`, newer APIs in `details` and `status`.
    reasons = [*_reasons(fault.get("errors"), "reason"), *_reasons(fault.get("details"), "reason")]
    reasons += _reasons([fault], "status")  # gRPC's word, of the APIs that have it
    return translated(what, status, reasons, message, project)


def of_operation(what: str, operation: Mapping[str, Any], project: str) -> StonewareError | None:
    """Return the error of an operation that has failed, in whichever of the two shapes, or None."""
    # Two shapes: a list of errors, or the status and message of HTTP, or both.
    fault = operation.get("error")
    faults = fault.get("errors") if isinstance(fault, Mapping) else None
    status = operation.get("httpErrorStatusCode")
    if fault is None and status is None:
        return None
    reasons = _reasons(faults, "code")
    messages = _reasons(faults, "message") or [str(operation.get("httpErrorMessage") or "it gave no reason")]
    code = int(str(status)) if _STATUS.fullmatch(str(status)) else 0
    return translated(what, code, reasons, "\n".join(messages), project)


def translated(what: str, status: int, reasons: Sequence[str], message: str, project: str) -> StonewareError:
    """Return the error for what Google said. `reasons` are its words for it, of whichever API."""
    known = {reason.lower().replace("_", "") for reason in reasons}
    reason = reasons[0] if reasons else ""
    text = visible(message, LINES)[:_LONGEST]
    # Before 403: an API that is off is refused as if a permission were missing.
    if known & _DISABLED or _UNUSED.search(text):
        return _disabled(what, status, reason, text, project)
    if status == 401:
        return no_credentials(what, text)
    if known & _NO_BILLING:
        return AccessError(
            f"cannot {what}: the project {project} has no billing account",
            status=status,
            reason=reason,
            details=text,
            resolution=f"gcloud billing projects link {shlex.quote(project)} --billing-account ACCOUNT",
        )
    # Quotas and limits are 403 too, with nothing to permit.
    if status == 403 and not known & (_QUOTA | _LIMITED):
        return _denied(what, reason, text, project)
    # Any resource of a project that is not there is told as missing, with the project alone as its name.
    if status == 404 and f"'projects/{project}'" in text:
        return _no_project(what, reason, text, project)
    kind, why, resolution = _kind(status, known)
    return kind(
        f"cannot {what}{why}",
        status=status,
        reason=reason,
        details=text,
        resolution=resolution.format(project=shlex.quote(project)),
    )


def _kind(status: int, known: set[str]) -> tuple[type[CloudError], str, str]:
    """Return an error's class, what its first line says besides, and what to type next."""
    for statuses, reasons, kind, why, resolution in _KINDS:
        if status in statuses or known & reasons:
            return kind, why, resolution
    return CloudError, "", "stoneware doctor --platform google"


def no_credentials(what: str, why: object) -> StonewareError:
    """Return the error for credentials that are not there or are not taken."""
    # A new login, which the other error asks for, does not help against a clock.
    if _SKEW.search(str(why)):
        return AccessError(
            f"cannot {what}: the clock of this computer differs from Google's",
            status=401,
            details=visible(str(why), LINES)[:_LONGEST],
            resolution="timedatectl set-ntp true    # sets the clock, and keeps it right",
        )
    return AccessError(
        f"cannot {what}: Google does not know who asks",
        status=401,
        details=visible(str(why), LINES)[:_LONGEST],
        resolution="gcloud auth application-default login",
    )


def unreachable(what: str, where: str, why: object) -> StonewareError:
    """Return the error for a server that does not answer."""
    return UnreachableError(
        f"cannot {what}: {where} does not answer",
        details=visible(str(why), LINES)[:_LONGEST],
        resolution="stoneware doctor --platform google",
    )


def _no_project(what: str, reason: str, text: str, project: str) -> MissingError:
    return MissingError(
        f"cannot {what}: there is no project {project}, or none that you may see",
        status=404,
        reason=reason,
        details=text,
        resolution="gcloud projects list    # then project = … in stoneware.toml",
    )


def _disabled(what: str, status: int, reason: str, text: str, project: str) -> AccessError:
    found = _SERVICE.search(text)
    service = found[1] if found else "compute.googleapis.com"
    return AccessError(
        f"cannot {what}: the API {service} is not enabled in the project {project}",
        status=status,
        reason=reason,
        details=text,
        resolution=f"gcloud services enable {service} --project {shlex.quote(project)}",
    )


def _denied(what: str, reason: str, text: str, project: str) -> AccessError:
    found = _PERMISSION.search(text)
    permission = (found[1] or found[2]) if found else ""
    why = f"the permission {permission} is missing" if permission else "Google forbids it"
    return AccessError(
        f"cannot {what}: {why}",
        status=403,
        reason=reason,
        details=text,
        resolution=f"gcloud projects get-iam-policy {shlex.quote(project)}    # who may do what",
    )


def _reasons(listed: object, key: str) -> list[str]:
    """Return the texts below a key of each of a list's objects, whatever else a server put there."""
    found = (
        [item.get(key) for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    )
    return [text for text in found if isinstance(text, str) and text]
