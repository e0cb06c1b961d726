"""Hints name the cluster that the command was about, with the flags the user gave it, and its --platform.

Hints are written as `stoneware up`. What was typed is known to the command line alone, which
remembers it here; the flags are put in where a message is shown, so no hint can lack them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from stoneware.dataclass import dataclass

_CLUSTER = ("config", "plan", "up", "rollout", "rollback", "status", "drift", "down")
_PARTS = ("status", "history", "pause", "abort", "resume", "finalize", "report")  # of rollout
_SCALED = ("plan", "up")
_PROFILED = ("config", "plan", "up", "rollout", "status", "drift")
# Not what has such flags already, and no question for help.
_COMMAND = re.compile(
    rf"\bstoneware ({'|'.join(_CLUSTER)})\b(?: ({'|'.join(_PARTS)})\b)?"
    r"(?! (?:-[fph]\b|--(?:file|project-name|help)\b))(?![-\w])"
)
# Words that may name a command; not in a line that says a platform.
_WORDS = re.compile(r"\bstoneware((?: [a-z]+(?![-\w])){1,3})(?![^`\n;&|]*--platform)")
_HELP = re.compile(r" (?:-h|--help)\b")
_QUOTED = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class ClusterFlags:
    """The flags that say which cluster a command was about, as they were typed."""

    files: tuple[Path, ...] = ()
    project: str = ""
    env_files: tuple[Path, ...] = ()
    directory: Path | None = None
    scale: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()

    def words(self, command: str) -> list[str]:
        """Return the flags for a command of clusters."""
        found = [word for path in self.files for word in ("-f", str(path))]
        found += ["-p", self.project] if self.project else []
        found += [word for path in self.env_files for word in ("--env-file", str(path))]
        found += ["--project-directory", str(self.directory)] if self.directory else []
        if command in _PROFILED:
            found += [word for text in self.profiles for word in ("--profile", text)]
        if command in _SCALED:
            found += [word for text in self.scale for word in ("--scale", text)]
        return found


_typed = ClusterFlags()
# How many of the words after `stoneware` are the name of a command that takes --platform; 0: they name none.
TakesPlatform = Callable[[Sequence[str]], int]


def _no_command(_words: Sequence[str]) -> int:
    return 0


_platform = ""  # what --platform said
_takes_platform: TakesPlatform = _no_command


def remember_platform(name: str) -> None:
    """Take what --platform of the command that runs said; "" where it said nothing."""
    global _platform  # noqa: PLW0603 -- as below
    _platform = name


def ask_commands(takes_platform: TakesPlatform) -> None:
    """Take who knows which commands have --platform: asked when a hint is shown, as it has to import them."""
    global _takes_platform  # noqa: PLW0603 -- as below
    _takes_platform = takes_platform


def remember(flags: ClusterFlags) -> None:
    """Take what the command that runs was told; it holds until the next one."""
    global _typed  # noqa: PLW0603 -- what was typed is one for the whole process
    _typed = flags


def completed(text: str) -> str:
    """Return a hint, or a sentence of ours, with the user's flags in each command for clusters."""
    if _platform:
        text = _WORDS.sub(_with_platform, text)
    return text if _typed == ClusterFlags() else _COMMAND.sub(_with_flags, text)


def completed_quotes(text: str) -> str:
    """Do the same, but only between backticks: for details, which may quote what a machine has said."""
    return _QUOTED.sub(lambda found: completed(found[0]), text)


def _with_platform(found: re.Match[str]) -> str:
    words = found[1].split()
    count = _takes_platform(words)
    command = " ".join(["stoneware", *words[:count]])
    rest = found[0][len(command) :]
    if not count or _HELP.match(rest + found.string[found.end() :]):
        return found[0]
    return f"{command} --platform {shlex.quote(_platform)}{rest}"


def _with_flags(found: re.Match[str]) -> str:
    name, part = found[1], found[2]
    flags = shlex.join(_typed.words(name))
    if not flags:
        return found[0]
    if part and (
        _typed.env_files or _typed.directory or _typed.profiles
    ):  # only rollout itself has those flags
        return f"stoneware {name} {flags} {part}"
    return f"stoneware {name}{f' {part}' if part else ''} {flags}"
