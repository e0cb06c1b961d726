"""H2, from the other side: the pipe of a command's output can be opened in the machine, and read empty.

Whoever is told that there is something to read, and then waits for it, waits for ever: a command with a time
limit would have none.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Any

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.machines import exec as machine_exec
from stoneware.platforms.local.machines import output as machine_output
from stoneware.platforms.local.machines import relay

SOON = 10.0  # seconds


class Ended:
    """A command that has ended, of which only the output is read."""

    def poll(self) -> int | None:
        return 0


def thief(source: int) -> Any:
    """Return a `select.poll` that reads what is in a pipe once it has told of it."""
    spare = os.open(f"/proc/self/fd/{source}", os.O_RDONLY | os.O_NONBLOCK)

    class Poll:
        def __init__(self) -> None:
            self._real = _poll()

        def register(self, *args: int) -> None:
            self._real.register(*args)

        def poll(self, *args: int) -> list[tuple[int, int]]:
            found = self._real.poll(*args)
            if any(descriptor == source for descriptor, _ in found):
                os.read(spare, 1 << 16)
            return found

    _poll = select.poll
    return Poll


@pytest.mark.parametrize("kind", ["to a pipe", "to nowhere", "kept"])
def test_a_flow_ends_though_its_pipe_was_read_by_somebody_else(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source, writer = os.pipe()
    ours, target = os.pipe()
    flow: relay.Outflow | relay.Tail
    if kind == "kept":
        flow = relay.Tail(source, 100)
    else:
        flow = relay.Outflow(source, target if kind == "to a pipe" else None)
    monkeypatch.setattr(select, "poll", thief(source))
    flow.start()
    os.write(writer, b"bait")
    deadline = time.monotonic() + SOON
    while relay.waiting(writer) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.write(flow._tell, b".")
    flow._thread.join(SOON)
    alive = flow._thread.is_alive()
    for descriptor in (writer, target, ours):
        os.close(descriptor)  # which ends it in any case
    flow.finish()
    assert not alive


@pytest.mark.parametrize("kind", ["to a pipe", "kept"])
def test_a_flow_ends_though_its_last_bytes_are_taken_from_it(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source, writer = os.pipe()
    ours, target = os.pipe()
    flow = relay.Tail(source, 100) if kind == "kept" else relay.Outflow(source, target)
    os.write(flow._tell, b".")
    told = iter([4, 4])
    monkeypatch.setattr(relay, "waiting", lambda _: next(told, 0))
    flow.start()
    flow._thread.join(SOON)
    monkeypatch.undo()
    alive = flow._thread.is_alive()
    for descriptor in (writer, target, ours):
        os.close(descriptor)
    flow.finish()
    assert not alive


def test_what_is_kept_of_a_command_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_output, "waiting", lambda _: 4)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        code, said = machine_output._collect(Ended(), reader, time.monotonic() + 1, 10)  # type: ignore[arg-type]
    finally:
        os.close(reader)
        os.close(writer)
    assert (code, said) == (0, b"")


class Mute:
    """A command that is interrupted, and whose machine does not say how it ended."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def poll(self) -> int | None:
        raise KeyboardInterrupt

    def kill(self, number: int) -> None:
        self.killed.append(number)

    def wait(self, _timeout: float) -> int:
        raise MachineError("systemd does not answer")


def test_an_interrupt_ends_us_whatever_the_machine_says_of_it() -> None:
    command = Mute()
    with pytest.raises(KeyboardInterrupt):
        machine_exec._wait(command, None, print, last=signal.SIGHUP)  # type: ignore[arg-type]
    assert command.killed == [signal.SIGHUP]
