"""Which image a configuration means: a name may be an image's or a family's, here or in a public project."""

from __future__ import annotations

from collections.abc import Iterator

from tests.google.provider.client import ApiError, Client
from tests.google.provider.kinds import path

PUBLIC = {"centos": "centos-cloud", "debian": "debian-cloud", "ubuntu": "ubuntu-os-cloud"}


def resolve(client: Client, project: str, text: str) -> str:
    """Return a reference for an image's name. A whole one is taken as it is; others are looked for.

    Raises ApiError.
    """
    whole = path(text)
    if text.startswith("https://www.googleapis.com/"):
        return text
    if whole.startswith(("projects/", "global/images/")):
        return whole
    for place, below in _candidates(project, text):
        try:
            client.get(f"{client.settings.endpoint('compute')}projects/{place}/global/images/{below}")
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            head = (
                "" if place == project and "/" not in text.removeprefix("family/") else f"projects/{place}/"
            )
            return f"{head}global/images/{below}"
    raise ApiError(None, f"Could not find image or family {text}")


def _candidates(project: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield where it is looked for, in this order: projects, and what is below their images."""
    head, _, name = text.rpartition("/")
    public = [place for word, place in PUBLIC.items() if word in name]
    here = [project, *public] if head in ("", "family") else [head]
    if head != "family":
        yield from ((place, name) for place in here)
    yield from ((place, f"family/{name}") for place in here)
