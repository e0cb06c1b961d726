"""Images of other projects to build FROM: `projects/PROJECT/global/images/NAME`, or `…/family/FAMILY`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.platforms.google import errors, labels
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.cloud_image import ID

IN = "its manifest is in gs://"  # how the description of an image says where that is
_NAME = "[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_REFERENCE = re.compile(rf"projects/({_NAME})/global/images/(?:family/)?({_NAME})")
_BUCKET = re.compile(rf"{re.escape(IN)}([a-z0-9][a-z0-9._-]{{1,220}}[a-z0-9])")

Checked = Callable[[str, str, bytes], dict[str, Any]]


@dataclass(frozen=True)
class Shared:
    """An image: `PROJECT/NAME/NUMBER`, and its manifest where Stoneware has baked it."""

    identity: str
    manifest: dict[str, Any] | None


class SharedImages:
    """Looks images up that have been shared with this project, each once."""

    def __init__(self, api: Api, checked: Checked) -> None:
        self._api = api
        self._checked = checked
        self._found: dict[str, Shared] = {}

    def find(self, reference: str) -> Shared | None:
        """Return what a reference stands for; None for what is no such reference. Raises InputError."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            return None
        if reference not in self._found:
            self._found[reference] = self._look(reference, match[1])
        return self._found[reference]

    def is_ours(self, identity: str) -> bool:
        """Say whether Stoneware has baked what has this identity."""
        return any(found.identity == identity and found.manifest for found in self._found.values())

    def _look(self, reference: str, project: str) -> Shared:
        try:
            image = self._api.get("compute", f"/{reference}", f"look at the image {reference}")
        except errors.MissingError as error:
            raise InputError(
                f"there is no image {reference}",
                details=error.details,
                resolution="roles/compute.imageUser on it, or on its project, lets this one use it",
            ) from None
        identity = f"{project}/{image.get('name')}/{image.get('id')}"
        return Shared(identity, self._manifest(reference, image))

    def _manifest(self, reference: str, image: dict[str, Any]) -> dict[str, Any] | None:
        digest = labels.to_digest(str((image.get("labels") or {}).get(labels.IMAGE, "")))
        if digest is None:
            return None
        # Which bucket another project uses is not in our settings, so the image itself says it.
        place = _BUCKET.search(str(image.get("description") or ""))
        bucket = Bucket(self._api, place[1] if place else "")
        name = f"manifests/{digest}.json"
        held = bucket.read(name)
        if held is None:
            raise InputError(
                f"the image {reference} has no manifest",
                details=f"There is no {bucket.url(name)}.",
                resolution="ask who has baked it, or bake it again",
            )
        # Another's bucket is not believed: the manifest has to have the digest of the image's label.
        return self._checked(bucket.url(name), f"{ID}{digest}", held.data)
