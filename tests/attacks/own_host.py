"""A host of a test's own: network and mount namespaces, with links to neighbours as in a network.

What is tried there (whether the host forwards, what it lets in) neither depends on this computer's settings
nor changes them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoneware.process import run

_BEGIN = """
set -e
mount -t tmpfs tmpfs "$1"
mount --rbind /sys/fs/cgroup "$1"
mount -t sysfs sysfs /sys
mount --rbind "$1" /sys/fs/cgroup
umount -l "$1"
for place in /run/netns /run/stoneware; do mkdir -p $place; mount -t tmpfs tmpfs $place; done
ip link set lo up
echo ready
exec sleep infinity
"""
# Talks to an address and prints what it gets.
_TALK = """
import socket, sys
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as link:
    link.settimeout(float(sys.argv[4]))
    try:
        link.connect((address, port))
        link.send(b"?")
        print(link.recv(100).decode())
    except OSError as error:
        print(f"failed: {error}")
"""
# A machine of the engine, played by a namespace; everything beyond the router is real.
_PREAMBLE = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from stoneware.platforms.local.network import router
from stoneware.model.resources import PortMapping
from stoneware.process import run
home = Path(sys.argv[1])
store = SimpleNamespace(home=home, data=home / "data")
"""


@dataclass(eq=False)
class OwnHost:
    """A host. Its neighbours are namespaces called by their links."""

    anchor: int
    home: Path
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.anchor}", "--net", "--mount"]

    def sh(self, script: str, *, check: bool = True) -> str:
        return run([*self._enter(), "sh", "-ec", script], check=check, timeout=60).stdout

    def python(self, code: str) -> Any:
        """Run code on the host that has a `store`; return what its `answer` is."""
        text = f"{_PREAMBLE}{code}\nprint(json.dumps(answer))"
        done = run([*self._enter(), sys.executable, "-c", text, str(self.home)], timeout=60)
        return json.loads(done.stdout)

    def neighbour(self, name: str, network: str) -> None:
        """Add a neighbour at NETWORK.2, and the host at NETWORK.1."""
        self.sh(
            f"ip netns add {name}; ip link add {name} type veth peer name eth0 netns {name}\n"
            f"ip addr add {network}.1/24 dev {name}; ip link set {name} up\n"
            f"ip -n {name} addr add {network}.2/24 dev eth0; ip -n {name} link set lo up\n"
            f"ip -n {name} link set eth0 up; ip -n {name} route add default via {network}.1"
        )

    def machine(self, name: str, id: str) -> str:
        """Attach a machine to the store's router and return its address."""
        answer: dict[str, str] = self.python(
            f"directory = store.data / 'machines' / {name!r}; directory.mkdir(parents=True)\n"
            f"gate = router.ensure(store); lease = gate.attach(directory, id={id!r}, name={name!r}, "
            f"hostname={name!r})\n"
            "answer = dict(ip=lease.ip, mac=lease.mac, gateway=gate.gateway, router=gate.namespace)"
        )
        self.sh(
            f"ip netns add {name}; ip -n {name} link set lo up\n"
            f"ip -n {answer['router']} link add vb-{id} type veth peer name host0 "
            f"address {answer['mac']} netns {name}\n"
            f"ip -n {answer['router']} link set vb-{id} master br0 up\n"
            f"ip -n {name} addr add {answer['ip']}/22 dev host0; ip -n {name} link set host0 up\n"
            f"ip -n {name} route add default via {answer['gateway']}"
        )
        return answer["ip"]

    def publish(self, ip: str, *ports: tuple[str, int, int, str]) -> None:
        """Publish ports (host address, host port, machine port, protocol) of the machine with an address."""
        self.python(
            f"wanted = [PortMapping(*port) for port in {ports!r}]\n"
            f"answer = len(router.ensure(store).publish(router.Lease({ip!r}, ''), wanted))"
        )

    def serve(self, where: str, kind: str, port: int, address: str = "0.0.0.0") -> None:
        """Answer at a port in a namespace ("": on the host) with the client's address."""
        from tests.local.router_lab import ANSWER

        place = ["ip", "netns", "exec", where] if where else []
        code = ANSWER.replace('"0.0.0.0"', repr(address))
        child = subprocess.Popen(
            [*self._enter(), *place, sys.executable, "-c", code, kind, str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"

    def talk(self, where: str, kind: str, address: str, port: int, seconds: float = 60) -> str:
        """Return what a port answers to a client in a namespace ("": on the host), or how it failed."""
        place = ["ip", "netns", "exec", where] if where else []
        argv = [*self._enter(), *place, sys.executable, "-c", _TALK, kind, address, str(port), str(seconds)]
        return run(argv, timeout=300).stdout.strip()

    def reaches(self, where: str, kind: str, address: str, port: int) -> bool:
        """Say whether a port answers a client in a namespace."""
        return not self.talk(where, kind, address, port).startswith("failed")

    def shut(self, where: str, kind: str, address: str, port: int) -> bool:
        """Say whether a port that answers at once where it does says nothing to a client for a moment."""
        return self.talk(where, kind, address, port, 0.7).startswith("failed")

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        self.python("answer = router.teardown(store)")


@contextmanager
def own_host(directory: Path) -> Iterator[OwnHost]:
    """Begin a host whose store is in a directory; end it with all that runs on it."""
    (directory / "mount").mkdir()
    (directory / "home").mkdir()
    anchor = subprocess.Popen(
        [
            "unshare",
            "--net",
            "--mount",
            "--propagation=private",
            "sh",
            "-c",
            _BEGIN,
            "sh",
            directory / "mount",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert anchor.stdout is not None
        assert anchor.stdout.readline() == "ready\n"
        host = OwnHost(anchor.pid, directory / "home")
        try:
            yield host
        finally:
            host.end()
    finally:
        anchor.kill()
        anchor.wait()
        if anchor.stdout is not None:
            anchor.stdout.close()


def needs_root() -> bool:
    """Say whether such a host can not be made."""
    return os.geteuid() != 0
