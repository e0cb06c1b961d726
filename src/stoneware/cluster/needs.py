"""What a machines.yaml asks of a platform that not every one can do."""

from __future__ import annotations

from collections.abc import Iterator

from stoneware.compose.model import Cluster, Service
from stoneware.model.capability import Capability, Need
from stoneware.model.limits import DEFAULT_PIDS_LIMIT

_LIMITS = ("deploy", "resources", "limits")


def needs_of(cluster: Cluster) -> Iterator[Need]:
    """Yield what the services take, each with the place of its key in the file."""
    for service in cluster.services.values():
        if any(machine.ports for machine in service.machines):
            yield Need(Capability.PUBLISHED_PORTS, service.where("ports"), "leave ports: out")
        if any(cluster.secrets[use.secret].stored for machine in service.machines for use in machine.secrets):
            instead = "file: PATH, or environment: VARIABLE    # of the secret"
            yield Need(Capability.STORED_SECRETS, service.where("secrets"), instead)
        yield from _limits(service)
        yield from _system(service)
    # Networks made elsewhere are what they are.
    if any(it.internal or it.subnets for it in cluster.networks.values() if not it.external):
        place = str(cluster.files[0]) if cluster.files else ""
        yield Need(Capability.OWN_NETWORKS, place, "leave internal: and ipam: of networks: out")


def _system(service: Service) -> Iterator[Need]:
    for key, wanted in (("read_only", service.read_only), ("ulimits", bool(service.ulimits))):
        if wanted:
            yield Need(Capability.READ_ONLY, service.where(key), f"leave {key}: out")


def _limits(service: Service) -> Iterator[Need]:
    given = {
        "mem_limit": (service.memory is not None, "memory"),
        "cpus": (service.cpus is not None, "cpus"),
        "pids_limit": (service.pids_limit != DEFAULT_PIDS_LIMIT, "pids"),
    }
    for key, (wanted, below) in given.items():
        if wanted:
            # Where the short key is not there, it is the place of the service, and the long one is asked for.
            short = service.where(key)
            place = service.where(*_LIMITS, below) if short == service.where() else short
            yield Need(Capability.MACHINE_LIMITS, place, f"leave {key}: out")
