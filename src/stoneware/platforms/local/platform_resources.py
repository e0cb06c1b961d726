"""What machines of the local platform have besides themselves: volumes, networks and secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stoneware.errors import InputError
from stoneware.files import read_json, write_json
from stoneware.model import guest_protocol
from stoneware.model.machine import MachineSpec
from stoneware.model.machine_fields import written
from stoneware.model.resources import Network, SecretMount
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.network.layout import is_up, layout_of
from stoneware.platforms.local.platform_volumes import LocalVolumes
from stoneware.platforms.local.store.secrets import secret_lines


class LocalResources(LocalVolumes):
    """The methods of the local platform for volumes, networks and secrets."""

    # -- networks ------------------------------------------------------------------------------------------

    def create_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> Network:
        """Return the network of that name, made where there is none.

        Raises InputError where it cannot have these subnets.
        """
        return self.store.create_network(name, labels, internal=internal, subnets=subnets)

    def network(self, name: str) -> Network | None:
        """Return a network, or None."""
        return self.store.find_network(name)

    def networks(self) -> list[Network]:
        """Return all networks, sorted by name."""
        return self.store.networks()

    def change_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> None:
        """Change a network's labels, its subnets, and whether it is internal, which holds at once.

        Raises InputError where there is no such network, where it cannot have these subnets, and where a
        machine has an address in one that it would lose.
        """
        before = self.store.find_network(name)
        self.store.change_network(name, labels, internal=internal, subnets=subnets)
        if before is None:
            return
        if before.subnets != tuple(subnets):
            self._repair_router()
        if before.internal != internal:
            from stoneware.platforms.local.network import router

            found = router.open_router(self.store)
            if found is not None:
                found.renew()

    def destroy_network(self, name: str) -> None:
        """Remove a network. Raises InputError while it has machines; a missing one is no error."""
        before = self.store.find_network(name)
        self.store.remove_network(name)
        if before is not None and before.subnets:
            self._repair_router()

    def _repair_router(self) -> None:
        """Let the router, where there is one, have the ranges that the networks' records name."""
        from stoneware.platforms.local.network import router

        if is_up(layout_of(self.store).digest):
            router.ensure(self.store)

    # -- secrets -------------------------------------------------------------------------------------------

    def put_secret(self, name: str, value: bytes) -> str:
        """Keep a secret for machines to fetch and return its version, a new one only for another value."""
        return self.store.put_secret(name, value)

    def secret_version(self, name: str, value: bytes) -> str | None:
        """Return the version of a secret that has this value, None where it has another or there is none."""
        return self.store.secret_version(name, value)

    def has_secret(self, name: str, version: str) -> bool:
        """Say whether the value that a secret had in some version is still kept."""
        return self.store.has_secret(name, version)

    def let_fetch_secrets(self, specs: Iterable[MachineSpec]) -> None:
        """Do nothing: the metadata server gives each machine its own secrets, and no others."""

    def destroy_secret(self, name: str) -> None:
        """Forget a secret; a missing one is no error."""
        self.store.destroy_secret(name)

    # -- metadata ------------------------------------------------------------------------------------------

    def existing_directory(self, name: str) -> Path:
        """Return a machine's directory. Raises InputError where there is no machine of that name."""
        path = self.store.data / "machines" / name
        # Such a name would lead out of the machines' directory, or to what is staged in it.
        if "/" in name or name.startswith(".") or not path.exists():
            raise InputError(f"there is no machine {name!r}", resolution="stoneware ps -a")
        return path

    def set_metadata(self, name: str, changes: Mapping[str, str | None]) -> None:
        """Change instance attributes (None removes one); those who wait for a change are told."""
        directory = self.existing_directory(name)
        with self.store.lock("metadata", name):
            self._change_metadata(directory, changes)

    @staticmethod
    def _change_metadata(directory: Path, changes: Mapping[str, str | None]) -> None:
        document: dict[str, Any] = read_json(directory / "metadata.json") or {}
        attributes = {**document.get("attributes", {}), **changes}
        kept = {key: value for key, value in attributes.items() if value is not None}
        write_json(directory / "metadata.json", {**document, "attributes": kept}, mode=0o600)

    def amend(self, name: str, **changes: Any) -> None:
        """Change fields of a machine's spec that change in place; those who wait for its metadata are told.

        Raises InputError where a secret does not exist.
        """
        document = written(changes)
        secrets: tuple[SecretMount, ...] | None = changes.get("secrets")
        self.store.check_secrets(secrets or ())
        directory = self.existing_directory(name)
        with self.store.lock("metadata", name):
            if secrets is not None:
                self._announce_secrets(directory, secrets)
            machine_record.change_spec(directory, document)
        if "ingress" in changes:
            self._guard(directory)

    def _guard(self, directory: Path) -> None:
        """Have the router let in to a machine what its spec says now; it does so too when one starts."""
        from stoneware.platforms.local.network import router

        found, state = router.open_router(self.store), read_json(directory / "state.json") or {}
        if found is not None and state.get("id"):
            found.guard(directory, str(state["id"]))

    def _announce_secrets(self, directory: Path, secrets: tuple[SecretMount, ...]) -> None:
        """Tell a machine of its secrets. Before that it may fetch those that are new to it.

        Those have no version in the spec yet: should this command be killed now, the spec differs from the
        one that is wanted, and a caller that compares the two continues.
        """
        old = list((read_json(directory / "spec.json") or {}).get("secrets", ()))
        known = {mount["secret"] for mount in old}
        coming = tuple(replace(mount, version="") for mount in secrets if mount.secret not in known)
        if coming:
            both = [*old, *written({"secrets": coming})["secrets"]]
            machine_record.change_spec(directory, {"secrets": both})
        self._change_metadata(directory, {guest_protocol.SECRETS: secret_lines(secrets) or None})
