"""What machines and builders report, bounded and checked where it comes in.

A report is its guest's word, and the guest may be an attacker. Everything that reads one goes through here:
sizes and nesting are bounded before anything is parsed, types and ranges are checked after, and what does not
hold raises `InvalidReportError`, so that it is shown as invalid for that machine and stops nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.untrusted.bounded import BoundsError, bounded_json, without_surrogates

STATUS = "stoneware/status"
HEALTH = "stoneware/health"
BUILD = "stoneware/build"
ALIVE = "stoneware/alive"  # a builder's heartbeat: a number that grows
FILES = "stoneware/files"  # the digests of the files as they were written …
INSPECTION = "stoneware/inspection"  # … and as they are now, behind the nonce that was asked with
COMMAND = "stoneware/command"  # what a command came to, behind the nonce that it was asked for with

MOST_BYTES = 32 * 1024  # of one report: what the metadata server takes
MOST_DEPTH = 8
MOST_KEYS = 64
MOST_LINES = 10_000
MOST_PATH = 4096
MOST_STEPS = 1_000_000
MOST_CHECKS = 1 << 53  # a machine may be unhealthy for years

PHASES = ("configuring", "running", "failed", "stopped")
HEALTHS = ("none", "starting", "healthy", "unhealthy")
BUILD_STATES = (
    *("running", "secrets", "done", "failed", "handed", "over"),
    *("sealing", "listing", "sealed", "finished"),
)

_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")
# As sha256sum writes it: a backslash in front says that the name has escapes.
_LINE = re.compile(r"(\\?)([0-9a-f]{64}|missing)  (/.*)", re.DOTALL)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class InvalidReportError(ValueError):
    """A report that is not what its name says; the text says why, without a word of the report's own."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"its report {name} is invalid: it {why}")


@dataclass(frozen=True)
class Status:
    """The report of a machine's boot agent; texts are empty where they are not reported."""

    phase: str = ""
    image: str = ""
    config: str = ""
    error: str = ""


@dataclass(frozen=True)
class HealthReport:
    """The report of a machine's health check. `failing`: how often it failed in a row; 0 where it passes.

    `output` is what it said last: lines of the machine's own.
    """

    status: str = "none"
    exit_code: int = 0
    failing: int = 0
    output: str = ""


@dataclass(frozen=True)
class BuildReport:
    """The report of a build agent. `boot` differs from one start of the agent to the next."""

    step: int
    state: str
    exit_code: int
    message: str
    boot: str


def texts(document: Any) -> dict[str, str]:
    """Return the reports of a machine by name, whatever its file has come to hold."""
    if not isinstance(document, dict):
        return {}
    found = {str(name): value for name, value in document.items() if isinstance(value, str)}
    plain: dict[str, str] = without_surrogates(found)
    return plain


def status_of(reports: Mapping[str, str]) -> Status:
    """Return a machine's status; an empty one where it has reported none. Raises InvalidReportError."""
    report = _object(STATUS, reports)
    return Status(
        phase=_word(STATUS, report, "phase", PHASES),
        image=_digest(STATUS, report, "image"),
        config=_digest(STATUS, report, "config"),
        error=_text(STATUS, report, "error"),
    )


def health_of(reports: Mapping[str, str]) -> HealthReport:
    """Return the health that a machine reports, `none` where it reports none. Raises InvalidReportError."""
    report = _object(HEALTH, reports)
    return HealthReport(
        status=_word(HEALTH, report, "status", HEALTHS) or "none",
        exit_code=_number(HEALTH, report, "exit", 255),
        failing=_number(HEALTH, report, "failing", MOST_CHECKS),
        output=_text(HEALTH, report, "output"),
    )


def build_report_of(reports: Mapping[str, str], token: str) -> BuildReport | None:
    """Return the build agent's report, or None where none carries the bake's token.

    Raises InvalidReportError.
    """
    report = _object(BUILD, reports)
    # Of another bake, or something else that lies in its place: no report.
    if report.get("token") != token:
        return None
    if not {"step", "state"} <= set(report):
        raise InvalidReportError(BUILD, "has no step or no state")
    return BuildReport(
        step=_number(BUILD, report, "step", MOST_STEPS),
        state=_word(BUILD, report, "state", BUILD_STATES),
        exit_code=_number(BUILD, report, "exit", 255),
        message=_text(BUILD, report, "message"),
        boot=_text(BUILD, report, "boot"),
    )


def inspection_of(reports: Mapping[str, str], nonce: str) -> dict[str, str] | None:
    """Return the digests of a machine's files as they are now, None unless it answered this nonce."""
    first, _, rest = reports.get(INSPECTION, "").partition("\n")
    # Without a nonce, an empty report would be an answer to it.
    return digests(rest) if nonce and first.strip() == nonce else None


def command_of(reports: Mapping[str, str], nonce: str) -> tuple[int, str] | None:
    """Return the exit code and the output of a command, None unless the machine answered this nonce.

    Raises InvalidReportError.
    """
    first, _, said = reports.get(COMMAND, "").partition("\n")
    answered, _, code = first.partition(" ")
    if not nonce or answered != nonce:
        return None
    if len(said) > MOST_BYTES or re.fullmatch(r"[0-9]{1,3}", code, re.ASCII) is None or int(code) > 255:
        raise InvalidReportError(COMMAND, "has no exit code")
    return int(code), said


def digests(text: str) -> dict[str, str]:
    """Return digests by path from lines as sha256sum writes them, `` for `missing`; garbage is left out."""
    found = {}
    # Cut off behind the last line that counts: a report may have a million of them.
    for line in text.split("\n", MOST_LINES)[:MOST_LINES]:
        match = _LINE.fullmatch(line)
        if match:
            escaped, digest, path = match.groups()
            if escaped:
                path = re.sub(r"\\[\\nr]", lambda each: _ESCAPES[each[0]], path)
            if len(path) <= MOST_PATH:
                found[path] = "" if digest == "missing" else digest
    return found


def _object(name: str, reports: Mapping[str, str]) -> dict[str, Any]:
    """Return a report as data; `{}` where there is none."""
    try:
        value = bounded_json(reports.get(name, "{}"), MOST_BYTES, MOST_DEPTH)
    except BoundsError as error:
        raise InvalidReportError(name, str(error)) from None
    if not isinstance(value, dict):
        raise InvalidReportError(name, "is no JSON object")
    if len(value) > MOST_KEYS:
        raise InvalidReportError(name, f"has more than {MOST_KEYS} members")
    return value


def _text(name: str, report: Mapping[str, Any], key: str) -> str:
    value = report.get(key, "")
    if not isinstance(value, str):
        raise InvalidReportError(name, f"has a {key} that is no text")
    return value


def _word(name: str, report: Mapping[str, Any], key: str, words: Iterable[str]) -> str:
    value = _text(name, report, key)
    if value and value not in words:
        raise InvalidReportError(name, f"has a {key} that there is not")
    return value


def _digest(name: str, report: Mapping[str, Any], key: str) -> str:
    value = _text(name, report, key)
    if value and _DIGEST.fullmatch(value) is None:
        raise InvalidReportError(name, f"has a {key} that is no digest")
    return value


def _number(name: str, report: Mapping[str, Any], key: str, most: int) -> int:
    value = report.get(key, 0)
    # True is an int in Python.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidReportError(name, f"has a {key} that is no number from 0 to {most}")
    return value
