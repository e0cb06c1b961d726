"""`run` without -d: the machine's console on our output, Ctrl-C as its power switch."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import BinaryIO

from stoneware.cli.output import say
from stoneware.errors import InputError
from stoneware.launch.watch import follow_pieces
from stoneware.model.machine import MachineSpec
from stoneware.platforms.protocols import Platform

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: the terminal is gone


class _Stopped(BaseException):
    """A signal asked us to stop; no `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_in_foreground(platform: Platform, spec: MachineSpec, output: BinaryIO, *, remove: bool) -> int:
    """Create a machine, show its console until it stops, and return its exit code.

    The first Ctrl-C (or SIGTERM, or SIGHUP) stops the machine, a second one powers it off at once; the
    code is then 128 and the signal's number. A closed output stops it as well.
    """
    # The handlers come first: once the machine is created it depends on this process.
    try:
        with _signals():
            _create(platform, spec, remove=remove)
            try:
                code = _follow(platform, spec.name, output)
            except BaseException:
                with contextlib.suppress(_Stopped):
                    platform.stop(spec.name)
                raise
            finally:
                if remove:
                    platform.destroy(spec.name)
    except _Stopped as stop:  # while the machine was created or removed, or more than once
        return 128 + stop.number
    return code


def _create(platform: Platform, spec: MachineSpec, *, remove: bool) -> None:
    """Create a machine, for minutes where an image gets its first disk. A signal leaves none that runs."""
    try:
        platform.create(spec)
    except _Stopped:
        if platform.observe(spec.name) is not None:
            platform.stop(spec.name)
            if remove:
                platform.destroy(spec.name)
        raise


def _follow(platform: Platform, name: str, output: BinaryIO) -> int:
    offset = 0
    code = 0
    try:
        # The offset is used after a signal, to print what the machine says while it stops.
        for chunk, offset in follow_pieces(platform, name):  # noqa: B007
            _write(output, chunk)
    except _Stopped as stop:
        code = 128 + stop.number
        say(f"stopping {name}")
        _stop(platform, name)
        with contextlib.suppress(InputError):  # removed by somebody else
            _write(output, platform.console(name, offset)[0])
    machine = platform.observe(name)
    # A machine that is gone was removed by another command: its exit code is not known.
    return code or (machine.exit_code or 0 if machine is not None else 0)


def _stop(platform: Platform, name: str) -> None:
    try:
        platform.stop(name)
    except _Stopped:
        say(f"powering {name} off")
        # A second signal: the wait for a graceful shutdown is over.
        platform.stop(name, timeout=0)


def _write(output: BinaryIO, data: bytes) -> None:
    # A console ends lines with CR LF, as a terminal wants; a pipe or a file does not.
    output.write(data.replace(b"\r\n", b"\n"))
    output.flush()


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that end us into an exception while a machine depends on us."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
