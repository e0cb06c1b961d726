"""What people give to `import` in the place of a root file system, and what they are told."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.machinefile.archives import unpacked
from stoneware.platforms.local.bases.imported_archives import begun

DISK = (bytes(510) + b"\x55\xaa" + b"EFI PART").ljust(4096, b"\0")


def tar(name: str, form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        member = tarfile.TarInfo(name)
        member.size = 5
        member.pax_headers = {"comment": "x"} if form == tarfile.PAX_FORMAT else {}
        archive.addfile(member, io.BytesIO(b"hello"))
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x", "y")
    return stream.getvalue()


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught, unpacked(str(path)) as content:
        begun(content, path)
    return caught.value


@pytest.mark.parametrize("name", ["etc/hostname", "PaxHeaders/x"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_read_from_its_beginning(tmp_path: Path, name: str, form: int) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(tar(name, form) + bytes(100_000))
    for sizes in ((-1,), (512, 511, 40_000, -1), (50_000, 10, -1)):
        with unpacked(str(path)) as content:
            stream = begun(content, path)
            assert b"".join(stream.read(size) for size in sizes) == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "said", "typed"),
    [
        (
            "d.raw.gz",
            gzip.compress(DISK),
            "d.raw.gz is a raw disk",
            "gzip -dc <d.raw.gz >d.raw; stoneware import d.raw",
        ),
        ("d.gz", gzip.compress(b"QFI\xfb".ljust(999)), "d.gz is a qcow2 disk", "gzip -dc <d.gz >d;"),
        (
            "g.tar",
            tar("./disk.raw"),
            "g.tar holds a disk (disk.raw)",
            "tar -xf g.tar; stoneware import disk.raw",
        ),
        ("g.tar", tar("disk.raw", tarfile.PAX_FORMAT), "g.tar holds a disk (disk.raw)", "tar -xf g.tar"),
        ("a.ova", tar("a.ovf"), "a.ova holds a disk (a.ovf)", "stoneware import DISK.vmdk"),
        ("z.tar", zipped(), "z.tar is a ZIP archive", "tar -C ROOT"),
        ("i.iso", b"x" * 0x8001 + b"CD001" + bytes(99), "i.iso is an ISO image", "tar -C ROOT"),
        ("t.tar", b"hello\n", "t.tar is neither a tar archive nor a disk", "tar -C ROOT"),
        ("t.tar", b"", "there is nothing in t.tar", "tar -C ROOT"),
        ("t.tar", bytes(10240), "there is nothing in t.tar", "tar -C ROOT"),
    ],
)
def test_what_is_no_root_file_system(
    tmp_path: Path, name: str, content: bytes, said: str, typed: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = refused(path)
    assert str(error).startswith(said)
    assert error.resolution.startswith(typed) or typed in error.resolution


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd")
def test_a_zstd_archive_that_is_cut_off_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.tar.zst"
    path.write_bytes(
        subprocess.run(["zstd", "-c"], input=tar("x"), capture_output=True, check=True).stdout[:40]
    )
    error = refused(path)
    assert str(error) == "the archive t.tar.zst cannot be read"
    assert "premature" in error.details
    assert capfd.readouterr().err == ""
