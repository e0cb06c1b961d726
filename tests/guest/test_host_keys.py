"""A machine's own host keys: all of them or none, wherever its first boot is cut off."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from stoneware import guest

BOOT = (Path(guest.__file__).parent / "stoneware-boot.sh").read_text()
FUNCTION = re.search(r"^host_keys\(\) \{\n.*?^\}\n", BOOT, re.DOTALL | re.MULTILINE)
# As ssh-keygen -A -f ROOT: one after the other.
KEYGEN = """#!/bin/sh
echo made >>"$SW_ROOT/asked"
for kind in rsa ecdsa ed25519; do
    echo "$kind of $$" >"$3/etc/ssh/ssh_host_${kind}_key"
    echo "$kind public" >"$3/etc/ssh/ssh_host_${kind}_key.pub"
done
"""
ALL = {f"ssh_host_{kind}_key{end}" for kind in ("rsa", "ecdsa", "ed25519") for end in ("", ".pub")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh-keygen").write_text(KEYGEN)
    (tmp_path / "bin/ssh-keygen").chmod(0o755)
    return tmp_path


def boot(root: Path, before: str = "") -> set[str]:
    assert FUNCTION
    text = f"export SW_ROOT={root} PATH={root}/bin:$PATH\n{before}{FUNCTION[0]}host_keys\n"
    subprocess.run(["sh", "-eu", "-c", text], check=False, capture_output=True)
    return {path.name for path in (root / "etc/ssh").iterdir()}


def test_the_first_boot_makes_all(root: Path) -> None:
    assert boot(root) == ALL
    assert boot(root) == ALL
    assert (root / "asked").read_text() == "made\n"


def test_keys_of_the_image_stay(root: Path) -> None:
    (root / "etc/ssh/ssh_host_rsa_key").write_text("baked in")
    assert boot(root) == {"ssh_host_rsa_key"}
    assert (root / "etc/ssh/ssh_host_rsa_key").read_text() == "baked in"


def test_a_cut_while_they_are_made(root: Path) -> None:
    assert boot(root, "sync() { exit 1; }\n") == {".stoneware-keys"}
    (root / "etc/ssh/.stoneware-keys/etc/ssh/ssh_host_rsa_key").write_text("")
    assert boot(root) == ALL
    assert all((root / "etc/ssh" / name).read_text() for name in ALL)
    assert (root / "asked").read_text() == "made\nmade\n"


def test_a_cut_while_they_are_moved(root: Path) -> None:
    cut = 'mv() { command mv "$@"; case $1 in *ed25519_key) exit 1 ;; esac; }\n'
    found = boot(root, cut)
    assert ".stoneware-keys" in found
    assert found & ALL < ALL
    first = (root / "etc/ssh/ssh_host_ecdsa_key").read_text()
    assert boot(root) == ALL
    assert (root / "etc/ssh/ssh_host_ecdsa_key").read_text() == first
    assert (root / "asked").read_text() == "made\n"
