"""`stoneware_image`: the resource that bakes, and the data source that finds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stoneware.errors import InputError
from stoneware.image.references import parse_reference, tags_of
from stoneware.provider import image_schema
from stoneware.provider.images import Baked, BakeRequest, described, find_image
from stoneware.provider.reporting import Diagnostics, Failures, reported
from stoneware.provider.resource import State, StonewareDataSource, StonewareResource, all_known
from stoneware.provider.values import Unknown

_COMMIT_TAG = re.compile(r"([0-9a-f]{7}|[0-9a-f]{40})(-dirty)?")
_RESULT = ("image_id", "tags", "commit", "dirty")
_INPUTS = ("name", "extra_tags", "context", "file", "target", "build_args", "labels", "secrets")


class ImageResource(StonewareResource):
    """An image baked from a Machinefile; baked again, step by step, when what it is made of changes."""

    type_name = "stoneware_image"

    schema = image_schema.resource_schema()

    def validate(self, diags: Diagnostics, config: State) -> None:
        """Check the names."""
        super().validate(diags, config)
        names: list[tuple[list[Any], Any]] = [(["name"], config.get("name"))]
        if isinstance(config.get("extra_tags"), list):
            names += [(["extra_tags", (index,)], text) for index, text in enumerate(config["extra_tags"])]
        for path, text in names:
            if isinstance(text, str):
                with reported(diags, Failures(), path=path):
                    parse_reference(text)

    def plan(self, diags: Diagnostics, current: State | None, planned: State) -> State:
        """Say which image a bake would give; it is known only where nothing would run."""
        planned.update(dict.fromkeys(_RESULT, Unknown))
        if all_known(planned["name"]):
            planned["id"] = str(parse_reference(planned["name"]))
        # What is known after the apply only may ask for another image.
        if not all_known(*(planned.get(name) for name in (*_INPUTS, "triggers"))):
            return planned
        if current is not None and current.get("triggers") != planned.get("triggers"):
            return planned
        with reported(diags, self.provider.failures):
            found = self.provider.baker.plan(_request(planned))
            if found.image_id is not None:
                planned.update(_result(found, current))
        return planned

    def create(self, diags: Diagnostics, planned: State) -> State | None:
        """Bake."""
        return self._bake(diags, None, planned)

    def update(self, diags: Diagnostics, current: State, planned: State) -> State:
        """Bake what has changed; all of it where the triggers have."""
        return self._bake(diags, current, planned) or current

    def _bake(self, diags: Diagnostics, current: State | None, planned: State) -> State | None:
        again = current is not None and current.get("triggers") != planned.get("triggers")
        with reported(diags, self.provider.failures):
            request = _request(planned, no_cache=again)
            # The plan promised this image: Terraform refuses another result of the apply as a bug of ours.
            if planned["image_id"] is not Unknown:
                self._check_plan(request, current, planned)
            baked = self.provider.baker.bake(request)
            for text in baked.warnings:
                diags.add_warning(text)
            # Last: a bake that fails leaves the earlier image its tags.
            if current is not None:
                self._remove_tags(current, _dropped(current, baked))
            return {**planned, **_result(baked, current)}
        return None

    def _check_plan(self, request: BakeRequest, current: State | None, planned: State) -> None:
        now = _result(self.provider.baker.plan(request), current)
        if any(now[name] != planned[name] for name in _RESULT):
            raise InputError(
                f"the context of {planned['name']} has changed since the plan",
                details=f"{request.context} would give another image or other tags now",
                resolution="run the same command again",
            )

    def _remove_tags(self, current: State, tags: Iterable[str]) -> None:
        images = self.provider.images
        own = tags_of(images.tags(), current["image_id"])
        for tag in tags:
            # A tag that was moved to another image since is not ours to remove.
            if tag in own:
                images.remove_tag(tag)

    def read(self, diags: Diagnostics, current: State) -> State | None:
        """Return the image with those of its tags that still stand for it, or None where it is gone."""
        with reported(diags, self.provider.failures):
            images = self.provider.images
            image_id = current["image_id"]
            if image_id not in images.image_ids():
                return None
            own = tags_of(images.tags(), image_id)
            return {**current, "tags": [tag for tag in current["tags"] or () if tag in own]}
        return current

    def delete(self, diags: Diagnostics, current: State) -> State | None:
        """Remove the tags, and the image where nothing else uses it."""
        with reported(diags, self.provider.failures):
            images, image_id = self.provider.images, current["image_id"]
            self._remove_tags(current, current["tags"] or ())
            used = any(machine.image_id == image_id for machine in self.platform.machines())
            if not used and not tags_of(images.tags(), image_id):
                images.remove_image(image_id)
            return None
        return current


class ImageDataSource(StonewareDataSource):
    """An image that exists: by tag, by commit, or the newest."""

    type_name = "stoneware_image"

    schema = image_schema.data_schema()

    def validate(self, diags: Diagnostics, config: State) -> None:
        """Check that one criterion is given at most."""
        super().validate(diags, config)
        given = [name for name in ("tag", "commit", "newest") if config.get(name) not in (None, False)]
        if len(given) > 1:
            both = " and ".join(given)
            diags.add_error("Too many criteria", f"{both} exclude each other", path=[given[1]])

    def read(self, diags: Diagnostics, config: State) -> State | None:
        """Find the image."""
        with reported(diags, self.provider.failures, path=["name"]):
            images = self.provider.images
            found = find_image(
                images,
                config["name"],
                tag=config.get("tag") or "",
                commit=config.get("commit") or "",
                newest=bool(config.get("newest")),
            )
            given = {name: config.get(name) for name in ("name", "tag", "newest")}
            return {**given, **described(images, found)}
        return None


def _request(state: State, *, no_cache: bool = False) -> BakeRequest:
    file = state.get("file")
    return BakeRequest(
        context=Path(state["context"]),
        names=(state["name"], *(state.get("extra_tags") or ())),
        file=Path(file) if file else None,
        target=state.get("target") or None,
        build_args=dict(state.get("build_args") or {}),
        labels=dict(state.get("labels") or {}),
        secrets={name: Path(path) for name, path in (state.get("secrets") or {}).items()},
        no_cache=no_cache,
    )


def _result(baked: Baked, current: State | None) -> dict[str, Any]:
    """Return what is known of an image after a bake. It keeps the tags of the commits it was baked at."""
    same = current is not None and current.get("image_id") == baked.image_id
    earlier = [tag for tag in (current or {}).get("tags") or () if same and _of_commit(tag, baked)]
    return {
        "image_id": baked.image_id,
        "tags": [*baked.tags, *(tag for tag in earlier if tag not in baked.tags)],
        "commit": baked.commit,
        "dirty": baked.dirty,
    }


def _dropped(current: State, baked: Baked) -> list[str]:
    """Return the tags that are not asked for any more; those of earlier commits stay, for a rollback."""
    return [tag for tag in current.get("tags") or () if tag not in baked.tags and not _of_commit(tag, baked)]


def _of_commit(reference: str, baked: Baked) -> bool:
    name, _, tag = reference.rpartition(":")
    # Commit tags of another name belong to another image, even where they look the same.
    names = {other.rpartition(":")[0] for other in baked.tags}
    return name in names and _COMMIT_TAG.fullmatch(tag) is not None
