"""Asking machines to run commands that their images declare: by metadata, on every platform, with no way in.

The image has them in `guest_protocol.COMMANDS`. The request is an attribute with a nonce; the machine's watch
agent runs the command and answers with a guest attribute. What it says is its word, read within bounds.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Callable, Sequence

from stoneware.errors import InputError
from stoneware.guest import reports
from stoneware.model.guest_protocol import COMMAND, COMMANDS
from stoneware.platforms.protocols import Machines

LONGEST = 4096  # bytes of a request
_ENV = "/usr/bin/env"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}")
_MARGIN = 20.0  # seconds besides the command's own, until the request is seen and the answer is there
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
NO_ANSWER = 124  # as timeout(1) says it


def declared_name(argv: Sequence[str]) -> str:
    """Return the name of the image's own command that a command is, nothing where it is none.

    Assignments of env(1) may be before it.
    """
    _, rest = _split(argv)
    name = rest[0].removeprefix(COMMANDS) if rest and rest[0].startswith(COMMANDS) else ""
    return name if _NAME.fullmatch(name) else ""


def ask(
    machines: Machines,
    machine: str,
    argv: Sequence[str],
    *,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[int, str]:
    """Have a machine run a command of its image; return the exit code and the end of what it said.

    One that takes longer than `timeout` seconds is ended there: 124, as without an answer. Raises InputError
    where the image cannot declare such a command, and where there is no such machine.
    """
    # The answer to an earlier request may still be there: it has another nonce.
    nonce = secrets.token_hex(16)
    machines.set_metadata(machine, {COMMAND: _request(nonce, argv, timeout)})
    until = clock() + timeout + _MARGIN
    for number in range(1 << 30):
        try:
            answer = reports.command_of(machines.guest_attributes(machine), nonce)
        except reports.InvalidReportError as error:
            return 1, str(error)
        if answer is not None:
            return answer
        if clock() > until:
            break
        # The metadata server that both need may have died.
        machines.check_helpers()
        sleep(_PAUSES[min(number, len(_PAUSES) - 1)])
    return NO_ANSWER, "the machine did not answer"


def _request(nonce: str, argv: Sequence[str], timeout: float) -> str:
    name = declared_name(argv)
    if not name:
        raise InputError(
            "only commands that the image declares can be run there",
            details=" ".join(argv)[:200],
            resolution=f"COPY it to {COMMANDS}NAME in the Machinefile, and say [{COMMANDS}NAME, …]",
        )
    variables, (_, *words) = _split(argv)
    lines = [nonce, str(math.ceil(timeout)), name]
    lines += [f"e {each}" for each in variables] + [f"a {word}" for word in words]
    text = "".join(f"{line}\n" for line in lines)
    # A line break in a word would be a line of its own to the agent.
    if text.count("\n") != len(lines) or "\0" in text or len(text.encode()) > LONGEST:
        raise InputError(
            f"the words for the command {name} are too long, or have line breaks",
            resolution="let the command itself know what is long",
        )
    return text


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the assignments of a command that begins with env(1), and the command itself."""
    words = list(argv)
    variables: list[str] = []
    if words[:1] == [_ENV]:
        words.pop(0)
        while words and "=" in words[0]:
            variables.append(words.pop(0))
    return variables, words
