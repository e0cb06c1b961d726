"""Which instructions exist, what they take, and how a file falls into stages, before any value is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field, replace

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile.flags import FlagError, Flags, nearest, parse_flags
from stoneware.machinefile.lex import LexError
from stoneware.machinefile.mounts import RawMount, read_mount
from stoneware.machinefile.parser import Instruction, Source, heredoc_word, parse_source

_HEALTH_FLAGS = ("interval", "timeout", "start-period", "start-interval", "retries")
_TEXT_FLAGS = {
    "FROM": ("platform",),
    "RUN": ("network", "security"),
    "COPY": ("chown", "chmod", "from"),
    "ADD": ("chown", "chmod", "checksum"),
    "HEALTHCHECK": _HEALTH_FLAGS,
}
_MANY_FLAGS = {"RUN": ("mount", "device"), "COPY": ("exclude",), "ADD": ("exclude",)}
_SWITCHES = {"COPY": ("link", "parents"), "ADD": ("link", "keep-git-dir", "unpack")}
KEYWORDS = (
    *("FROM", "ARG", "ENV", "RUN", "COPY", "ADD", "WORKDIR", "USER", "SHELL", "ENTRYPOINT", "CMD"),
    *("HEALTHCHECK", "VOLUME", "EXPOSE", "LABEL", "STOPSIGNAL", "ONBUILD", "MAINTAINER"),
)
_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
_AT_LEAST_ONE = {"ENV", "LABEL", "ARG", "EXPOSE", "VOLUME", "HEALTHCHECK", "SHELL"}
_EXACTLY_ONE = {"WORKDIR", "USER", "STOPSIGNAL", "MAINTAINER"}
_NO_TRIGGER = {"ONBUILD", "FROM", "MAINTAINER"}


@dataclass(frozen=True)
class Checked:
    """An instruction whose form is right, with its flags read."""

    source: Instruction
    flags: Flags
    mounts: tuple[RawMount, ...] = ()


@dataclass(frozen=True)
class RawStage:
    """A stage before expansion; `name` is in small letters, empty where it has none."""

    index: int
    name: str
    base: str
    platform: str
    line: int
    text: str
    instructions: tuple[Checked, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A checked Machinefile: the global ARGs and the stages."""

    source: Source
    arguments: tuple[Checked, ...] = ()
    stages: tuple[RawStage, ...] = field(default=())


@contextmanager
def located(source: Source, line: int) -> Iterator[None]:
    """Turn what small parsers say about a value into the error about its line."""
    try:
        yield
    except FlagError as error:
        raise source.fault(line, str(error), error.hint) from error
    except LexError as error:
        raise source.fault(line, str(error), _lex_hint(str(error))) from error


def _lex_hint(message: str) -> str:
    if "quote" in message:
        return "Close the quote, or put the escape character before it."
    if "is not allowed to be" in message or message.partition(":")[0].isidentifier():
        name = message.partition(":")[0]
        return f"Give it a value: --build-arg {name}=VALUE." if name.isidentifier() else ""
    return "Write ${NAME}, ${NAME:-default} or another modifier of the Machinefile reference."


def lay_out(source: Source) -> Layout:
    """Check every instruction's form and split the file into stages. Raises InputError."""
    arguments: list[Checked] = []
    stages: list[RawStage] = []
    content: list[Checked] = []
    for instruction in source.instructions:
        checked = _check(source, instruction)
        if instruction.keyword == "FROM":
            _close(stages, content)
            stages.append(_stage(source, checked, len(stages)))
        elif stages:
            content.append(checked)
        elif instruction.keyword == "ARG":
            arguments.append(checked)
        else:
            raise source.fault(
                instruction.line,
                f"{instruction.keyword} is before the first FROM",
                "Begin with FROM debian:12; only ARG may be before FROM.",
            )
    _close(stages, content)
    if not stages:
        raise source.fault(1, "there is no FROM", "Write FROM debian:12 before the first step.")
    return Layout(source, tuple(arguments), tuple(stages))


