"""Secrets: values that machines fetch from the metadata server, and that are shown nowhere."""

from __future__ import annotations

import base64
import contextlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from stoneware.errors import InputError
from stoneware.files import write_json
from stoneware.model import guest_lines, names
from stoneware.model.file_places import place_problem
from stoneware.model.guest_protocol import SECRETS_PATH, metadata_url
from stoneware.model.resources import SecretMount
from stoneware.platforms.local.metadata.secrets import (
    Secret,
    read_secret,
    secret_file,
)
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store.base import StoreBase

_KEPT = 10  # values of each secret; as many as Vault's key-value store keeps unless told otherwise


class SecretStore(StoreBase):
    """The part of the store that keeps secrets, each a file of `data/secrets` that root alone can read."""

    @property
    def _secrets(self) -> Path:
        return self.data / "secrets"

    def _secret(self, name: str) -> Path:
        if not names.SECRET.allows(name):
            raise InputError(
                f"{name!r} is not a secret's name",
                details=f"A name has {names.SECRET.words}.",
                resolution="rename it where it is declared",
            )
        return secret_file(self._secrets, name)

    def put_secret(self, name: str, value: bytes) -> str:
        """Keep a secret and return its version: each value has its own.

        The last values are kept: machines that are not replaced yet, or that return, have theirs.
        """
        path = self._secret(name)
        with self.lock("secrets", name), store_errors.clear_errors(self.home):
            self._secrets.mkdir(exist_ok=True, mode=0o700)
            self._sweep(name)
            kept = read_secret(self._secrets, name)
            import secrets

            # A value that was there before has its old version again: machines that have it are not replaced.
            present = _having(kept, value) or Secret(secrets.token_hex(8), value)
            if [present] != kept[:1]:
                former = [secret for secret in kept if secret.version != present.version]
                rows = [_row(secret) for secret in (present, *former[: _KEPT - 1])]
                write_json(path, {"versions": rows}, mode=0o600)
            return present.version

    def secret_version(self, name: str, value: bytes) -> str | None:
        """Return the version of a secret that has this value, None where none of those kept has it."""
        self._secret(name)
        found = _having(read_secret(self._secrets, name), value)
        return found.version if found else None

    def has_secret(self, name: str, version: str) -> bool:
        """Say whether the value that a secret had in some version is still kept."""
        self._secret(name)
        return any(secret.version == version for secret in read_secret(self._secrets, name))

    def destroy_secret(self, name: str) -> None:
        """Forget a secret; a missing one is no error."""
        path = self._secret(name)
        with self.lock("secrets", name):
            path.unlink(missing_ok=True)
            self._sweep(name)

    def _sweep(self, name: str) -> None:
        """Remove what a killed command had staged of a secret. The caller holds the secret's lock."""
        for left in self._secrets.glob(f".{name}.json.*"):
            left.unlink(missing_ok=True)

    def sweep_secrets(self) -> None:
        """Remove what killed commands had staged of secrets; those being written are left alone."""
        for left in self._secrets.glob(".*.json.*"):
            name = left.name[1:].rpartition(".json.")[0]
            with contextlib.suppress(TimeoutError), self.lock("secrets", name, timeout=0):
                left.unlink(missing_ok=True)

    def check_secrets(self, mounts: Iterable[SecretMount]) -> None:
        """Raise InputError where a secret does not exist or its target is no file name."""
        targets: set[str] = set()
        for mount in mounts:
            if not self._secret(mount.secret).exists():
                raise InputError(
                    f"there is no secret {mount.secret!r}",
                    resolution="stoneware up    # puts a cluster's secrets before it makes machines",
                )
            if problem := place_problem(mount.target):
                raise InputError(
                    problem,
                    details=f"It is the target of the secret {mount.secret!r}.",
                    resolution="for example: key, certs/key, or /etc/app/key",
                )
            if not 0 <= mount.mode <= 0o777:
                raise InputError(
                    f"{mount.mode:o} is not a mode for the secret {mount.secret!r}", resolution="mode: 0400"
                )
            if mount.target in targets:
                raise InputError(
                    f"two secrets have the target {mount.target!r}", resolution="give each its own target"
                )
            targets.add(mount.target)


def _having(kept: Iterable[Secret], value: bytes) -> Secret | None:
    """Return the secret that has a value."""
    return next((secret for secret in kept if hmac.compare_digest(secret.value, value)), None)


def _row(secret: Secret) -> dict[str, str]:
    return {"version": secret.version, "value": base64.b64encode(secret.value).decode()}


def secret_lines(mounts: Iterable[SecretMount]) -> str:
    """Return the attribute `stoneware-secrets` of a machine here, whose metadata server has its secrets."""
    return guest_lines.secret_lines(mounts, lambda item: metadata_url(SECRETS_PATH + item.secret))
