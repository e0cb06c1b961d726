"""The secrets of a bake: what `--secret` names, as files that only root can read."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from stoneware.bake.options import SecretSource
from stoneware.bake.plan import PlannedStep
from stoneware.bake.workdir import SECRET_FILES
from stoneware.errors import InputError
from stoneware.machinefile.mounts import is_secret_name
from stoneware.machinefile.recipe import RunStep
from stoneware.untrusted.bounded import BoundsError, read_bounded


def check_secrets(steps: Iterable[PlannedStep], given: Container[str]) -> None:
    """Raise InputError for the first step that needs a secret that was not given."""
    for planned in steps:
        mounts = planned.step.mounts if isinstance(planned.step, RunStep) else ()
        for mount in mounts:
            if mount.type == "secret" and mount.required and mount.id not in given:
                raise _missing(planned, mount.id)


def _missing(planned: PlannedStep, name: str) -> InputError:
    return InputError(
        f"the step needs the secret {name!r}",
        details=planned.step.text,
        resolution=f"--secret id={name},src=FILE    # or: --secret id={name},env=VARIABLE; "
        f"for a service of a cluster: build: {{secrets: [{name}]}}",
        location=planned.location,
    )


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
