"""Published ports: which are free on this computer, and who has which.

One record for the whole computer, `/run/stoneware/ports.json`, kept under a flock, because the stores of
one computer share its ports. A publication is a rule of the kernel's, not a listening socket, so the record
is what reserves the port. It is gone after a reboot, as the rules are.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import locked, read_json, write_json
from stoneware.model.resources import PortMapping
from stoneware.process_identity import socket_owner

ANY = "0.0.0.0"  # noqa: S104 — the user's word for every address of the host
_LISTEN = {"tcp": "0A", "udp": "07"}
# The kernel may name a port that a machine has published: that is a rule, and no socket.
_TRIES = 200
RECORD = "ports.json"


@dataclass(frozen=True, order=True)
class Publication:
    """A port of a machine, published by a store. `store` is the digest of its directory."""

    store: str
    id: str
    host_ip: str
    host_port: int
    ip: str
    machine_port: int
    protocol: str


@dataclass(frozen=True)
class Listener:
    """A socket that a program of this computer listens on. `address` "" is every address."""

    protocol: str
    address: str
    port: int
    inode: int


def parse_sockets(text: str, protocol: str) -> list[Listener]:
    """Return the listening sockets of a /proc/net/{tcp,tcp6,udp,udp6}; IPv6-only addresses are left out."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        # UDP sockets do not listen: one that is not connected (07) receives.
        if len(fields) < 10 or fields[3] != _LISTEN[protocol]:
            continue
        address, _, port = fields[1].partition(":")
        shown = _ipv4(address)
        if shown is not None:
            found.append(Listener(protocol, shown, int(port, 16), int(fields[9])))
    return found


def _ipv4(hexadecimal: str) -> str | None:
    """Return the IPv4 address that the kernel's spelling means, "" for all, None for an IPv6 one."""
    # The kernel writes words of 32 bits in the processor's order: the bytes are turned round.
    words = [bytes.fromhex(hexadecimal[index : index + 8])[::-1] for index in range(0, len(hexadecimal), 8)]
    raw = b"".join(words)
    if not any(raw):
        return ""
    if len(raw) == 4:
        return str(IPv4Address(raw))
    # A server on an IPv4-mapped address is in the way of an IPv4 port all the same.
    mapped = IPv6Address(raw).ipv4_mapped
    return str(mapped) if mapped else None


def host_sockets(protocol: str) -> list[Listener]:
    """Return the listening sockets of this computer."""
    found: list[Listener] = []
    for name in (protocol, f"{protocol}6"):
        with contextlib.suppress(OSError):
            found += parse_sockets(Path(f"/proc/net/{name}").read_text(), protocol)
    return found


def overlap(first: str, second: str) -> bool:
    """Say whether two addresses of the host have one in common ("" and 0.0.0.0 are all of them)."""
    return first == second or first in {"", ANY} or second in {"", ANY}


def check(mapping: PortMapping) -> PortMapping:
    """Return the mapping with its host address spelt out. Raises InputError where it cannot be."""
    shown = f"{mapping.host_ip or ANY}:{mapping.host_port}:{mapping.machine_port}/{mapping.protocol}"
    usage = "-p [ADDRESS:]HOST_PORT:MACHINE_PORT[/udp], ports from 1 to 65535"
    if mapping.protocol not in _LISTEN:
        raise InputError(
            f"unknown protocol in {shown}", details="tcp and udp can be published", resolution=usage
        )
    if not (0 <= mapping.host_port < 65536 and 0 < mapping.machine_port < 65536):
        raise InputError(f"port out of range in {shown}", resolution=usage)
    host_ip = mapping.host_ip or ANY
    try:
        host_ip = str(IPv4Address(host_ip))
    except ValueError:
        detail = "an IPv4 address of this computer is needed"
        raise InputError(f"{host_ip} cannot be published on", details=detail, resolution=usage) from None
    if host_ip != ANY:
        # The kernel refuses to bind to an address that this computer does not have.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host_ip, 0))
            except OSError:
                detail = f"{host_ip} is not an address of this computer"
                raise InputError(
                    f"{shown} cannot be published", details=detail, resolution="ip addr"
                ) from None
    return PortMapping(host_ip, mapping.host_port, mapping.machine_port, mapping.protocol)


