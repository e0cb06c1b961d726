"""The script that installs a kernel into a copy of an image: the `startup-script` of a layer's builder."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path

from stoneware.files import canonical_json, sha256_hex

_HERE = Path(__file__).parent
# What the build agent does to seal a machine is done here as well, by the same lines.
_PARTS = ("lib.sh", "build/certificates.sh", "build/identity.sh", "build/seal.sh", "disk/kernel.sh")
_READER_PARTS = (*_PARTS, "disk/reader.sh")
READER_INIT = _HERE / "disk/reader-init.sh"  # the program of the virtual machine that reads a disk
SETTINGS = ("SW_TOKEN", "KERNEL_PACKAGE", "FIRMWARE", "EXTRAS", "ROOT_UUID", "SOURCE_DATE_EPOCH", "SKIPPED")


def kernel_script(settings: Mapping[str, str]) -> str:
    """Return the script for these settings, of which there is one for each of SETTINGS."""
    return _script(settings, _PARTS, "kernel_layer")


def reader_script(settings: Mapping[str, str]) -> str:
    """Return the script that makes what reads foreign disks, for the same settings."""
    return _script({name: settings.get(name, "") for name in SETTINGS}, _READER_PARTS, "reader_layer")


def _script(settings: Mapping[str, str], names: tuple[str, ...], begin: str) -> str:
    lines = [f"{name}={shlex.quote(settings[name])}" for name in SETTINGS]
    parts = [(_HERE / name).read_text() for name in names]
    return "\n".join(["#!/bin/sh", *parts, *lines, f"{begin}\n"])


@functools.cache
def digest() -> str:
    """Return what decides how a layer is made besides its image and its settings."""
    return sha256_hex(canonical_json([(_HERE / name).read_text() for name in _PARTS]))


@functools.cache
def reader_digest() -> str:
    """Return what decides how the reader of foreign disks is made."""
    paths = (*(_HERE / name for name in _READER_PARTS), READER_INIT)
    return sha256_hex(canonical_json([path.read_text() for path in paths]))