def _close(stages: list[RawStage], content: list[Checked]) -> None:
    if stages:
        stages[-1] = replace(stages[-1], instructions=tuple(content))
        content.clear()


def _check(source: Source, instruction: Instruction) -> Checked:
    keyword = instruction.keyword
    if keyword not in KEYWORDS:
        close = nearest(keyword, KEYWORDS)
        hint = f"Did you mean {close}?" if close else f"The instructions are {', '.join(KEYWORDS)}."
        raise source.fault(instruction.line, f"unknown instruction: {keyword}", hint)
    with located(source, instruction.line):
        flags = parse_flags(
            instruction.flags,
            text=_TEXT_FLAGS.get(keyword, ()),
            many=_MANY_FLAGS.get(keyword, ()),
            switches=_SWITCHES.get(keyword, ()),
        )
        _check_counts(instruction)
        if keyword == "RUN":
            _check_run(instruction, flags)
        if flags.switches.get("keep-git-dir"):
            raise FlagError(
                "ADD --keep-git-dir has nothing to keep: Git repositories are not supported as sources",
                "Remove the flag, and clone in a RUN step at a fixed commit.",
            )
        if keyword == "HEALTHCHECK" and flags.text and instruction.words[0].upper() == "NONE":
            raise FlagError("HEALTHCHECK NONE takes no flags", "Write HEALTHCHECK NONE.")
        mounts = tuple(read_mount(text) for text in flags.many.get("mount", ()))
    # What ONBUILD holds is checked here already: its faults belong to this file, not to a build FROM the
    # image.
    if keyword == "ONBUILD":
        text = instruction.words[0] if instruction.words else ""
        read_trigger(source, instruction.line, text, escape=source.escape)
    return Checked(instruction, flags, mounts)


def read_trigger(source: Source, line: int, text: str, *, escape: str = "\\") -> Checked:
    """Return the instruction that an ONBUILD holds, as if it stood in `line`. Raises InputError.

    Where it is run it is read as BuildKit does, with the backslash: the file it comes from is not this one.
    """
    word = text.split(maxsplit=1)[0].upper() if text.strip() else ""
    if not word:
        raise source.fault(line, "ONBUILD requires an instruction", _usage("ONBUILD"))
    if word in _NO_TRIGGER:
        why = "chaining ONBUILD" if word == "ONBUILD" else word
        raise source.fault(line, f"{why} isn't allowed as an ONBUILD trigger", _usage("ONBUILD"))
    try:
        inner = parse_source(f"# escape={escape}\n{text}\n", source.filename)
        if len(inner.instructions) > 1:
            raise source.fault(line, "it holds more than one instruction", _usage("ONBUILD"))
        checked = _check(inner, inner.instructions[0])
    except InputError as error:
        raise source.fault(line, f"ONBUILD {text}: {error.brief}", error.resolution) from error
    return replace(checked, source=replace(checked.source, line=line))


def _check_counts(instruction: Instruction) -> None:
    keyword, words = instruction.keyword, instruction.words
    if keyword in _AT_LEAST_ONE and not any(words):
        raise FlagError(f"{keyword} requires at least one argument", _usage(keyword))
    if keyword in _EXACTLY_ONE and len(words) != 1:
        raise FlagError(f"{keyword} requires exactly one argument", _usage(keyword))
    if keyword in {"COPY", "ADD"}:
        _check_copy(keyword, words)
    if keyword in {"ENV", "LABEL"} and not all(words[::2]):
        raise FlagError(f"{keyword} names can not be blank", _usage(keyword))
    if keyword == "ARG" and any(word.startswith("=") for word in words):
        raise FlagError("ARG names can not be blank", _usage("ARG"))
    if keyword == "VOLUME" and not all(word.strip() for word in words):
        raise FlagError("VOLUME specified can not be an empty string", _usage("VOLUME"))
    if keyword == "SHELL" and not instruction.json:
        raise FlagError("SHELL requires the arguments to be in JSON form", _usage("SHELL"))
    if keyword == "HEALTHCHECK":
        _check_health(instruction)


