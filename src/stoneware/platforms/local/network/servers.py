"""The servers of a router: metadata, DHCP and DNS, and one DNS server more for each view in use."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import stoneware
from stoneware import process_identity
from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.model.guest_protocol import METADATA_ADDRESS
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.host.helpers import Helper, end_strays
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import namespace as network_namespace
from stoneware.platforms.local.network.addresses import Plan
from stoneware.platforms.local.network.dns import (
    Attached,
    answers,
    dnsmasq_command,
    hosts_option,
    view_command,
)
from stoneware.platforms.local.network.layout import Layout, namespace_identity
from stoneware.platforms.local.network.probe import metadata_answers
from stoneware.platforms.local.network.views import View, Views

_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLVED = Path("/run/systemd/resolve/resolv.conf")
# Under full load dnsmasq once took more than 15.
_READY = 30.0  # seconds a server has to answer
_PROBE = 0.5  # seconds for one answer
_NAME = "metadata.google.internal"  # what every DNS server of ours knows
_METADATA = "stoneware.platforms.local.metadata.server"
_METADATA_MARK = "--by-port"  # among its words also where an older Stoneware has started it


@dataclass(frozen=True)
class Server:
    """A server as it is to run. `mark` is a word that its command line alone has in the namespace."""

    helper: Helper
    command: tuple[str, ...]
    mark: str
    ready: Callable[[], bool]


def dnsmasq(layout: Layout) -> Helper:
    """Return the store's DHCP server, which is the common network's DNS server as well."""
    return Helper(layout.run, "dnsmasq")


def metadata(layout: Layout) -> Helper:
    """Return the store's metadata server."""
    return Helper(layout.run, "metadata")


def resolver(layout: Layout, key: str) -> Helper:
    """Return the DNS server of a view."""
    return Helper(layout.run, f"dns-{key}")


def resolvers(layout: Layout) -> list[Helper]:
    """Return the DNS servers of all views of which there is a record, whether they run or not."""
    return [
        Helper(layout.run, path.name.removesuffix(".pid.json"))
        for path in sorted(layout.run.glob("dns-*.pid.json"))
    ]


def upstream() -> tuple[Path | None, str | None]:
    """Return where names are asked; see `network.upstream_file`."""
    return network.upstream_file(_RESOLV_CONF, _RESOLVED)


def standing(layout: Layout, plan: Plan, mtu: int) -> list[Server]:
    """Return the two servers that every router has."""
    program = [sys.executable, "-P", "-m", _METADATA, "--home", str(layout.home.resolve()), _METADATA_MARK]
    attached = Attached(layout.runtime)
    return [
        Server(metadata(layout), tuple(program), _METADATA_MARK, lambda: metadata_answers(_PROBE)),
        Server(
            dnsmasq(layout),
            tuple(dnsmasq_command(plan, mtu, layout.runtime, upstream()[0])),
            hosts_option(attached.hosts),
            lambda: answers(METADATA_ADDRESS, _NAME, _PROBE),
        ),
    ]


def of_view(layout: Layout, plan: Plan, view: View) -> Server:
    """Return the DNS server of a view."""
    views = Views(layout.runtime)
    hosts, zones = views.hosts(view.key), views.servers(view.key)
    return Server(
        resolver(layout, view.key),
        tuple(view_command(plan, view, hosts, zones, upstream()[0])),
        hosts_option(hosts),
        lambda: answers(METADATA_ADDRESS, _NAME, _PROBE, port=view.port),
    )


def serves(helper: Helper, namespace: int) -> bool:
    """Say whether a helper runs, and in the namespace of this inode."""
    process = helper.process()
    return process is not None and process_identity.network_namespace(process.pid) == namespace


def start(layout: Layout, servers: Iterable[Server], namespace: int) -> None:
    """Start those that do not run, and wait for all: a killed command may have only just started one."""
    wanted = list(servers)
    for server in wanted:
        if not serves(server.helper, namespace):
            _spawn(layout, server, namespace)
    # The metadata server, which takes longest, is waited for last.
    for server in reversed(wanted):
        try:
            _until_ready(layout, server)
        except HostError:
            # What a killed command had just started was no stray yet, and now has the port.
            _spawn(layout, server, namespace)
            _until_ready(layout, server)


def _spawn(layout: Layout, server: Server, namespace: int) -> None:
    # It may still run: in a namespace that is gone, or without answering.
    server.helper.stop()
    # One whose record was lost with a killed command would keep the address for ever.
    end_strays(namespace, server.mark)
    enter = ["nsenter", f"--net={network_namespace.path(layout.namespace)}"]
    # It serves all machines, and must not end with the unit in which this one command runs.
    outlive = cgroups.outlive(cgroups.probe(), f"Stoneware {server.helper.name} of {layout.home}")
    source = str(Path(stoneware.__file__).parents[1])
    server.helper.spawn([*outlive, *enter, *server.command], env={"PYTHONPATH": source})


def _until_ready(layout: Layout, server: Server) -> None:
    network_namespace.inside(layout.namespace, lambda: _await(server))


def _await(server: Server) -> None:
    """Wait until a server answers. Raises HostError with the end of its log where it does not."""
    deadline = time.monotonic() + _READY
    while not server.ready():
        if server.helper.process() is None or time.monotonic() > deadline:
            server.helper.stop()
            raise server.helper.failure()
        time.sleep(0.005)


def end(helper: Helper) -> None:
    """End a helper, and remove its log."""
    helper.stop()
    helper.log.unlink(missing_ok=True)


def end_all(layout: Layout) -> None:
    """End all servers of a store, also those whose record was lost."""
    for helper in (metadata(layout), dnsmasq(layout), *resolvers(layout)):
        end(helper)
    identity = namespace_identity(layout.namespace)
    if identity is not None:
        for mark in (_METADATA_MARK, "dnsmasq"):
            end_strays(identity[1], mark)
