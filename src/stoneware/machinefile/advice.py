"""What a Machinefile may say and surely does not mean: warnings, never errors."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from stoneware.machinefile.directives import check_directive
from stoneware.machinefile.state import PROXIES, Hollow
from stoneware.machinefile.syntax import Checked, Layout, RawStage

# BuildKit's own build arguments, which no ARG has to declare.
_ALWAYS_USED = ("BUILDKIT_", "SOURCE_DATE_EPOCH")
# The words of BuildKit's check SecretsUsedInArgOrEnv.
_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
# Values that are a secret whatever the name: keys of clouds and forges, and passwords in an address.
_SECRET_VALUE = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40}|\bglpat-[\w-]{20}"
    r"|\bxox[abprs]-[\w-]{20}|-----BEGIN [A-Z ]*PRIVATE KEY|\b[a-z][a-z0-9+.-]*://[^\s/:@$]+:[^\s/:@$]+@"
)
# What the shell would take for a program called `[…`: an exec form whose JSON is wrong. A test of the shell,
# `[ -f x ]`, has a blank behind its bracket and no comma behind its first word.
_FAILED_JSON = re.compile(
    r"""\[(?:['"\u2018\u201c]|\s+(['"\u2018\u201c])[^'"\u2018-\u201d]*['"\u2019\u201d]\s*,)"""
)
_ONLY_LAST = ("CMD", "ENTRYPOINT", "HEALTHCHECK")  # an image has one of each


def unused_args(layout: Layout, build_args: Mapping[str, str], predefined: Container[str]) -> tuple[str, ...]:
    """Return the build arguments that no ARG of the file declares."""
    instructions = [*layout.arguments, *(each for stage in layout.stages for each in stage.instructions)]
    declared = {
        word.partition("=")[0]
        for checked in instructions
        if checked.source.keyword == "ARG"
        for word in checked.source.words
    }
    return tuple(
        sorted(
            name
            for name in build_args
            if name not in declared
            and name not in predefined
            and name.upper() not in PROXIES  # every RUN has these, declared or not
            and not name.startswith(_ALWAYS_USED)
        )
    )


def warnings(layout: Layout, needed: Sequence[int], hollow: Iterable[Hollow] = ()) -> tuple[str, ...]:
    """Return sentences with their place; about instructions only in the stages that are needed.

    `hollow` are the variables that are expanded and that nothing sets. Warnings that BuildKit has a check for
    end in its name. Raises InputError where there is one of them and the file says `# check=error=true`.
    """
    asked = check_directive(layout.source.lines)
    everything = [*_all(layout, needed), *_undefined(layout, hollow)]
    found = [each for each in everything if not asked.skips(each[2])]
    texts = tuple(
        f"{layout.source.filename}:{line}: {text}{f' ({rule})' if rule else ''}" for line, text, rule in found
    )
    # Advice of our own has no rule: error=true is about the checks that BuildKit has names for.
    named = [(line, text, rule) for line, text, rule in found if rule]
    if asked.error and named:
        line, text, rule = named[0]
        raise layout.source.fault(line, f"{text} ({rule})", "The file asks for this: # check=error=true.")
    return texts


_Found = tuple[int, str, str]  # the line, the sentence, BuildKit's name of the check or nothing


def _all(layout: Layout, needed: Sequence[int]) -> Iterator[_Found]:
    yield from _stage_names(layout)
    stages = [layout.stages[index] for index in needed]
    for stage in stages:
        yield from _repeated(stage)
    for checked in [*layout.arguments, *(each for stage in stages for each in stage.instructions)]:
        for rule in (_secrets, _maintainer, _failed_json, _windows_lines):
            yield from rule(checked)


def _stage_names(layout: Layout) -> Iterator[_Found]:
    lines: dict[str, int] = {}
    for stage in layout.stages:
        if stage.name in lines and stage.name:
            yield (
                stage.line,
                f"the stage name {stage.name} is used in line {lines[stage.name]} already; "
                "the later one counts",
                "DuplicateStageName",
            )
        if stage.name in {"scratch", "context"}:
            yield stage.line, f"a stage should not be called {stage.name}", "ReservedStageName"
        lines[stage.name] = stage.line


def _repeated(stage: RawStage) -> Iterator[_Found]:
    lines: dict[str, int] = {}
    for checked in stage.instructions:
        keyword, line = checked.source.keyword, checked.source.line
        if keyword in _ONLY_LAST and line != stage.line:  # that of the FROM: the base's ONBUILD
            if keyword in lines:
                text = f"{keyword} has no effect: only the last of a stage counts, that of line {line}"
                yield lines[keyword], text, "MultipleInstructionsDisallowed"
            lines[keyword] = line


def _undefined(layout: Layout, hollow: Iterable[Hollow]) -> Iterator[_Found]:
    outside = {word.partition("=")[0] for checked in layout.arguments for word in checked.source.words}
    with_text = {
        checked.source.line
        for stage in layout.stages
        for checked in stage.instructions
        if any(body.expand for body in checked.source.heredocs)
    }
    for each in dict.fromkeys(hollow):  # used twice in a line, told once
        if each.name in outside or each.name.startswith(("TARGET", "BUILD")):
            hint = f"; to have its value, write ARG {each.name} in this stage"
        elif each.near == each.name:
            hint = "; what an instruction sets counts from the next one on"
        elif each.near:
            hint = f"; did you mean ${each.near}?"
        # Such a dollar sign is often one of a template, which the machine is to fill in.
        elif each.line in with_text:
            hint = f"; for the text itself write \\${each.name}, or the delimiter in quotes"
        else:
            hint = ""
        yield each.line, f"${each.name} is empty: no ARG or ENV above sets it{hint}", "UndefinedVar"


def _secrets(checked: Checked) -> Iterator[_Found]:
    source = checked.source
    for name, value in _named_values(checked):
        by_name = _SECRET.search(name) and not _NO_SECRET.search(name)
        # An empty default only declares a variable of the runtime config.
        if source.keyword != "ARG" and not value.strip("\"'"):
            continue
        if by_name or _SECRET_VALUE.search(value):
            service = f", or for the service `run -e {name}=…` and secrets" if source.keyword == "ENV" else ""
            yield (
                source.line,
                f"{source.keyword} {name} would be kept in the image's history; "
                f"use RUN --mount=type=secret,id={name.lower()}{service}",
                "SecretsUsedInArgOrEnv",
            )


def _named_values(checked: Checked) -> Iterator[tuple[str, str]]:
    words = checked.source.words
    if checked.source.keyword == "ARG":
        yield from ((name, value) for name, _, value in (word.partition("=") for word in words))
    elif checked.source.keyword == "ENV":
        yield from zip(words[::2], words[1::2], strict=True)


def _maintainer(checked: Checked) -> Iterator[_Found]:
    if checked.source.keyword == "MAINTAINER":
        name = checked.source.words[0].strip("\"'")
        yield (
            checked.source.line,
            f'MAINTAINER is only kept in the history; write LABEL org.opencontainers.image.authors="{name}"',
            "MaintainerDeprecated",
        )


def _failed_json(checked: Checked) -> Iterator[_Found]:
    source = checked.source
    if source.json or source.keyword not in {"RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK"}:
        return
    checking = source.keyword == "HEALTHCHECK"
    keyword = "HEALTHCHECK CMD" if checking else source.keyword
    text = " ".join(source.words[1:] if checking else source.words).strip()
    if _FAILED_JSON.match(text):
        why = "its quotes must be double ones" if "'" in text.replace('"', "") else "it is not valid JSON"
        yield (
            source.line,
            f"{keyword} {text} is taken for a shell command, not for the exec form: {why}. "
            f'Write {keyword} ["PROGRAM", "ARGUMENT"]',
            "JSONArgsRecommended",
        )


def _windows_lines(checked: Checked) -> Iterator[_Found]:
    if any("\r\n" in body.content for body in checked.source.heredocs):
        yield (
            checked.source.line,
            "the lines of the here-document end in CR LF, as on Windows, and stay so: to a shell the CR is "
            "part of each last word. Save the file with line ends of Unix",
            "",
        )
