"""What Terraform said, as data: plans, changes, states and diagnostics, read from its JSON.

Values Terraform marks as sensitive are masked here, so no caller can print them by accident.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import BuildError, HostError, StonewareError
from stoneware.terraform.statefile import LARGEST_STATE, STATE_DEPTH
from stoneware.untrusted.bounded import BoundsError, bounded_json

SENSITIVE = "(sensitive value)"


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning: what, why, about which resource and attribute, and where in the configuration."""

    severity: str
    summary: str
    detail: str = ""
    address: str = ""
    attribute: str = ""
    location: str = ""  # FILE:LINE, the file relative to the configuration's directory

    def __str__(self) -> str:
        about = " ".join(
            word
            for word in (
                self.address and f"with {self.address}",
                self.attribute and f"attribute {self.attribute}",
                self.location and f"at {self.location}",
            )
            if word
        )
        head = f"{self.summary} ({about})" if about else self.summary
        return f"{head}\n{self.detail}" if self.detail else head


@dataclass(frozen=True)
class Change:
    """What a plan would do to one resource. `before` and `after` are its attributes, or None.

    `actions` are Terraform's: no-op, create, read, update, delete, forget; a replacement has both create and
    delete. `changed` names the attributes that differ, `unknown` those that are known after the apply only,
    `replace_for` those that force a replacement. `importing` is the id of an object that is taken
    into the state. Sensitive values are masked.
    """

    address: str
    type: str
    actions: tuple[str, ...]
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    changed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    replace_for: tuple[str, ...] = ()
    mode: str = "managed"
    reason: str = ""
    previous_address: str = ""
    importing: str = ""

    @property
    def noop(self) -> bool:
        """Nothing real would be touched."""
        return self.actions in {("no-op",), ("read",)} and not self.previous_address

    @property
    def replaces(self) -> bool:
        """The object would be deleted and created again."""
        return {"create", "delete"} <= set(self.actions)

    @property
    def deletes(self) -> bool:
        """The object would be deleted, or Terraform would no longer know it."""
        return bool({"delete", "forget"} & set(self.actions))


