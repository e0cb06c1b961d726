"""Streams of commands in virtual machines: what is the command's is found, whole, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.platforms.local.machines.qemu.streams import FromMachine, Splitter, ToMachine

TOKEN = b"0123456789abcdef" * 2
INSIDE = Path("src/stoneware/platforms/local/machines/qemu/inside.sh").resolve()


@given(
    st.binary(max_size=50),
    st.lists(st.one_of(st.binary(max_size=20), st.just(TOKEN[:20]), st.just(b"0" + TOKEN[:31])), max_size=8),
    st.integers(1, 60),
)
def test_what_is_said_comes_out_whole_in_any_pieces(before: bytes, said: list[bytes], size: int) -> None:
    text = b"".join(said)
    if TOKEN in before + TOKEN[:-1] + text:
        return
    stream = before + TOKEN + b" 12 -\n" + text + TOKEN + b" 7\n" + b"what comes later"
    split, found = Splitter(TOKEN), b""
    for at in range(0, len(stream), size):
        found += split.feed(stream[at : at + size])
    assert (split.beginning, found, split.end) == (b" 12 -", text, b" 7")


def test_what_cannot_be_the_token_is_not_held_back() -> None:
    split = Splitter(TOKEN)
    assert split.feed(TOKEN + b"\n$ ") == b"$ "
    assert split.feed(b"0123") == b""
    assert split.feed(b"x") == b"0123x"


def test_a_command_that_never_begins_is_given_up() -> None:
    split = Splitter(TOKEN)
    for _ in range(1 << 8):
        split.feed(b"x" * (1 << 16))
    with pytest.raises(ValueError, match="begins"):
        split.feed(b"x")


def test_a_line_that_does_not_end_is_given_up() -> None:
    with pytest.raises(ValueError, match="does not end"):
        Splitter(TOKEN).feed(TOKEN + b"x" * 1000)


def test_a_reader_that_has_gone_is_told_and_the_rest_passed_over() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    os.close(reader)
    with ours, theirs:
        flow = FromMachine(ours, writer, TOKEN, lambda: None)
        flow.start()
        theirs.sendall(TOKEN + b"\n" + b"x" * 1000 + TOKEN + b"\n")
        flow.join(300)
    assert flow.refused
    assert flow.split.end == b""


def test_input_is_counted_and_its_end_told() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    with ours, theirs:
        ToMachine(reader, ours, TOKEN, raw=False).start()
        os.write(writer, b"a\n0\n")
        stream = theirs.makefile("rb")
        assert stream.readline() == TOKEN + b"\n"
        assert stream.readline() == b"4\n"
        assert stream.read(4) == b"a\n0\n"
        os.close(writer)
        assert stream.readline() == b"0\n"


# -- the script in the machine, with FIFOs in the place of its ports -----------------------------------------


class Ports:
    """The ports of one slot."""

    def __init__(self, directory: Path) -> None:
        self.prefix = directory / "port"
        self._ends = {}
        for name in ("in", "out", "err"):
            os.mkfifo(f"{self.prefix}.{name}")
            self._ends[name] = os.open(f"{self.prefix}.{name}", os.O_RDWR)

    def read(self, name: str, split: Splitter) -> bytes:
        found = b""
        while split.end is None:
            found += split.feed(os.read(self._ends[name], 1 << 16))
        return found

    def write(self, data: bytes) -> None:
        os.write(self._ends["in"], data)

    def close(self) -> None:
        for end in self._ends.values():
            os.close(end)


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Ports]:
    if os.geteuid() != 0 or shutil.which("setsid") is None:
        pytest.skip("needs root, as the agent in a machine has")
    made = Ports(tmp_path)
    yield made
    made.close()


def ran(
    ports: Ports, *argv: str, feed: bytes | None = None, terminal: str = ""
) -> tuple[bytes, bytes, Splitter]:
    words = [os.fspath(ports.prefix), TOKEN.decode(), "0:0", "" if feed is None else "feed", terminal, *argv]
    if feed is not None:
        ports.write(b"left by another\n")
        threading.Thread(target=ports.write, args=(TOKEN + b"\n" + feed,), daemon=True).start()
    errors, out, err = Splitter(TOKEN), Splitter(TOKEN), b""
    with subprocess.Popen(
        ["/bin/sh", "-c", INSIDE.read_text(), "sh", *words], stdin=subprocess.DEVNULL
    ) as it:
        said = ports.read("out", out)
        err = ports.read("err", errors)
        assert it.wait(300) == 0
    assert not list(Path("/run").glob("stoneware-exec.*"))
    return said, err, out


@pytest.mark.tool
def test_the_script_passes_output_errors_and_the_code(ports: Ports) -> None:
    said, err, out = ran(ports, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (said, err, out.end) == (b"out\n", b"err\n", b" 7")
    assert out.beginning is not None
    assert out.beginning.endswith(b" -")


@pytest.mark.tool
def test_the_script_feeds_what_is_counted(ports: Ports) -> None:
    said, _, out = ran(ports, "cat", feed=b"4\na\n\0b3\n0\n\n0\n")
    assert (said, out.end) == (b"a\n\0b0\n\n", b" 0")


@pytest.mark.tool
def test_a_signal_ends_the_command_not_the_script(ports: Ports) -> None:
    said, _, out = ran(ports, "sh", "-c", "echo a; kill -TERM -$$; echo b")
    assert (said, out.end) == (b"a\n", b" 143")


@pytest.mark.tool
def test_what_a_command_leaves_running_holds_nothing_up(ports: Ports) -> None:
    said, _, out = ran(ports, "sh", "-c", "sleep 30 & echo $!")
    os.kill(int(said), 9)
    assert out.end == b" 0"


@pytest.mark.tool
@pytest.mark.skipif(shutil.which("script") is None, reason="needs script(1), which Debian's base has")
def test_a_terminal_is_told_by_its_name_and_has_its_size(ports: Ports) -> None:
    ports.write(TOKEN + b"\n")
    words = r"""exec sh -c 'stty size; echo "it'\''s"; exit 3'"""
    said, _, out = ran(ports, words, terminal="33 99")
    assert (said, out.end) == (b"33 99\r\nit's\r\n", b" 3")
    assert out.beginning is not None
    assert b" /dev/pts/" in out.beginning
