"""The secrets of a bake: what `--secret` names, as files that only root can read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stoneware.bake.options import SecretSource
from stoneware.bake.workdir import SECRET_FILES
from stoneware.errors import InputError
from stoneware.machinefile.mounts import is_secret_name
from stoneware.untrusted.bounded import BoundsError, read_bounded


def write_secrets(directory: Path, secrets: Mapping[str, SecretSource]) -> dict[str, Path]:
    """Write the build secrets into the bake's directory and return their files by id. Raises InputError."""
    found = {}
    for name, source in secrets.items():
        if not is_secret_name(name):
            raise InputError(
                f"{name!r} cannot be the id of a secret",
                details="It has letters, digits, dots, dashes and underscores.",
                resolution="--secret id=token,src=FILE",
            )
        path = directory / f"{SECRET_FILES}{name}"
        # Never readable for others, not even between its making and a chmod.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(_value(name, source))
        found[name] = path
    return found


def _value(name: str, source: SecretSource) -> bytes:
    if source.path is None:
        known = source.value
        value = os.environ.get(source.variable) if known is None else known.reveal()
        if value is None:
            raise InputError(
                f"the secret {name!r} comes from the variable {source.variable}, which is not set",
                resolution=f"export {source.variable}=…",
            )
        # A variable may hold bytes that are no UTF-8; Python has them as lone surrogates.
        return value.encode(errors="surrogateescape")
    try:
        return read_bounded(source.path)
    except (OSError, BoundsError) as error:
        raise InputError(
            f"the secret {name!r} cannot be read",
            details=f"{source.path} {error}" if isinstance(error, BoundsError) else str(error),
            resolution="--secret id=ID,src=FILE",
        ) from error
