"""What stands behind the instances of an emulated cloud: machines, and the contents of disks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from stoneware.model.ingress import Ingress
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import VolumeMount

CONTENTS = "disk-"  # how keys of contents begin, followed by a number


class Computers(Protocol):
    """Asked from several threads, for one machine by one at a time. Each raises StonewareError."""

    def base(self, reference: str) -> str:
        """Return the key of the contents of a public image, as `debian:12`; made where they are missing."""
        ...

    def boot(self, spec: MachineSpec) -> None:
        """Let a machine run that is as a spec says; one of that name that is there goes on."""
        ...

    def power_off(self, name: str, contents: str, *, timeout: float) -> bool:
        """Stop a machine, keep what is on its root under a key (empty: do not), and remove it.

        May be done again after a kill: what is kept already stays as it is. Return whether it is kept.
        """
        ...

    def keep(self, name: str, contents: str) -> None:
        """Keep what is on the root of a machine now under a key."""
        ...

    def take_disk(self, archive: Path, contents: str) -> int:
        """Keep under a key what is on the disk in an archive of Compute Engine's form; return its bytes.

        May be done again after a kill. Raises InputError for what no machine here can boot from.
        """
        ...

    def forget(self, contents: str) -> None:
        """Forget what was kept; what was not is no error."""
        ...

    def kept(self) -> frozenset[str]:
        """Return all keys of contents of this emulator."""
        ...

    def running(self) -> frozenset[str]:
        """Return the names of the machines that run."""
        ...

    def check_helpers(self) -> None:
        """Restart what machines depend on and has died."""
        ...

    def open_endpoint(self, enter: Callable[[str, socket.socket], None]) -> None:
        """From now on hand over each connection that a machine opens to `GUEST_ENDPOINT`, with its name.

        `enter` is called in a thread of the platform's, and has to close the connection.
        """
        ...

    def close_endpoint(self) -> None:
        """Let no machine in any more."""
        ...

    def console(self, name: str, start: int, limit: int) -> tuple[bytes, int, int]:
        """Return at most `limit` bytes of a console from a place on, and the places where they begin and end.

        A negative place is so many bytes before the end. What is not kept any more is passed over.
        """
        ...

    def reports(self, name: str) -> dict[str, str]:
        """Return the guest attributes of a machine: `namespace/key` to value; none of one that is gone."""
        ...

    def tell(self, name: str, changes: Mapping[str, str | None], identity: Mapping[str, str]) -> None:
        """Change a machine's attributes (None removes one), and what its metadata server says of it."""
        ...

    def guard(self, name: str, rules: Ingress) -> None:
        """Let in to a machine what the rules say, from now on; connections that are open stay so."""
        ...

    def make_network(self, name: str, subnets: Sequence[str]) -> None:
        """Have a network whose machines have their addresses in these ranges."""
        ...

    def name_network(self, name: str, addresses: Mapping[str, Sequence[str]], domains: Sequence[str]) -> None:
        """Let machines on a network know names besides their own, by address, from now on.

        Whoever is on it knows all names of the `domains`: there are no others.
        """
        ...

    def remove_network(self, name: str) -> None:
        """Remove a network that no machine is on; a missing one is no error."""
        ...

    def make_disk(self, name: str, size: int) -> None:
        """Make a blank disk of so many bytes, or let the one of that name have as many."""
        ...

    def enlarge_disk(self, name: str, size: int) -> None:
        """Let a disk have so many bytes, at once for a machine that runs with it.

        May be done again after a kill. File systems on it stay as they are: the machine makes them larger.
        """
        ...

    def remove_disk(self, name: str) -> None:
        """Remove a disk that no machine has."""
        ...

    def attach(self, name: str, mount: VolumeMount) -> None:
        """Give a machine that runs a disk; one that it has, and a machine that has ended, are no errors.

        May be done again after a kill. Where it fails, the machine has not got the disk.
        """
        ...

    def detach(self, name: str, mount: VolumeMount) -> None:
        """Take a disk from a machine that runs; one that it has not, and no machine, are no errors.

        May be done again after a kill. Never waits long: where the machine does not let go of the disk, it
        has it as before, and MachineError says so.
        """
        ...
