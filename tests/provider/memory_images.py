"""Images in memory, and a baker that really reads its context: the same files give the same image."""

from __future__ import annotations

from typing import Any

from stoneware.errors import BuildError, InputError
from stoneware.files import canonical_json, sha256_hex
from stoneware.image.references import parse_reference
from stoneware.machinefile.recipe import ImageConfig, config_to_document
from stoneware.provider.images import Baked, BakeRequest
from tests.platforms.stored_images import StoredImages


class MemoryImages(StoredImages):
    """A store of manifests and tags."""

    def add(self, name: str, *tags: str, created: str = "2026-01-01T00:00:00Z", **more: Any) -> str:
        """Add an image, and return its id."""
        given = {key: more.pop(key) for key in ("volumes", "labels", "healthcheck") if key in more}
        config = ImageConfig(ports=("80/tcp",), **given)
        manifest = {
            "name": name,
            "created": created,
            "architecture": "amd64",
            "commit": None,
            "dirty": False,
            "config": config_to_document(config),
            "contract": more.pop("contract", {"variables": {}, "needs": [], "env": {}, "schema": None}),
            **more,
        }
        image_id = f"sha256:{sha256_hex(canonical_json(manifest))}"
        self.manifests[image_id] = manifest
        self.references |= {f"{name}:{tag}": image_id for tag in tags}
        return image_id


class MemoryBaker:
    """Bakes by hashing. `commit` is what Git would say; what was baked before is found again."""

    def __init__(self, images: MemoryImages) -> None:
        self.images = images
        self.commit: str | None = "c" * 40
        self.dirty = False
        self.calls: list[str] = []
        self.warnings: tuple[str, ...] = ()
        self._known: dict[str, str] = {}
        self._anew = 0

    def plan(self, request: BakeRequest) -> Baked:
        self.calls.append("plan")
        return self._baked(request, None if request.no_cache else self._found(self._key(request)))

    def bake(self, request: BakeRequest) -> Baked:
        self.calls.append(f"bake{' again' if request.no_cache else ''}")
        key = self._key(request)
        if "RUN false" in (request.context / "Machinefile").read_text():
            raise BuildError("the step RUN false failed", details="exit code 1", location="Machinefile:2")
        image_id = None if request.no_cache else self._found(key)
        if image_id is None:
            self._anew += 1
            name = parse_reference(request.names[0]).name
            labels = tuple(sorted(request.labels.items()))
            image_id = self.images.add(
                name, labels=labels, key=key, serial=self._anew, commit=self.commit, dirty=self.dirty
            )
            self._known[key] = image_id
        done = self._baked(request, image_id)
        self.images.references |= dict.fromkeys(done.tags, image_id)
        return done

    def _found(self, key: str) -> str | None:
        image_id = self._known.get(key)
        return image_id if image_id in self.images.manifests else None

    def _baked(self, request: BakeRequest, image_id: str | None) -> Baked:
        suffix = "-dirty" if self.dirty else ""
        commits = [f"{self.commit[:7]}{suffix}"] if self.commit else []
        references = [parse_reference(name) for name in request.names]
        tags = {f"{ref.name}:{tag}": None for ref in references for tag in (ref.tag, "latest", *commits)}
        return Baked(image_id, tuple(tags), self.commit, self.dirty, self.warnings)

    def _key(self, request: BakeRequest) -> str:
        if not (request.context / "Machinefile").is_file():
            raise InputError(f"there is no Machinefile in {request.context}")
        files = sorted(path for path in request.context.rglob("*") if path.is_file())
        content = {str(path.relative_to(request.context)): path.read_text() for path in files}
        name = parse_reference(request.names[0]).name
        options = [name, dict(request.build_args), request.target, dict(request.labels)]
        return sha256_hex(canonical_json([content, *options]))
