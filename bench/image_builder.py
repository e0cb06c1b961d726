"""Debian's diskimage-builder, which makes a disk like hello's: the same packages and a kernel.

It has less to do: a file system without a partition table and boot loader, for which it needs device mapper.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench import harness

PROGRAM = "disk-image-create"
_RELEASE = "bookworm"
_PACKAGES = ("curl", "nginx", "linux-image-cloud-amd64")  # those of examples/hello, and the kernel
_NEEDED = ("debootstrap", "qemu-img", "losetup", "sudo")


def missing() -> str:
    """Return what it takes and is not found, or nothing."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return ", ".join(name for name in (PROGRAM, *_NEEDED) if not shutil.which(name, path=path))


class ImageBuilder:
    """`disk-image-create` with its caches below a directory: the root of debootstrap, the packages."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._element = directory / "elements/hello"
        (self._element / "install.d").mkdir(parents=True)
        (self._element / "element-deps").write_text("debian-minimal\n")
        packages = "".join(f"{name}:\n" for name in _PACKAGES)
        (self._element / "package-installs.yaml").write_text(packages)

    def make(self, line: str) -> float:
        """Make a raw disk whose last step is a line of shell; return the seconds."""
        script = self._element / "install.d/90-line"
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
        target = self.directory / "hello"
        seconds = harness.timed([PROGRAM, "-t", "raw", "-o", target, "hello"], env=self._environment())
        target.with_suffix(".raw").unlink()
        return seconds

    def _environment(self) -> dict[str, str]:
        # As this computer's apt has it: the program's own place of security updates is not everywhere.
        targets = harness.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
        return {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "ELEMENTS_PATH": str(self.directory / "elements"),
            "DIB_RELEASE": _RELEASE,
            "DIB_APT_SOURCES_CONF": f"default:deb {targets.split()[0]} {_RELEASE} main",
            "DIB_DEBOOTSTRAP_CACHE": "1",
            "DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE": "1",
            "DIB_IMAGE_CACHE": str(self.directory / "cache"),
            "TMPDIR": str(self.directory),
        }
