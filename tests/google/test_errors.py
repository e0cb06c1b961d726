from __future__ import annotations

from typing import Any

import pytest

from stoneware.errors import HostError, StonewareError
from stoneware.platforms.google import errors

WHAT = "make the instance kafka-1"


def _response(status: int, message: str, reason: str = "", **more: Any) -> StonewareError:
    listed = [{"message": message, "reason": reason}] if reason else []
    fault = {"code": status, "message": message, "errors": listed, **more}
    return errors.of_response(WHAT, status, {"error": fault}, "proj-1")


def test_a_missing_permission_has_its_name() -> None:
    message = "Required 'compute.instances.create' permission for 'projects/proj-1/zones/z/instances/kafka-1'"
    found = _response(403, message, "forbidden")
    assert isinstance(found, HostError)
    assert found.brief == f"cannot {WHAT}: the permission compute.instances.create is missing"
    assert found.exit_code == 3


def test_a_missing_permission_of_storage_has_its_name() -> None:
    message = "x@y.z does not have storage.objects.get access to the Google Cloud Storage object."
    assert "the permission storage.objects.get is missing" in _response(403, message).brief


def test_a_disabled_api_has_the_command_that_enables_it() -> None:
    message = "Compute Engine API has not been used in project proj-1 before: compute.googleapis.com"
    found = _response(403, message, details=[{"reason": "SERVICE_DISABLED"}])
    assert isinstance(found, errors.AccessError)
    assert found.resolution == "gcloud services enable compute.googleapis.com --project proj-1"


def test_a_disabled_api_is_known_by_its_words_as_well() -> None:
    message = (
        "Cloud Storage API has not been used in project 12 before or it is disabled: storage.googleapis.com"
    )
    found = _response(403, message)
    assert found.brief.endswith("the API storage.googleapis.com is not enabled in the project proj-1")


@pytest.mark.parametrize(
    ("status", "reason", "more"),
    [
        (403, "accountDisabled", {}),
        (403, "", {"details": [{"reason": "BILLING_DISABLED"}]}),
        (400, "UREQ_PROJECT_BILLING_NOT_FOUND", {}),
    ],
)
def test_a_project_without_a_billing_account_is_told(status: int, reason: str, more: dict[str, Any]) -> None:
    found = _response(status, "The billing account is disabled in state absent", reason, **more)
    assert found.brief == f"cannot {WHAT}: the project proj-1 has no billing account"
    assert found.resolution.startswith("gcloud billing projects link proj-1")
    assert found.exit_code == 3


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "notFound", errors.MissingError),
        (409, "alreadyExists", errors.TakenError),
        (412, "conditionNotMet", errors.ChangedError),
        (403, "quotaExceeded", errors.QuotaError),
        (401, "authError", errors.AccessError),
        (503, "backendError", errors.CloudError),
        (400, "invalid", errors.CloudError),
    ],
)
def test_kinds_of_errors(status: int, reason: str, kind: type[StonewareError]) -> None:
    found = _response(status, "no\x1b[31m way", reason)
    assert type(found) is kind
    assert found.brief.startswith(f"cannot {WHAT}")
    assert "\x1b" not in found.details
    assert found.resolution


def test_a_project_that_is_not_there_is_named() -> None:
    found = _response(404, "The resource 'projects/proj-1' was not found", "notFound")
    assert type(found) is errors.MissingError
    assert found.brief == f"cannot {WHAT}: there is no project proj-1, or none that you may see"
    assert found.resolution.startswith("gcloud projects list")
    other = _response(404, "The resource 'projects/proj-1/zones/z' was not found", "notFound")
    assert other.brief == f"cannot {WHAT}: it is not there"


def test_a_clock_that_is_wrong_is_told() -> None:
    said = (
        "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
        "timeframe. Check your iat and exp values in the JWT claim."
    )
    found = errors.no_credentials(WHAT, said)
    assert type(found) is errors.AccessError
    assert (found.brief, found.exit_code) == (
        f"cannot {WHAT}: the clock of this computer differs from Google's",
        3,
    )
    assert found.resolution.startswith("timedatectl set-ntp true")
    assert "does not know who asks" in errors.no_credentials(WHAT, "invalid_grant: Bad Request").brief


@pytest.mark.parametrize(
    "operation",
    [
        {"error": {"errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "no room"}]}},
        {
            "httpErrorStatusCode": 503,
            "httpErrorMessage": "SERVICE UNAVAILABLE",
            "error": {
                "errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "message": "no room"}]
            },
        },
    ],
)
def test_a_stockout_is_known_in_both_shapes(operation: dict[str, Any]) -> None:
    found = errors.of_operation(WHAT, {"status": "DONE", **operation}, "proj-1")
    assert isinstance(found, errors.StockoutError)
    assert found.details == "no room"


@pytest.mark.parametrize(
    "operation",
    [
        {"error": {"errors": [{"code": "RESOURCE_NOT_FOUND", "message": "gone"}]}},
        {"error": {}},
        {"error": {"errors": None}},
        {"httpErrorStatusCode": 400, "httpErrorMessage": "BAD REQUEST"},
        {"httpErrorStatusCode": "odd"},
        {"error": {"errors": ["text", {"code": 3, "message": None}]}},
        {"httpErrorStatusCode": "²"},
        {"httpErrorStatusCode": "9" * 5000},
        {"error": "text"},
        {"error": [], "httpErrorStatusCode": True},
    ],
)
def test_every_shape_of_a_failed_operation_is_a_failure(operation: dict[str, Any]) -> None:
    assert isinstance(errors.of_operation(WHAT, operation, "proj-1"), errors.CloudError)


def test_an_operation_that_succeeded_is_none() -> None:
    assert errors.of_operation(WHAT, {"status": "DONE", "warnings": [{"code": "X"}]}, "proj-1") is None


@pytest.mark.parametrize("document", [None, [], "text", {"error": "text"}, {"error": {"errors": 3}}])
def test_replies_of_odd_shapes_are_told(document: object) -> None:
    found = errors.of_response(WHAT, 500, document, "proj-1")
    assert found.details
