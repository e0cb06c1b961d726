"""What a project has of ours that costs money and belongs to nothing, and whether machines are reached."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stoneware.errors import StonewareError
from stoneware.image.references import short_id
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.platforms.cluster_records import Document
from stoneware.platforms.google import names
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.clusters import GoogleClusters
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.instance import address_of, read_spec, zone_of

_SHOWN = 10  # names in a line
_TRIED = 5  # machines that a connection is tried to
_PATIENCE = 3.0  # seconds for a connection
Connect = Callable[[str, int], None]


class LeftError(StonewareError):
    """Something is left over; the resolution removes it."""


def disks(api: Api) -> str:
    """Return which volumes have no machine. Raises LeftError for disks of machines that are gone."""
    query = f"labels.{names.MARK}:*"
    found = api.items("compute", "aggregated/disks", "list the disks", filter=query)
    free = [disk for disk in found if not disk.get("users")]
    volumes = [disk for disk in free if (disk.get("labels") or {}).get(names.MARK) == "volume"]
    orphans = [disk for disk in free if disk not in volumes]
    if orphans:
        raise LeftError(
            f"disks of machines that are gone cost money: {_names(orphans)}",
            resolution="; ".join(_removal(disk, api.settings.project) for disk in orphans[:_SHOWN]),
        )
    if not volumes:
        return "none left"
    return f"volumes without a machine, with their data: {_names(volumes)}"


def _removal(disk: Mapping[str, Any], project: str) -> str:
    words = ["gcloud", "compute", "disks", "delete", str(disk["name"]), "--zone", zone_of(disk)]
    return shlex.join([*words, "--project", project])


def machines(api: Api) -> str:
    """Return how many machines clusters have. Raises LeftError for those of clusters that nobody declared."""
    query = f'labels.{names.MARK} = "machine"'
    listed = list(api.items("compute", "aggregated/instances", "list the machines", filter=query))
    clusters = {str(one.get("name")): _cluster(one) for one in listed}
    known = GoogleClusters(Bucket(api), Path())
    # What is declared is the last that `down` removes: a cluster without it is gone.
    gone = {name for name in set(clusters.values()) if name and not known.of(name).version(Document.DECLARED)}
    lost = [one for one in listed if clusters[str(one.get("name"))] in gone]
    if lost:
        first = str(lost[0].get("name"))
        raise LeftError(
            f"machines of clusters that the bucket knows nothing of cost money: {_names(lost)}",
            resolution=f"STONEWARE_PLATFORM=google stoneware rm -f {first}",
        )
    return f"{len(listed)} machines" if listed else "none left"


def _cluster(one: Mapping[str, Any]) -> str:
    return names.read_labels(one.get("labels") or {}).get(CLUSTER_LABEL, "")


def images(api: Api) -> str:
    """Return which images no tag names, with the command that removes them."""
    kept = GoogleImages(api, Bucket(api), Path())
    untagged = sorted(set(kept.image_ids()) - set(kept.tags().values()))
    if not untagged:
        return "all have a tag"
    first = short_id(untagged[0])
    return f"{len(untagged)} without a tag; stoneware rmi --platform google {first} removes one"


def _names(found: Iterable[Mapping[str, Any]]) -> str:
    listed = sorted(str(each.get("name")) for each in found)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{', '.join(listed[:_SHOWN])}{more}"


def reached(api: Api, connect: Connect | None = None) -> str:
    """Return how many machines are reached at a port of theirs. Raises StonewareError where one is not."""
    query = f'labels.{names.MARK} = "machine" AND status = "RUNNING"'
    listed = api.items("compute", "aggregated/instances", "list the machines", filter=query)
    places = [place for one in listed if (place := _port(one))][:_TRIED]
    if not places:
        return "no machine with a port runs"
    with ThreadPoolExecutor(_TRIED) as pool:
        faults = list(pool.map(lambda place: _fault(place, connect or _connect), places))
    if failed := [fault for fault in faults if fault]:
        raise StonewareError("machines are not reached from here", details="; ".join(failed))
    return f"{len(places)} machines reached"


def _port(one: Mapping[str, Any]) -> tuple[str, str, int] | None:
    """Return a machine's name, its address and a TCP port that it has published."""
    try:
        spec = read_spec(one)
    except ValueError:
        return None
    ports = [port.machine_port for port in spec.ports if port.protocol == "tcp"] if spec else []
    return (spec.name, address_of(one), ports[0]) if spec and ports and address_of(one) else None


def _connect(address: str, port: int) -> None:
    socket.create_connection((address, port), timeout=_PATIENCE).close()


def _fault(place: tuple[str, str, int], connect: Connect) -> str:
    name, address, port = place
    try:
        connect(address, port)
    except OSError as error:
        return f"{name} at {address}:{port}: {error.strerror or error}"
    return ""
