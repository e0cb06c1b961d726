"""Requests to the kernel: what it answers and what it refuses."""

import errno
import os
import struct
import termios
from pathlib import Path

import pytest

from stoneware.platforms.local.store.btrfs_ioctl import request

pytestmark = pytest.mark.pure


def test_the_kernel_answers_in_the_argument() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"seven b")
        answer = bytearray(8192)  # more than `fcntl.ioctl` lets go of the lock for
        request(reader, termios.FIONREAD, answer)
        assert struct.unpack_from("i", answer) == (7,)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_refusal_is_an_error_with_its_number() -> None:
    with (
        Path(os.devnull).open() as nothing,
        pytest.raises(OSError, match=os.strerror(errno.ENOTTY)) as caught,
    ):
        request(nothing.fileno(), 0x5000940F, bytearray(4096))
    assert caught.value.errno == errno.ENOTTY


def test_an_argument_stays_usable_afterwards() -> None:
    reader, writer = os.pipe()
    try:
        answer = bytearray(8)
        request(reader, termios.FIONREAD, answer)
        answer += b"longer"  # a buffer that is still exported could not grow
        assert len(answer) == 14
    finally:
        os.close(reader)
        os.close(writer)
