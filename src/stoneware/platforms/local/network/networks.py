"""Networks: which machines see each other, and which address each name keeps in them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware.errors import InputError
from stoneware.files import locked, read_json, write_json
from stoneware.model import names
from stoneware.model.labels import DAMAGED_LABEL
from stoneware.model.resources import Network
from stoneware.platforms.local.network.layout import layout_of
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store.base import StoreBase
from stoneware.platforms.local.store.in_use import read_uses
from stoneware.records import DamagedError, whole


class NetworkStore(StoreBase):
    """The part of the store that keeps networks, each a directory of `data/networks`.

    ``document.json`` its labels, when it was made, whether it is internal, and its subnets;
    ``addresses.json`` machine's name to IP address, which the router fills in as machines come, and which
    stays until the network goes.
    """

    @property
    def _networks(self) -> Path:
        return self.data / "networks"

    def _network(self, name: str) -> Path:
        if not names.NETWORK.allows(name):
            raise InputError(
                f"{name!r} is not a network name",
                details=f"A name has {names.NETWORK.words}.",
                resolution="name it as the cluster's other networks: CLUSTER-KEY",
            )
        return self._networks / name

    def networks(self) -> list[Network]:
        """Return all networks, sorted by name."""
        with contextlib.suppress(FileNotFoundError):
            paths = sorted(path for path in self._networks.iterdir() if not path.name.startswith("."))
            users = self.known.uses().networks
            return [_read_any(path, users) for path in paths]
        return []

    def find_network(self, name: str) -> Network | None:
        """Return one network, or None."""
        path = self._network(name)
        return _read(path, self.known.uses().networks) if path.is_dir() else None

    def create_network(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        internal: bool = False,
        subnets: Sequence[str] = (),
    ) -> Network:
        """Create a network if there is none of that name, and return it.

        Raises InputError where it cannot have these subnets.
        """
        path = self._network(name)
        with self.lock("networks", name), store_errors.clear_errors(self.home):
            if not path.is_dir():
                self._networks.mkdir(exist_ok=True)
                with self.staging(path.parent) as staged, self._ranges(name, subnets):
                    document = _document(time.time(), labels or {}, internal, subnets)
                    write_json(staged / "document.json", document)
                    staged.rename(path)
            return _read(path, self.known.uses().networks)

    def change_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool, subnets: Sequence[str] = ()
    ) -> None:
        """Change a network. Raises InputError where there is none. The router is to be told."""
        path = self._network(name)
        with self.lock("networks", name), store_errors.clear_errors(self.home):
            network = self.find_network(name)
            if network is None:
                raise InputError(f"there is no network {name!r}", resolution="make it first")
            document = _document(network.created, labels, internal, subnets)
            if network.subnets == tuple(subnets):
                write_json(path / "document.json", document)
                return
            with self._ranges(name, subnets):
                write_json(path / "document.json", document)

    @contextlib.contextmanager
    def _ranges(self, name: str, subnets: Sequence[str]) -> Iterator[None]:
        """Hold the router's lock where a network can have these subnets. Raises InputError where it cannot.

        No other network gets a range meanwhile, and no machine an address.
        """
        if not subnets and not (self._networks / name).is_dir():
            yield
            return
        from stoneware.platforms.local.network import state

        layout = layout_of(self)
        with state.exclusive(layout):
            state.check_ranges(layout, name, subnets)
            yield

    def remove_network(self, name: str) -> None:
        """Remove a network; a missing one is no error. Raises InputError while it has machines."""
        path = self._network(name)
        with self.lock("networks", name):
            if not path.is_dir():
                return
            users = read_uses(self.data / "machines").networks.get(name, [])
            if users:
                raise InputError(
                    f"the network {name!r} has machines",
                    details=", ".join(users),
                    resolution=f"stoneware rm -f {' '.join(users)}    # then remove the network",
                )
            with self.staging(path.parent) as staged:
                # In one step: no reader sees a network that is half removed.
                path.rename(staged / "gone")

    @contextlib.contextmanager
    def keep_networks(self, names: Iterable[str]) -> Iterator[None]:
        """Keep networks from being removed meanwhile. Raises InputError where one does not exist."""
        with contextlib.ExitStack() as stack:
            for name in sorted(set(names)):
                path = self._network(name)
                # Shared: many machines of a cluster are made at the same time.
                stack.enter_context(locked(self.lock_path("networks", name), shared=True))
                if not path.is_dir():
                    raise InputError(
                        f"there is no network {name!r}",
                        details="A machine can only be created on networks that exist.",
                        resolution="make the network first, or leave it out for the common one",
                    )
            yield


def _document(
    created: float, labels: Mapping[str, str], internal: bool, subnets: Sequence[str]
) -> dict[str, Any]:
    document = {"created": created, "labels": dict(labels), "internal": internal}
    return document | ({"subnets": list(subnets)} if subnets else {})


def _read_any(path: Path, users: Mapping[str, list[str]]) -> Network:
    """Return a network for a list: one whose record is damaged says so in a label."""
    try:
        return _read(path, users)
    except DamagedError as error:
        labels = {DAMAGED_LABEL: f"{error.why}; {error.resolution.partition(' #')[0].strip()}"}
        return Network(path.name, 0.0, labels, tuple(users.get(path.name, ())))


def _read(path: Path, users: Mapping[str, list[str]]) -> Network:
    document: dict[str, Any] = read_json(path / "document.json") or {}
    return Network(
        name=path.name,
        created=document.get("created", 0.0),
        labels=document.get("labels", {}),
        machines=tuple(users.get(path.name, ())),
        internal=document.get("internal") is True,  # networks of an earlier version do not say
        subnets=tuple(document.get("subnets", ())),
    )


def are_internal(data: Path, names: Iterable[str]) -> bool:
    """Say whether there are networks of these names and all are internal: no way out but for neighbours."""
    documents = [read_json(data / "networks" / name / "document.json") or {} for name in names]
    return bool(documents) and all(document.get("internal") is True for document in documents)


def read_addresses(data: Path) -> dict[str, dict[str, str]]:
    """Return which address each machine's name keeps, by network."""
    return {path.parent.name: dict(whole(path)) for path in (data / "networks").glob("[!.]*/addresses.json")}


def free_address(data: Path, ip: str, *, but: str) -> None:
    """Let no name but one keep an address. To be called under the router's lock."""
    for path in (data / "networks").glob("[!.]*/addresses.json"):
        known = whole(path)
        left = {name: address for name, address in known.items() if address != ip or name == but}
        if left != known:
            write_json(path, left)


def keep_address(data: Path, network: str, name: str, ip: str) -> None:
    """Let a machine's name keep an address while a network exists. To be called under the router's lock."""
    path = data / "networks" / network / "addresses.json"
    if not path.parent.is_dir():
        raise InputError(
            f"the network {network!r} of the machine {name!r} is gone",
            details="Somebody has removed it from the store's directory.",
            resolution="stoneware up    # makes a cluster's networks; or: stoneware rm the machine",
        )
    known: dict[str, str] = read_json(path) or {}
    if known.get(name) != ip:
        write_json(path, {**known, name: ip})