@dataclass(frozen=True)
class Plan:
    """A plan that was saved to `file`. `drift` is what changed behind Terraform's back."""

    file: Path
    changes: tuple[Change, ...]
    drift: tuple[Change, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
    complete: bool = True

    @property
    def noop(self) -> bool:
        """Nothing would be done, and nothing taken into the state."""
        return all(change.noop and not change.importing for change in self.changes)


@dataclass(frozen=True)
class Applied:
    """The result of an apply or a destroy. Sensitive outputs are masked."""

    added: int
    changed: int
    removed: int
    outputs: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class Resource:
    """One resource in the state, with sensitive values masked."""

    address: str
    type: str
    values: Mapping[str, Any]
    mode: str = "managed"
    tainted: bool = False


@dataclass(frozen=True)
class State:
    """What Terraform knows to exist."""

    resources: tuple[Resource, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)

    def get(self, address: str) -> Resource | None:
        """Return the resource of that address, or None."""
        return next((resource for resource in self.resources if resource.address == address), None)


@dataclass(frozen=True)
class Progress:
    """What an apply does with one resource right now.

    `action` is create, update, delete or read; `status` is started, going, done or failed. A replacement is
    a delete and a create. `seconds` counts from the start.
    """

    address: str
    action: str
    status: str
    seconds: float = 0.0


class TerraformError(BuildError):
    """Terraform failed; `diagnostics` says how, `causes` are the provider's own errors behind it.

    One cause is shown as it was. The exit code is that of the causes, if they agree.
    """

    def __init__(
        self,
        what: str,
        diagnostics: tuple[Diagnostic, ...],
        causes: tuple[StonewareError, ...] = (),
    ) -> None:
        errors = [diagnostic for diagnostic in diagnostics if diagnostic.severity == "error"]
        # The provider's own words, without those that Terraform puts around them.
        if len(causes) == 1 and len(errors) <= 1:
            [cause] = causes
            super().__init__(
                cause.brief, details=cause.details, resolution=cause.resolution, location=cause.location
            )
        # Terraform has no code for it.
        elif len(errors) == 1 and errors[0].summary == "Error acquiring the state lock":
            super().__init__(
                "another command is working on the same state",
                details=_holder(errors[0].detail),
                resolution="wait until it has ended, then run this command again",
            )
        else:
            super().__init__(
                f"Terraform could not {what}",
                details="\n\n".join(str(error) for error in errors),
                location=errors[0].location if errors else "",
            )
        self.diagnostics = diagnostics
        self.causes = causes
        codes = {cause.exit_code for cause in causes}
        if len(codes) == 1:
            self.exit_code = codes.pop()


def _holder(text: str) -> str:
    """Return who holds a lock, out of Terraform's words about it, or these words."""
    found = dict(re.findall(r"^\s*(Who|Operation|Created|ID):[ ]+(\S.*)$", text, re.MULTILINE))
    if "Who" not in found:
        return text
    operation = found.get("Operation", "").removeprefix("OperationType").lower() or "a command"
    since = found.get("Created", "").partition(".")[0]
    return f"terraform {operation} by {found['Who']}, since {since} UTC (lock {found.get('ID', '')})"


def events(stdout: str) -> Iterator[dict[str, Any]]:
    """Yield the events of a command that was run with -json; lines that are none are passed over."""
    return filter(None, map(_event, stdout.split("\n")))


def _event(line: str) -> dict[str, Any]:
    """Return the event of a line, or an empty one where it is none."""
    if line.startswith("{"):
        with contextlib.suppress(BoundsError):
            found: dict[str, Any] = bounded_json(line, max_depth=STATE_DEPTH)
            return found
    return {}


def message(line: str) -> str:
    """Return what an event says to people, or the line itself where it is no event."""
    event = _event(line)
    return str(event.get("@message", "")) if event else line


@contextlib.contextmanager
def understood(what: str) -> Iterator[None]:
    """Raise HostError where what Terraform said is not in the form that is known of it."""
    try:
        yield
    except (BoundsError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise HostError(
            f"the output of Terraform about {what} cannot be read",
            details=f"{type(error).__name__}: {error}",
            resolution="unset STONEWARE_TERRAFORM    # uses the Terraform that comes with stoneware",
        ) from error


def document(text: str) -> dict[str, Any]:
    """Return the document of a `show -json`. Raises BoundsError where it is none."""
    found = bounded_json(text, LARGEST_STATE, STATE_DEPTH)
    if not isinstance(found, dict):
        raise BoundsError("not an object")
    return found


_STATUS = {
    "apply_start": "started",
    "apply_progress": "going",
    "apply_complete": "done",
    "apply_errored": "failed",
}


def parse_progress(line: str) -> Progress | None:
    """Return what a line of `-json` output tells of one resource, or None."""
    event = _event(line)
    status = _STATUS.get(str(event.get("type", "")))
    if status is None:
        return None
    with contextlib.suppress(LookupError, TypeError, ValueError, AttributeError):  # only good to see
        hook = event["hook"]
        seconds = float(hook.get("elapsed_seconds", 0))
        return Progress(str(hook["resource"]["addr"]), str(hook.get("action", "")), status, seconds)
    return None


def diagnostics(stdout: str, stderr: str) -> tuple[Diagnostic, ...]:
    """Return the errors and warnings of a command, from its events or else from its plain text."""
    with understood("an error"):
        found = tuple(_diagnostic(event["diagnostic"]) for event in events(stdout) if "diagnostic" in event)
    text = plain(stderr)
    # What ends Terraform before it tells events is plain text.
    if not found and text:
        summary, _, detail = text.partition("\n")
        found = (Diagnostic("error", summary.removeprefix("Error: "), detail.strip()),)
    return found


def plain(text: str) -> str:
    """Return Terraform's boxed text without the box."""
    lines = (re.sub(r"^[╷│╵] ?", "", line).rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _diagnostic(data: Mapping[str, Any]) -> Diagnostic:
    place = data.get("range") or {}
    line = (place.get("start") or {}).get("line")
    code = (data.get("snippet") or {}).get("code") or ""
    # Of the attribute Terraform says no more than the line of the configuration that it quotes.
    attribute = re.match(r"\s*([A-Za-z_][\w-]*)\s*=", code)
    return Diagnostic(
        severity=data.get("severity", "error"),
        summary=data.get("summary", ""),
        detail=data.get("detail", ""),
        address=data.get("address", ""),
        attribute=attribute.group(1) if attribute else "",
        location=f"{place['filename']}:{line}" if line else "",
    )


def parse_plan(document: Mapping[str, Any], file: Path, warnings: tuple[Diagnostic, ...] = ()) -> Plan:
    """Return a plan from the document of `terraform show -json PLAN`."""
    return Plan(
        file=file,
        changes=tuple(_change(item) for item in document.get("resource_changes", [])),
        drift=tuple(_change(item) for item in document.get("resource_drift", [])),
        warnings=warnings,
        complete=bool(document.get("complete", True)) and not document.get("errored", False),
    )


def _change(item: Mapping[str, Any]) -> Change:
    change = item["change"]
    unknown = change.get("after_unknown") or {}
    before, after = change.get("before") or {}, change.get("after") or {}
    # Terraform has null where an import has an empty string, map or list: these count as equal.
    differ = {name for name in {**before, **after} if (before.get(name) or None) != (after.get(name) or None)}
    return Change(
        address=item["address"],
        type=item["type"],
        actions=tuple(change["actions"]),
        before=masked(change.get("before"), change.get("before_sensitive")),
        after=masked(change.get("after"), change.get("after_sensitive")),
        changed=tuple(sorted(differ)),
        unknown=tuple(sorted(name for name, value in unknown.items() if _any_true(value))),
        replace_for=tuple(".".join(map(str, path)) for path in change.get("replace_paths", [])),
        mode=item.get("mode", "managed"),
        reason=item.get("action_reason", ""),
        previous_address=item.get("previous_address", ""),
        importing=str((change.get("importing") or {}).get("id") or ""),
    )


def parse_state(document: Mapping[str, Any]) -> State:
    """Return a state from the document of `terraform show -json`."""
    values = document.get("values") or {}
    return State(
        resources=tuple(_resources(values.get("root_module") or {})),
        outputs=outputs(values.get("outputs") or {}),
    )


def _resources(module: Mapping[str, Any]) -> Iterator[Resource]:
    for item in module.get("resources", []):
        yield Resource(
            address=item["address"],
            type=item["type"],
            values=masked(item.get("values") or {}, item.get("sensitive_values")),
            mode=item.get("mode", "managed"),
            tainted=bool(item.get("tainted", False)),
        )
    for child in module.get("child_modules", []):
        yield from _resources(child)


def parse_applied(stdout: str) -> Applied:
    """Return the result of `terraform apply -json`."""
    counts: Mapping[str, Any] = {}
    values: Mapping[str, Any] = {}
    with understood("its result"):
        for event in events(stdout):
            if event["type"] == "change_summary":
                counts = event["changes"]
            elif event["type"] == "outputs":
                values = event["outputs"]
        return Applied(
            added=counts.get("add", 0),
            changed=counts.get("change", 0),
            removed=counts.get("remove", 0),
            outputs=outputs(values),
            warnings=diagnostics(stdout, ""),
        )


def outputs(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return output values by name, the sensitive ones masked."""
    return {
        name: SENSITIVE if output.get("sensitive") else output.get("value") for name, output in values.items()
    }


def masked(value: Any, sensitive: Any) -> Any:
    """Return a value with those parts masked that Terraform's parallel structure marks with `true`."""
    if value is None or not sensitive:
        return value
    if sensitive is True:
        return SENSITIVE
    if isinstance(value, Mapping):
        return {key: masked(item, sensitive.get(key)) for key, item in value.items()}
    if isinstance(value, list):
        marks = [*sensitive, *[None] * len(value)]
        return [masked(item, mark) for item, mark in zip(value, marks, strict=False)]
    return value


def _any_true(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_any_true(item) for item in value.values())
    if isinstance(value, list):
        return any(_any_true(item) for item in value)
    return bool(value)
