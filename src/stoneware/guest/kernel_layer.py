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
SETTINGS = ("SW_TOKEN", "KERNEL_PACKAGE", "FIRMWARE", "EXTRAS", "ROOT_UUID", "SOURCE_DATE_EPOCH", "SKIPPED")


def kernel_script(settings: Mapping[str, str]) -> str:
    """Return the script for these settings, of which there is one for each of SETTINGS."""
    lines = [f"{name}={shlex.quote(settings[name])}" for name in SETTINGS]
    parts = [(_HERE / name).read_text() for name in _PARTS]
    return "\n".join(["#!/bin/sh", *parts, *lines, "kernel_layer\n"])


@functools.cache
def digest() -> str:
    """Return what decides how a layer is made besides its image and its settings."""
    return sha256_hex(canonical_json([(_HERE / name).read_text() for name in _PARTS]))
