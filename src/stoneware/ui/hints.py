"""Hints name the cluster that the command was about, with the flags the user gave it, and its --platform.

Hints are written as `stoneware up`. What was typed is known to the command line alone, which
remembers it here; the flags are put in where a message is shown, so no hint can lack them.
"""

from __future__ import annotations

import re
import shlex
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
# Commands that are of a platform, and those below them.
_OF_PLATFORM = (
    *("bake", "import", "render", "images", "inspect", "history", "tag", "rmi", "export", "prune"),
    *("run", "ps", "logs", "exec", "cp", "update", "stop", "start", "restart", "wait", "rm"),
    r"volume (?:ls|create|rm|inspect|prune|resize|convert|restore|snapshot(?: (?:create|ls|rm)\b)?)",
    *(*_CLUSTER, "eject", "system df", "doctor"),
)
# Not in a line that says one.
_PLACED = re.compile(
    rf"\bstoneware (?:(?:{'|'.join(_OF_PLATFORM)})\b(?: (?:{'|'.join(_PARTS)})\b)?)"
    r"(?![-\w])(?! (?:-h\b|--help\b))(?![^`\n;&|]*--platform)"
)
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
_platform = ""  # what --platform said


def remember_platform(name: str) -> None:
    """Take what --platform of the command that runs said; "" where it said nothing."""
    global _platform  # noqa: PLW0603 -- as below
    _platform = name


def remember(flags: ClusterFlags) -> None:
    """Take what the command that runs was told; it holds until the next one."""
    global _typed  # noqa: PLW0603 -- what was typed is one for the whole process
    _typed = flags


def completed(text: str) -> str:
    """Return a hint, or a sentence of ours, with the user's flags in each command for clusters."""
    if _platform:
        text = _PLACED.sub(lambda found: f"{found[0]} --platform {shlex.quote(_platform)}", text)
    return text if _typed == ClusterFlags() else _COMMAND.sub(_with_flags, text)


def completed_quotes(text: str) -> str:
    """Do the same, but only between backticks: for details, which may quote what a machine has said."""
    return _QUOTED.sub(lambda found: completed(found[0]), text)


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
