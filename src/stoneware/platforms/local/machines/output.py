"""Running a command in a machine and keeping what it says: bounded in time and size."""

from __future__ import annotations

import contextlib
import os
import time

from stoneware.platforms.local.machines import inside
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.relay import waiting
from stoneware.platforms.local.machines.runner import Command, Program, Streams

TIMED_OUT = 124  # as timeout(1) says it
_CHUNK = 1 << 16
_LAST_WORDS = 5.0  # seconds for a killed command to be gone


def output_of(
    paths: Paths,
    program: Program,
    *,
    timeout: float,
    keep: int,
    errors: bool = True,
) -> tuple[int, bytes]:
    """Run a program in a machine; return its exit code and the last `keep` bytes of its output.

    With `errors` that is both of its streams. One that takes longer than `timeout` seconds is killed, with
    all that it started; its code is then 124. Raises MachineError as `inside.start` does.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reader, False)  # the machine can open the pipe as well, and read what we were told of
    try:
        try:
            command = inside.start(paths, program, Streams(writer, writer if errors else None))
        finally:
            os.close(writer)
        with command:
            return _collect(command, reader, time.monotonic() + timeout, keep)
    finally:
        os.close(reader)


def _collect(command: Command, reader: int, deadline: float, keep: int) -> tuple[int, bytes]:
    said = bytearray()
    readers = [reader]
    while (code := command.poll()) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            command.kill()
            with contextlib.suppress(TimeoutError):
                command.wait(_LAST_WORDS)
            code = TIMED_OUT
            break
        # At its end the pipe would be ready always, and the wait turn without rest.
        if command.wait_with(readers, left) and not _read(reader, said, _CHUNK, keep):
            readers = []
    # What the command leaves running may hold the pipe for ever: only what is in it now is the command's.
    _read(reader, said, waiting(reader), keep)
    return code, bytes(said[-keep:])


def _read(reader: int, said: bytearray, size: int, keep: int) -> bool:
    if not size:
        return False
    try:
        data = os.read(reader, size)
    except BlockingIOError:
        return True
    said += data
    # Twice as much, so that not each read moves all that is kept.
    if len(said) > 2 * keep:
        del said[:-keep]
    return bool(data)
