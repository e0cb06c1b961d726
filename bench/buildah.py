"""buildah with a storage of its own, over the same base."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench import harness
from bench.place import BASE


class Buildah:
    """`buildah` with storage below a directory.

    Its storage is overlay, which it chooses itself where the kernel can, else vfs; BENCH_BUILDAH_STORAGE
    names another one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        default = "overlay" if self._works("overlay") else "vfs"
        self.driver = os.environ.get("BENCH_BUILDAH_STORAGE", default)

    def _command(self, driver: str) -> list[str]:
        roots = [f"--root={self.directory}/{driver}", f"--runroot={self.directory}/{driver}-run"]
        return ["buildah", *roots, f"--storage-driver={driver}"]

    def _works(self, driver: str) -> bool:
        done = subprocess.run([*self._command(driver), "images"], capture_output=True, check=False)
        return done.returncode == 0

    def import_base(self, rootfs: Path) -> None:
        """Make an image of a root file system, under the name the Machinefile's FROM uses."""
        archive = self.directory / "base.tar"
        with archive.open("wb") as stream:
            subprocess.run(["tar", "-C", rootfs, "--numeric-owner", "-c", "."], stdout=stream, check=True)
        name = harness.run([*self._command(self.driver), "from", "scratch"]).strip()
        harness.run([*self._command(self.driver), "add", "-q", name, archive, "/"])
        harness.run([*self._command(self.driver), "commit", "-q", name, BASE])
        harness.run([*self._command(self.driver), "rm", name])
        archive.unlink()

    def build(self, context: Path, tag: str, *options: str) -> float:
        """Build a context's Machinefile with layers cached, and return the seconds."""
        argv = [*self._command(self.driver), "build", "--isolation=chroot", "--layers", "--pull-never"]
        return harness.timed([*argv, *options, "-f", context / "Machinefile", "-t", tag, context])

    def remove(self) -> None:
        """Remove everything this buildah stored."""
        for driver in ("overlay", "vfs"):
            subprocess.run([*self._command(driver), "rm", "-a"], capture_output=True, check=False)
            subprocess.run(["umount", self.directory / driver / "overlay"], capture_output=True, check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def version() -> str:
    """Return buildah's version. Ends the benchmark where buildah is missing."""
    if shutil.which("buildah", path=os.environ["PATH"]) is None:
        raise SystemExit("bench: buildah is not installed: apt-get install buildah")
    return harness.run(["buildah", "--version"]).split()[2]
