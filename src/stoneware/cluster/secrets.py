"""The secrets of a cluster: read from files and variables, handed to the platform, shown nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from stoneware.cluster.desired import secret_name
from stoneware.compose.model import Cluster, SecretSource
from stoneware.config import Secret
from stoneware.config.encoding import to_bytes, to_text
from stoneware.errors import InputError
from stoneware.platforms.protocols import Platform
from stoneware.untrusted.bounded import why_no_file

MOST_SECRET = 1 << 20  # bytes; as systemd's credentials, and twice what Swarm takes
NEW = "new"  # the version of a value that was not handed to the platform yet


def used_secrets(cluster: Cluster) -> tuple[str, ...]:
    """Return the keys of the secrets that some machine has and that we hand to the platform, sorted."""
    used = {use.secret for machine in cluster.machines for use in machine.secrets}
    return tuple(sorted(key for key in used if not cluster.secrets[key].stored))


def all_secrets(cluster: Cluster, origin: Mapping[str, Any]) -> list[str]:
    """Return the names of all secrets that were ever put for a cluster, by its origin and by its file now."""
    now = {secret_name(cluster.name, key) for key in used_secrets(cluster)}
    return sorted(now | set(origin.get("secrets", [])))


def read_secrets(cluster: Cluster, environment: Mapping[str, str]) -> dict[str, Secret]:
    """Return the values of the secrets that machines have. Raises InputError with all that are missing."""
    values: dict[str, Secret] = {}
    missing: list[SecretSource] = []
    reasons = []
    for key in used_secrets(cluster):
        source = cluster.secrets[key]
        try:
            values[key] = _read(source, environment)
        except _MissingError as error:
            missing.append(source)
            reasons.append(f"{_shown(source)}: {error}")
    if missing:
        raise InputError(
            f"{_subject(missing)} missing",
            details="\n".join(reasons),
            resolution="write the file, or export the variable, and run the command again",
        )
    if large := [key for key, value in values.items() if len(to_bytes(value.reveal())) > MOST_SECRET]:
        raise _too_large([cluster.secrets[key] for key in large])
    return values


def _shown(source: SecretSource) -> str:
    return f"{_kind(source)} {source.name}"


def _kind(source: SecretSource) -> str:
    return "config" if source.config else "secret"


def _subject(sources: Sequence[SecretSource]) -> str:
    """Return the subject and the verb of a sentence about secrets and configs."""
    if len(sources) == 1:
        return f"the {_shown(sources[0])} is"
    kinds = sorted({f"{_kind(source)}s" for source in sources}, reverse=True)
    return f"{len(sources)} {' and '.join(kinds)} are"


def _too_large(sources: Sequence[SecretSource]) -> InputError:
    return InputError(
        f"{_subject(sources)} too large",
        details=f"{', '.join(map(_shown, sources))}: {MOST_SECRET} bytes are the most.",
        resolution="COPY a large file into the image, and keep in the config what differs between machines"
        if all(source.config for source in sources)
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
                # One byte more than is allowed shows that it is too large, without reading all of it.
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
