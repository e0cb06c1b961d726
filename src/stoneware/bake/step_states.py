"""What a build agent's report says of one step."""

from __future__ import annotations

from stoneware.guest.reports import BuildReport


def is_over(report: BuildReport, number: int) -> bool:
    """Say whether a step has ended. An agent that waits for no go may be further on already."""
    if report.state == "failed" or report.step != number:
        return report.state == "failed" or report.step > number
    return report.state not in ("running", "secrets")


def has_failed(report: BuildReport, number: int) -> bool:
    """Say whether it is this step that failed: of what comes after the last one there is a message."""
    return report.state == "failed" and report.step == number and not report.message
