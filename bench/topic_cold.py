"""A cold bake, with no base and no cache, against doing the same by hand: mmdebstrap and chroot."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench.harness import Section, interleave, ratio, run, timed_rows
from bench.place import HELLO, Place

BY_HAND = "mmdebstrap and chroot"
OURS = "stoneware bake"


def measure(place: Place, repeats: int) -> Section:
    """Measure both from nothing to a finished root file system."""
    samples = interleave({OURS: lambda _: _ours(place), BY_HAND: lambda _: _by_hand()}, min(repeats, 3))
    return Section(
        "cold",
        "Cold bake, against the same commands by hand",
        (*timed_rows(samples), ratio(samples, OURS, BY_HAND, 1.15)),
        (
            "From an empty store to the hello image; by hand: mmdebstrap with the same packages, options and "
            "sources, then the Machinefile's commands in a chroot and its files copied. Both download "
            "everything, each time.",
            "Making the store's file system, sealing, checking and capturing are in Stoneware's figure.",
        ),
    )


def _ours(place: Place) -> float:
    fresh = Place(Path(tempfile.mkdtemp(prefix="bench-cold-", dir=place.home.parent)))
    try:
        return fresh.timed("bake", "-q", "-t", "hello", HELLO)
    finally:
        fresh.remove()


def _by_hand() -> float:
    from stoneware.platforms.local.bases.bases import PACKAGES
    from stoneware.platforms.local.bases.mmdebstrap import mmdebstrap
    from stoneware.platforms.local.bases.package_sources import host_sources
    from stoneware.platforms.local.bases.sources import Source

    with tempfile.TemporaryDirectory(prefix="bench-by-hand-", dir="/var/tmp") as directory:
        root = Path(directory) / "root"
        root.mkdir()
        started = time.perf_counter()
        mmdebstrap(Source("bookworm"), root, PACKAGES, host_sources("bookworm"), lambda _: None)
        _steps(root)
        return time.perf_counter() - started


def _steps(root: Path) -> None:
    """Do what examples/hello/Machinefile says."""
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    script = (
        "mount -t proc proc /proc; apt-get update"
        " && apt-get install -y --no-install-recommends curl nginx"
        " && systemctl disable nginx.service && rm /etc/nginx/sites-enabled/default && apt-get clean"
        " && rm -rf /var/lib/apt/lists/*"
    )
    mounts = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    run([*mounts, "chroot", root, "sh", "-c", script], env={"DEBIAN_FRONTEND": "noninteractive"})
    shutil.copytree(HELLO / "templates", root / "etc/stoneware/templates")
    shutil.copy(HELLO / "config.schema.json", root / "etc/stoneware/config.schema.json")
    subprocess.run(["sync", "-f", root], check=True)
