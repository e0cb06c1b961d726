"""How values of attributes are written into the API's documents, read from them, and compared.

References are the reason: a configuration names things in many ways, a request has one, a reply another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stoneware.provider.values import Unknown

SCOPES = {
    "cloud-platform": "cloud-platform",
    "compute-ro": "compute.readonly",
    "compute-rw": "compute",
    "logging-write": "logging.write",
    "monitoring-write": "monitoring.write",
    "monitoring": "monitoring",
    "storage-full": "devstorage.full_control",
    "storage-ro": "devstorage.read_only",
    "storage-rw": "devstorage.read_write",
    "userinfo-email": "userinfo.email",
}
_AUTH = "https://www.googleapis.com/auth/"
# A link that the provider takes for an image's: with any other the boot disk's image differs, and the
# instance is replaced.
_IMAGE_LINK = re.compile(
    r"https://(?:www\.googleapis\.com|compute\.[^/]+)/compute/[a-z0-9]+/projects/([^/]+)/global/images/([^/]+)"
)
_PATH = re.compile(r"(?:^|/)(projects/.*)")


@dataclass(frozen=True)
class Place:
    """Where a resource is: what references without a project or a zone are in."""

    project: str
    region: str = ""
    zone: str = ""
    resolve: Callable[[str], str] = str  # an image's name to a reference; asks the API

    def scope(self, kind: str) -> str:
        """Return the path below the project: `zones/us-central1-a`."""
        name = {"zones": self.zone, "regions": self.region}.get(kind)
        return f"{kind}/{name}" if name else kind


class Kind:
    """What is the same in a configuration and in a document."""

    def write(self, value: Any, place: Place) -> Any:
        """Return what a request has for the value of an attribute."""
        return value

    def read(self, value: Any) -> Any:
        """Return the value of an attribute for what a reply has."""
        return value

    def planned(self, value: Any) -> Any:
        """Return what a plan has for what the configuration says."""
        return value

    def same(self, have: Any, wanted: Any) -> bool:
        """Say whether a state and a configuration mean the same."""
        return bool(have == wanted)


class Int64(Kind):
    """A number that is a text in replies, and in requests too unless it is `plain` there."""

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain

    def write(self, value: Any, place: Place) -> Any:
        """Return the text of a number."""
        return value if self._plain else str(value)

    def read(self, value: Any) -> Any:
        """Return the number."""
        return None if value is None else int(value)


class Upper(Kind):
    """A text in capitals."""

    def planned(self, value: Any) -> Any:
        """Return it in capitals."""
        return value.upper() if isinstance(value, str) else value


class Link(Kind):
    """A reference that is a link in the state: `collection` of `scope` (zones, regions or global)."""

    def __init__(self, collection: str, scope: str) -> None:
        self._collection = collection
        self._scope = scope

    def write(self, value: Any, place: Place) -> Any:
        """Return `projects/P/zones/Z/disks/D`."""
        if "/" in value:
            return relative(value, place)
        return f"projects/{place.project}/{place.scope(self._scope)}/{self._collection}/{value}"

    def same(self, have: Any, wanted: Any) -> bool:
        """Say whether two references name the same thing; one may leave out what is clear."""
        if not isinstance(have, str) or not isinstance(wanted, str):
            return bool(have == wanted)
        short, long = path(wanted), path(have)
        return short == long or long.endswith(f"/{short}")


class Name(Link):
    """A reference that is a name in the state."""

    def read(self, value: Any) -> Any:
        """Return the last part of a link."""
        return value.rsplit("/", 1)[-1] if isinstance(value, str) else value

    def same(self, have: Any, wanted: Any) -> bool:
        """Say whether the last parts are the same."""
        return bool(self.read(have) == self.read(wanted))


class Where(Name):
    """A zone or a region, which requests name by a path that is none."""

    def __init__(self, collection: str) -> None:
        super().__init__(collection, "global")


class Image(Kind):
    """An image or a family of images, a link in the state."""

    def write(self, value: Any, place: Place) -> Any:
        """Return a reference, asking the API what a bare name is."""
        return place.resolve(value)

    def same(self, have: Any, wanted: Any) -> bool:
        """Say whether a disk's image is the one that is wanted, without asking the API.

        A family is taken for the image's where its name is in the image's.
        """
        found = _IMAGE_LINK.match(have) if isinstance(have, str) else None
        if found is None or not isinstance(wanted, str):
            return False
        project, name = found.groups()
        *head, last = path(wanted).removeprefix("projects/").split("/")
        if head and head[0] not in ("global", "family") and head[0] != project:
            return False
        exact = name == last
        in_family = last in name
        if head[-1:] == ["family"]:
            return in_family
        return bool(exact if head[-1:] == ["images"] else exact or in_family)


class Scopes(Kind):
    """Scopes of a service account, which have short names."""

    def planned(self, value: Any) -> Any:
        """Return the whole addresses."""
        return value if value is None or value is Unknown else [_scope(each) for each in value]

    def same(self, have: Any, wanted: Any) -> bool:
        """Say whether they are the same, in any order."""
        return bool(_in_order(self.planned(have)) == _in_order(self.planned(wanted)))


class Items(Kind):
    """A map that is a list of keys and values in a document, sorted by key."""

    def write(self, value: Any, place: Place) -> Any:
        """Return the list."""
        return [{"key": key, "value": value[key]} for key in sorted(value)]

    def read(self, value: Any) -> Any:
        """Return the map."""
        return {each["key"]: each["value"] for each in value or ()}


class Unordered(Kind):
    """A set."""

    def same(self, have: Any, wanted: Any) -> bool:
        """Say whether it has the same elements."""
        return bool(_in_order(have) == _in_order(wanted))


def _scope(text: Any) -> Any:
    return _AUTH + SCOPES[text] if text in SCOPES else text


def _in_order(value: Any) -> Any:
    return value if value is None or value is Unknown else sorted(map(repr, value))


def path(reference: str) -> str:
    """Return a link without its host: `projects/P/zones/Z/disks/D`."""
    found = _PATH.search(reference)
    return found[1] if found else reference


def relative(reference: str, place: Place) -> str:
    """Return a reference with its project and without its host."""
    found = path(reference)
    return found if found.startswith("projects/") else f"projects/{place.project}/{found}"
