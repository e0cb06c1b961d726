"""What systemd-nspawn is told of a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.machines.nspawn import nspawn_argv
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.store.store import Store


@pytest.mark.parametrize(
    ("hostname", "told"),
    [
        ("", "shop-web-1"),
        ("app.example.org", "app.example.org"),
        ("web-1.shop.internal", "web-1"),  # as the boot agent would set it: tests/guest/test_boot.py
    ],
)
def test_a_machine_has_its_host_name_from_the_start(tmp_path: Path, hostname: str, told: str) -> None:
    spec = MachineSpec("shop-web-1", "image:x", hostname=hostname)
    argv = nspawn_argv(Store(tmp_path), Paths(tmp_path / "shop-web-1"), spec, "m0")
    assert f"--hostname={told}" in argv
