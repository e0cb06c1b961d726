"""The secrets of a cluster: read from files and variables, handed to the platform, shown nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stoneware.cluster.desired import secret_name
from stoneware.compose.model import Cluster, SecretSource
from stoneware.compose.references import CONFIG_ENDING
from stoneware.config import Secret
from stoneware.config.encoding import to_bytes, to_text
from stoneware.errors import InputError
from stoneware.platforms.protocols import Platform
from stoneware.untrusted.bounded import why_no_file

MOST_SECRET = 1 << 20  # bytes; as systemd's credentials, and twice what Swarm takes
NEW = "new"  # the version of a value that was not handed to the platform yet


def used_secrets(cluster: Cluster) -> tuple[str, ...]:
    """Return the keys of the secrets that some machine has, sorted."""
    return tuple(sorted({use.secret for machine in cluster.machines for use in machine.secrets}))


def all_secrets(cluster: Cluster, origin: Mapping[str, Any]) -> list[str]:
    """Return the names of all secrets that were ever put for a cluster, by its origin and by its file now."""
    now = {secret_name(cluster.name, key) for key in used_secrets(cluster)}
    return sorted(now | set(origin.get("secrets", [])))


def read_secrets(cluster: Cluster, environment: Mapping[str, str]) -> dict[str, Secret]:
    """Return the values of the secrets that machines have. Raises InputError with all that are missing."""
    values: dict[str, Secret] = {}
    missing: dict[str, str] = {}
    for key in used_secrets(cluster):
        try:
            values[key] = _read(cluster.secrets[key], environment)
        except _MissingError as error:
            missing[key] = str(error)
    if missing:
        raise InputError(
            f"the {_shown(next(iter(missing)))} is missing"
            if len(missing) == 1
            else f"{len(missing)} {_kinds(missing)} are missing",
            details="\n".join(f"{_shown(key)}: {why}" for key, why in missing.items()),
            resolution="write the file, or export the variable, and run the command again",
        )
    if large := [key for key, value in values.items() if len(to_bytes(value.reveal())) > MOST_SECRET]:
        raise _too_large(large)
    return values


def _shown(key: str) -> str:
    """Return what a user calls a secret or, by its key among them, a config."""
    return f"config {name}" if (name := key.removesuffix(CONFIG_ENDING)) != key else f"secret {key}"


def _kinds(keys: Collection[str]) -> str:
    kinds = {_shown(key).partition(" ")[0] for key in keys}
    return " and ".join(f"{kind}s" for kind in sorted(kinds, reverse=True))


def _too_large(keys: Sequence[str]) -> InputError:
    named = [_shown(key) for key in keys]
    several = f"{len(keys)} {_kinds(keys)}"
    return InputError(
        f"the {named[0]} is too large" if len(named) == 1 else f"{several} are too large",
        details=f"{', '.join(named)}: {MOST_SECRET} bytes are the most.",
        resolution="COPY a large file into the image, and keep in the config what differs between machines"
        if all(key.endswith(CONFIG_ENDING) for key in keys)
        else "put a large file into the image, encrypted, and its key into the secret",
    )


class _MissingError(Exception):
    """A secret has no value; the text says why and holds no value."""


def _read(source: SecretSource, environment: Mapping[str, str]) -> Secret:
    if source.file is not None:
        if why := why_no_file(source.file):  # a FIFO would be waited for
            raise _MissingError(why)
        try:
            with source.file.open("rb") as stream:
                return Secret(to_text(stream.read(MOST_SECRET + 1)))
        except OSError as error:
            raise _MissingError(f"cannot read {source.file}: {error.strerror}") from None
    if source.value is not None:  # from .env, perhaps
        return source.value
    if source.variable not in environment:
        raise _MissingError(f"the variable {source.variable} is not set")
    return Secret(environment[source.variable])


def declared_versions(platform: Platform, cluster: Cluster, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of the secrets as the file has them now, by key, for commands that only look.

    NEW for values that the platform does not have. A secret that cannot be read here is not among them.
    """
    values = {}
    for key in used_secrets(cluster):
        with contextlib.suppress(_MissingError):
            values[key] = _read(cluster.secrets[key], environment)
    return known_versions(platform, cluster.name, values)


def known_versions(platform: Platform, cluster: str, values: Mapping[str, Secret]) -> dict[str, str]:
    """Return the secrets' versions, by key; NEW for values that the platform does not have yet."""
    return {
        key: platform.secret_version(secret_name(cluster, key), to_bytes(value.reveal())) or NEW
        for key, value in values.items()
    }


def put_secrets(platform: Platform, cluster: str, values: Mapping[str, Secret]) -> dict[str, str]:
    """Hand the values to the platform and return their versions, by key."""
    return {
        key: platform.put_secret(secret_name(cluster, key), to_bytes(value.reveal()))
        for key, value in values.items()
    }