def _check_copy(keyword: str, words: tuple[str, ...]) -> None:
    if len(words) < 2:
        raise FlagError(
            f"{keyword} requires at least two arguments, a source and a destination", _usage(keyword)
        )
    try:
        heredoc = heredoc_word(words[-1])
    except LexError:
        heredoc = None
    if heredoc is not None:
        raise FlagError(f"{keyword} cannot accept a heredoc as a destination", _usage(keyword))


def _check_health(instruction: Instruction) -> None:
    kind, rest = instruction.words[0].upper(), instruction.words[1:]
    if kind == "NONE" and rest:
        raise FlagError("HEALTHCHECK NONE takes no arguments", "Write HEALTHCHECK NONE.")
    if kind not in {"NONE", "CMD"}:
        raise FlagError(f"unknown type {kind!r} in HEALTHCHECK", _usage("HEALTHCHECK"))
    if kind == "CMD" and not any(rest):
        raise FlagError("missing command after HEALTHCHECK CMD", _usage("HEALTHCHECK"))


def _check_run(instruction: Instruction, flags: Flags) -> None:
    if flags.get("security", "sandbox") != "sandbox":
        raise FlagError(
            f"RUN --security={flags.get('security')} is not supported: "
            "every step runs in a machine of its own",
            "Remove the flag, or write --security=sandbox.",
        )
    if "device" in flags.many:
        raise FlagError(
            "RUN --device is not supported: a builder has no devices of the host", "Remove the flag."
        )
    network = flags.get("network", "default")
    if network not in {"default", "none"}:
        hint = "A builder never shares the host's network. " if network == "host" else ""
        raise FlagError(
            f"invalid network mode {network!r}", f"{hint}Write --network=default or --network=none."
        )
    if instruction.heredocs and (len(instruction.words) != 1 or instruction.json):
        raise FlagError("a RUN in JSON form takes no here-document", "Use the shell form.")


def _usage(keyword: str) -> str:
    return {
        "ENV": "Write ENV NAME=VALUE.",
        "LABEL": "Write LABEL NAME=VALUE.",
        "ARG": "Write ARG NAME or ARG NAME=DEFAULT.",
        "EXPOSE": "Write EXPOSE PORT or EXPOSE PORT/udp.",
        "VOLUME": "Write VOLUME /PATH.",
        "HEALTHCHECK": "Write HEALTHCHECK [--interval=30s] CMD COMMAND, or HEALTHCHECK NONE.",
        "SHELL": 'Write, for example, SHELL ["/bin/bash", "-o", "pipefail", "-c"].',
        "WORKDIR": "Write WORKDIR /PATH.",
        "USER": "Write USER NAME or USER NAME:GROUP.",
        "STOPSIGNAL": "Write STOPSIGNAL SIGTERM.",
        "COPY": "Write COPY SOURCE… DESTINATION.",
        "ADD": "Write ADD SOURCE… DESTINATION.",
        "ONBUILD": "Write ONBUILD INSTRUCTION, for example ONBUILD COPY . /app.",
        "MAINTAINER": 'Write LABEL org.opencontainers.image.authors="NAME".',
    }[keyword]


def _stage(source: Source, checked: Checked, index: int) -> RawStage:
    words, line = checked.source.words, checked.source.line
    if not words or len(words) not in {1, 3} or (len(words) == 3 and words[1].lower() != "as"):
        raise source.fault(
            line, "FROM requires one or three arguments", "Write FROM IMAGE or FROM IMAGE AS NAME."
        )
    name = words[2].lower() if len(words) == 3 else ""
    if name and _STAGE_NAME.fullmatch(name) is None:
        raise source.fault(
            line,
            f"invalid name for a stage: {words[2]!r}",
            "Begin it with a letter; letters, digits, '-', '_' and '.' may follow.",
        )
    return RawStage(index, name, words[0], checked.flags.get("platform"), line, checked.source.text)