def recorded(file: Path) -> list[Publication]:
    """Return the publications in a record, none where there is no record.

    Raises DamagedError: a record that counted as empty would have ports given away once more.
    """
    names = [field.name for field in fields(Publication)]
    document = read_json(file) or {}
    return [
        Publication(**{name: entry[name] for name in names}) for entry in document.get("publications", ())
    ]


class Ports:
    """The record of this computer's publications."""

    def __init__(self, directory: Path, is_up: Callable[[str], bool]) -> None:
        self._file = directory / RECORD
        self._lock = directory / "ports.lock"
        self._is_up = is_up

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep the record to ourselves."""
        with locked(self._lock):
            yield

    def read(self) -> list[Publication]:
        """Return all publications of the stores that are up. Raises DamagedError."""
        entries = recorded(self._file)
        up = {store: self._is_up(store) for store in {entry.store for entry in entries}}
        return [entry for entry in entries if up[entry.store]]

    def write(self, publications: Iterable[Publication]) -> None:
        """Replace the record."""
        write_json(
            self._file, {"publications": [asdict(entry) for entry in sorted(publications)]}, mode=0o600
        )

    @staticmethod
    def assign(
        mappings: Sequence[PortMapping], taken: Sequence[Publication], store: str, id: str, ip: str
    ) -> list[Publication]:
        """Return the publications for a machine, free ports chosen for host port 0. Raises InputError."""
        mine: list[Publication] = []
        # Named ports first: no free one may be one that is asked for by name.
        for wanted in sorted((check(mapping) for mapping in mappings), key=lambda item: item.host_port == 0):
            others = [*taken, *mine]
            port = wanted.host_port or _free_port(wanted, others)
            mapping = PortMapping(wanted.host_ip, port, wanted.machine_port, wanted.protocol)
            if wanted.host_port:
                _refuse_used(mapping, others)
            entry = Publication(store, id, mapping.host_ip, port, ip, mapping.machine_port, mapping.protocol)
            mine.append(entry)
        return mine


def faults(
    mappings: Sequence[PortMapping], taken: Sequence[Publication], name_of: Callable[[str], str]
) -> list[str]:
    """Return why ports cannot be published, a sentence each. `name_of` a machine's id is its name."""
    found = []
    for mapping in mappings:
        try:
            wanted = check(mapping)
            if wanted.host_port:
                _refuse_used(wanted, taken, name_of)
        except InputError as error:
            found.append(": ".join(filter(None, [error.brief, error.details])))
    return found


def _conflict(mapping: PortMapping, publications: Iterable[Publication]) -> Publication | None:
    for entry in publications:
        same = (entry.protocol, entry.host_port) == (mapping.protocol, mapping.host_port)
        if same and overlap(entry.host_ip, mapping.host_ip):
            return entry
    return None


def _refuse_used(
    mapping: PortMapping, publications: Iterable[Publication], name_of: Callable[[str], str] = str
) -> None:
    name = f"port {mapping.host_port}/{mapping.protocol} of this computer is in use"
    choice = f"-p 0:{mapping.machine_port}    # takes a free port; or name another one"
    entry = _conflict(mapping, publications)
    if entry is not None:
        detail = f"the machine {name_of(entry.id)} has it, for its port {entry.machine_port}"
        raise InputError(name, details=detail, resolution=choice)
    for listener in host_sockets(mapping.protocol):
        if listener.port == mapping.host_port and overlap(listener.address, mapping.host_ip):
            owner = socket_owner(listener.inode) or "another program"
            raise InputError(name, details=f"{owner} listens on it", resolution=choice)


def _free_port(mapping: PortMapping, publications: Sequence[Publication]) -> int:
    kind = socket.SOCK_STREAM if mapping.protocol == "tcp" else socket.SOCK_DGRAM
    for _ in range(_TRIES):
        with socket.socket(socket.AF_INET, kind) as probe:
            # Which ports are free, and which of those are for such uses, the kernel knows.
            probe.bind((mapping.host_ip, 0))
            port = int(probe.getsockname()[1])
        chosen = PortMapping(mapping.host_ip, port, mapping.machine_port, mapping.protocol)
        if _conflict(chosen, publications) is None:
            return port
    raise InputError("no free port on this computer", resolution="stoneware ps    # shows the published ones")
