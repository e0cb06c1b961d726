"""The filters of systemd-nspawn, kept ready: a file that is not whole is never used."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware import process
from stoneware.platforms.local.host import ready_filters
from stoneware.platforms.local.host.ready_filters import Filter, NotReadyError, decode, encode

_ALLOW = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET, SECCOMP_RET_ALLOW
_REFUSE = struct.pack("=HBBI", 0x06, 0, 0, 0x00050001)
FILTERS = [Filter(0, _ALLOW * 3), Filter(2, _REFUSE)]
WHOLE = encode(FILTERS)
HARMLESS = encode([Filter(0, _ALLOW), Filter(2, _ALLOW)])


def _signed(count: int, body: bytes) -> bytes:
    return b"swbpf-1\n" + hashlib.sha256(body).digest() + struct.pack("=I", count) + body


def test_filters_are_read_as_they_were_kept() -> None:
    assert decode(WHOLE) == FILTERS


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty: there are none"),
        pytest.param(WHOLE[:-1], id="cut"),
        pytest.param(WHOLE + b"\0", id="longer"),
        pytest.param(WHOLE[:60] + b"\xff" + WHOLE[61:], id="one byte is another"),
        pytest.param(b"swbpf-2\n" + WHOLE[8:], id="another format"),
        pytest.param(_signed(0, b""), id="no filter"),
        pytest.param(_signed(65, b""), id="too many"),
        pytest.param(_signed(2, struct.pack("=II", 0, 8) + _ALLOW), id="one is missing"),
        pytest.param(_signed(1, struct.pack("=II", 0, 0)), id="an empty filter"),
        pytest.param(_signed(1, struct.pack("=II", 0, 7) + _ALLOW[:7]), id="half an instruction"),
        pytest.param(_signed(1, struct.pack("=II", 0, 1 << 20) + _ALLOW), id="longer than it is"),
        pytest.param(_signed(1, struct.pack("=II", 0, 8) + _ALLOW * 2), id="more than it says"),
    ],
)
def test_what_is_not_whole_is_not_ready(text: bytes) -> None:
    with pytest.raises(NotReadyError):
        decode(text)


def test_nothing_is_ready_where_the_file_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_filters, "KEPT", tmp_path)
    monkeypatch.setattr(ready_filters, "_key", lambda _: "key")
    monkeypatch.setattr(process, "which", lambda name: Path("/usr/bin") / name)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (tmp_path / "key").write_bytes(WHOLE)
    words = ready_filters.prefix(tmp_path)
    assert words[0] == "/usr/bin/perl"
    assert words[2:] == [str(tmp_path / "key"), "317"]
    (tmp_path / "key").write_bytes(WHOLE[:-1])
    assert ready_filters.prefix(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        pytest.param(OSError(errno.EPERM, "the kernel does not tell"), True, id="never here"),
        pytest.param(NotReadyError("it has too many"), True, id="none of use"),
        pytest.param(OSError(errno.ENOSPC, "no room"), False, id="a full disk"),
        pytest.param(OSError(errno.EAGAIN, "too many processes"), False, id="a busy computer"),
    ],
)
def test_a_fault_that_passes_is_not_kept(
    fault: Exception, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capture(*_: object) -> list[Filter]:
        raise fault

    monkeypatch.setattr(ready_filters, "capture", capture)
    path = tmp_path / "kept" / "key"
    ready_filters._make(path, tmp_path, [])
    assert [(one.name, one.read_bytes()) for one in path.parent.iterdir() if one.name != "lock"] == (
        [("key", b"")] if kept else []
    )


def test_another_kernel_or_library_has_other_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Path(sys.executable)
    before = ready_filters._key(program)
    assert ready_filters._key(program) == before
    monkeypatch.setattr(os, "uname", lambda: ("Linux", "host", "7.0.0", "#1", "x86_64"))
    assert ready_filters._key(program) != before


@pytest.mark.tool
@pytest.mark.parametrize(
    ("text", "ready"),
    [
        (b"", False),
        (HARMLESS[:-1], False),
        (HARMLESS + b"\0", False),
        (b"swbpf-2\n" + HARMLESS[8:], False),
        (_signed(1, struct.pack("=II", 0, 8) + b"\xff" * 8), False),  # the kernel does not take it
        (HARMLESS, True),
    ],
)
def test_systemd_nspawn_makes_none_only_if_all_are_loaded(text: bytes, ready: bool, tmp_path: Path) -> None:
    call = ready_filters._CALLS.get(os.uname().machine)
    if call is None or process.which("perl") is None or os.geteuid() != 0:
        pytest.skip("there are no ready filters here")
    file = tmp_path / "filters"
    file.write_bytes(text)
    loader = Path(ready_filters.__file__).with_suffix(".pl")
    script = 'echo "${SYSTEMD_SECCOMP-}"; grep ^Seccomp: /proc/self/status'
    argv = ["perl", str(loader), str(file), str(call), "sh", "-c", script]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    assert said == (["0", "Seccomp:", "2"] if ready else ["Seccomp:", said[-1]])
