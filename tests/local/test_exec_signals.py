"""What a command in a machine is told of signals that we get."""

from __future__ import annotations

import ctypes
import operator
import os
import signal
from functools import partial

from stoneware.platforms.local.machines.exec import _Signals


def test_a_signal_is_known_before_python_handles_it() -> None:
    """As one that comes just before a wait: until that ends, no handler of Python's runs."""
    kill = ctypes.CDLL(None).kill  # unlike os.kill it does not look for signals afterwards
    before = signal.getsignal(signal.SIGINT)
    with _Signals([signal.SIGINT]) as signals:
        calls = [partial(kill, os.getpid(), int(signal.SIGINT)), partial(os.read, signals.fileno(), 64)]
        assert list(map(operator.call, calls)) == [0, bytes([signal.SIGINT])]
        kill(os.getpid(), int(signal.SIGINT))
        signals.send(signal.SIGHUP)
        assert signals.taken() == [signal.SIGINT, signal.SIGHUP]
        assert signals.taken() == []
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1
