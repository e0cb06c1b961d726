"""Step keys: what decides a step's result, hashed, and kept in words so that a rebuild can be explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.files import canonical_json, sha256_hex
from stoneware.machinefile.context import Source
from stoneware.machinefile.recipe import CopyStep, Heredoc, Mount, RunStep, Step, WorkdirStep

# Raise this when a builder does something else for the same step: all checkpoints are then built again.
STEP_CODE_VERSION = 3
# Steps with more files than this keep shortened digests in their document.
_MANY_FILES = 2000
_SHOWN = 5
# Fields that do not decide what a step makes: where it stands, how it is shown, and the proxies.
_NOT_KEYED = {"index", "stage", "line", "text", "arg_names", "unkeyed_env"}
_KINDS: dict[type[Step], str] = {RunStep: "RUN", WorkdirStep: "WORKDIR"}


@dataclass(frozen=True)
class StepInputs:
    """What a step takes from outside the recipe.

    `sources` are the files of a COPY, an ADD, or of bind mounts from the context. `stages` are the keys (or
    image ids) of what --from and mounts name, by that name. `downloads` are digests of ADD's URLs if known.
    """

    architecture: str
    sources: tuple[Source, ...] = ()
    stages: tuple[tuple[str, str], ...] = ()
    downloads: tuple[tuple[str, str], ...] = ()


def step_kind(step: Step) -> str:
    """Return RUN, COPY, ADD or WORKDIR."""
    if isinstance(step, CopyStep):
        return "ADD" if step.add else "COPY"
    return _KINDS[type(step)]


def step_key(parent_key: str, step: Step, inputs: StepInputs) -> str:
    """Return the key of a step's result: 64 hexadecimal digits."""
    document = {
        "code": STEP_CODE_VERSION,
        "architecture": inputs.architecture,
        "parent": parent_key,
        "kind": step_kind(step),
        "step": _semantics(step),
        "sources": [[source.text, source.kind, source.name, source.digest] for source in inputs.sources],
        "stages": sorted(map(list, inputs.stages)),
        "downloads": sorted(map(list, inputs.downloads)),
    }
    return sha256_hex(canonical_json(_printable(document)))


def _semantics(step: Step) -> dict[str, Any]:
    """Return a step's deciding fields as JSON data; the environment is sorted, as its order is no matter."""
    document = {
        each.name: _plain(getattr(step, each.name)) for each in fields(step) if each.name not in _NOT_KEYED
    }
    if isinstance(step, RunStep):
        document["env"] = sorted([list(pair) for pair in step.env])
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mount | Heredoc):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _printable(value: Any) -> Any:
    """Return data whose texts can be written as UTF-8: file names may hold any bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple):
        return [_printable(each) for each in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return value


def describe_inputs(parent_key: str, step: Step, inputs: StepInputs) -> dict[str, Any]:
    """Return a step's inputs as a JSON document, saved with its checkpoint and compared by `explain`."""
    semantics = _semantics(step)
    variables = dict(step.env) if isinstance(step, RunStep) else {}
    arguments = set(step.arg_names) if isinstance(step, RunStep) else set()
    semantics.pop("env", None)
    document = {
        "code": STEP_CODE_VERSION,
        "architecture": inputs.architecture,
        "parent": parent_key,
        "kind": step_kind(step),
        "instruction": step.text,
        "fields": semantics,
        "args": {name: value for name, value in variables.items() if name in arguments},
        "env": {name: value for name, value in variables.items() if name not in arguments},
        "files": _files(inputs.sources),
        "stages": dict(inputs.stages),
        "downloads": dict(inputs.downloads),
    }
    printable: dict[str, Any] = _printable(document)
    return printable


def _files(sources: tuple[Source, ...]) -> dict[str, str]:
    """Return what each copied path is, in one short text, by its path from the context's root."""
    many = sum(len(source.entries) for source in sources) > _MANY_FILES
    found: dict[str, str] = {}
    for source in sources:
        for entry in source.entries:
            content = entry.digest or entry.target
            content = content[:16] if many and entry.digest else content
            path = f"{source.path}/{entry.name}" if source.kind == "directory" and source.path else entry.name
            if source.kind in {"file", "archive"}:
                path = source.path
            found[path] = f"{entry.kind} {entry.mode:04o} {entry.uid}:{entry.gid} {content}"
    return found


def explain(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    """Return in words what differs between the documents of two steps, the most telling difference first."""
    if old is None:
        return "not built yet"
    reasons = [
        *_changed_code(old, new),
        *_changed_variables("argument", old.get("args", {}), new["args"]),
        *_changed_variables("variable", old.get("env", {}), new["env"]),
        *_changed_instruction(old, new),
        *_changed_files(old.get("files", {}), new["files"]),
        *_changed_names("stage", old.get("stages", {}), new["stages"]),
        *_changed_names("download", old.get("downloads", {}), new["downloads"]),
    ]
    if not reasons and old.get("parent") != new["parent"]:
        return "the step before it changed"
    return "; ".join(reasons) or "nothing changed"


def _changed_code(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    reasons = []
    if old.get("code") != new["code"]:
        reasons.append("this version of stoneware builds steps differently")
    if old.get("architecture") != new["architecture"]:
        reasons.append(f"architecture changed from {old.get('architecture')} to {new['architecture']}")
    return reasons


def _changed_variables(word: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    reasons = []
    for name in sorted({*old, *new}):
        if name not in old:
            reasons.append(f"{word} {name} added")
        elif name not in new:
            reasons.append(f"{word} {name} removed")
        elif old[name] != new[name]:
            reasons.append(f"{word} {name} changed from {_short(old[name])} to {_short(new[name])}")
    return reasons


def _short(value: str) -> str:
    shown = value if len(value) <= 40 else value[:37] + "…"
    return shown if shown and shown.isprintable() and " " not in shown else repr(shown)


def _changed_instruction(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = old.get("fields", {}), new["fields"]
    if old.get("kind") != new["kind"]:
        return ["instruction changed"]
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not names:
        return []
    told = {"user", "workdir", "network"} if new["kind"] == "RUN" else {"user"}
    if set(names) <= told:
        return [
            f"{name} changed from {before.get(name) or 'none'} to {after.get(name) or 'none'}"
            for name in names
        ]
    return ["instruction changed"]


def _changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        *_files_that("changed", [path for path in new if path in old and _differs(old[path], new[path])]),
        *_files_that("added", [path for path in new if path not in old]),
        *_files_that("removed", [path for path in old if path not in new]),
    ]


def _differs(old: str, new: str) -> bool:
    """Compare two descriptions; a shortened digest equals the full one it begins."""
    head_old, _, content_old = old.rpartition(" ")
    head_new, _, content_new = new.rpartition(" ")
    if head_old != head_new:
        return True
    if {len(content_old), len(content_new)} == {16, 64}:
        return content_old[:16] != content_new[:16]
    return content_old != content_new


def _files_that(word: str, paths: list[str]) -> list[str]:
    if not paths:
        return []
    if len(paths) == 1:
        return [f"file {paths[0]} {word}"]
    shown = ", ".join(sorted(paths)[:_SHOWN])
    rest = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return [f"{len(paths)} files {word}: {shown}{rest}"]


def _changed_names(word: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [f"{word} {name} changed" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
