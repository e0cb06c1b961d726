"""Telling a CMD that starts an init system: a machine has one, and a second cannot be."""

from __future__ import annotations

import itertools
import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace

from stoneware.machinefile.recipe import ImageConfig

_DIRECTORIES = ("", *(f"{top}{name}" for top in ("", "/usr") for name in ("/bin", "/sbin", "/lib/systemd")))
_INITS = ("init", "systemd")
# Small programs that start another as the first process of a container.
_STARTERS = ("catatonit", "docker-init", "dumb-init", "tini", "tini-static")
_SHELLS = ("ash", "bash", "dash", "sh")
_REDIRECTION = re.compile(r"\d*[<>].*")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")
_CONTROL = re.compile(r"[;&|\n()`]|\$\(")


def starts_init(argv: Sequence[str]) -> bool:
    """Say whether a command is systemd, by any of its paths, directly, behind a tini or in a shell."""
    words = _unwrapped(list(argv))
    # `systemd --user` looks after one user's services, and is no system's first process.
    return bool(words) and "--user" not in words and is_init(words[0])


def is_init(program: str) -> bool:
    """Say whether a program is the first process of a system, by any of its paths."""
    directory, name = posixpath.split(program)
    return name in _INITS and directory in _DIRECTORIES


def without_init(config: ImageConfig) -> tuple[ImageConfig, str]:
    """Return the configuration without a command that starts an init, and what is to be told of it."""
    command = (*config.entrypoint, *config.cmd)
    if starts_init(command):
        return (
            replace(config, entrypoint=(), cmd=()),
            f"{shlex.join(command)} is left out: a machine has its init, which starts what is enabled",
        )
    if config.entrypoint and starts_init(config.cmd):
        return (
            config,
            f"CMD {shlex.join(config.cmd)} would be started by ENTRYPOINT {shlex.join(config.entrypoint)}, "
            "and a machine has its init: leave the CMD out, and let a unit do what the ENTRYPOINT prepares",
        )
    return config, ""


def _unwrapped(words: list[str]) -> list[str]:
    """Return the command behind shells, `exec` and small inits."""
    for _ in range(len(words)):
        name = posixpath.basename(words[0]) if words else ""
        if name in _SHELLS:
            words = _script(words[1:])
        elif name == "exec" or _ASSIGNMENT.fullmatch(name):
            words = words[1:]
        elif name in _STARTERS:
            words = _behind_options(words[1:])
        else:
            break
    return words


def _script(arguments: list[str]) -> list[str]:
    """Return the words of what a shell is given with -c."""
    for option, text in itertools.pairwise(arguments):
        if re.fullmatch(r"-[a-z]*c", option):
            return _words(text)
    return []


def _words(text: str) -> list[str]:
    """Return the words of a single simple command, none of anything else."""
    plain = re.sub(r"\d*[<>]&\d|\d*&>", " ", text)
    if _CONTROL.search(plain.strip()):
        return []
    try:
        words = shlex.split(plain)
    except ValueError:
        return []
    return [word for word in words if not _REDIRECTION.fullmatch(word)]


def _behind_options(words: list[str]) -> list[str]:
    for number, word in enumerate(words):
        if word == "--":
            return words[number + 1 :]
        if not word.startswith("-"):
            return words[number:]
    return []
