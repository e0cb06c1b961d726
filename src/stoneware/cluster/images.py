"""The images of a cluster's services: what would be baked, and baking it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from stoneware.bake import api
from stoneware.bake.events import Reporter
from stoneware.bake.options import BakeOptions, SecretSource
from stoneware.bake.place import Place
from stoneware.bake.plan import RUN, BakePlan
from stoneware.compose.model import Build, Cluster
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.image.references import parse_reference
from stoneware.platforms.protocols import Images

Displays = Callable[[], AbstractContextManager[Reporter]]


@dataclass(frozen=True)
class PlannedImage:
    """What a bake would do for the services of one image."""

    image: str  # as the file has it
    services: tuple[str, ...]
    options: BakeOptions
    plan: BakePlan

    @property
    def runs(self) -> bool:
        """Say whether there is something to bake."""
        return self.plan.image.action == RUN

    @property
    def reason(self) -> str:
        """Return which step runs first and why, in a sentence."""
        steps = [planned for stage in self.plan.builds for planned in stage.steps if planned.action == RUN]
        if not steps:
            return self.plan.image.reason
        first = steps[0]
        return f"step {first.step.index} runs ({first.reason})"


class PlannedCatalogue:
    """The images of a store as they will be named once the bakes with nothing to run have set their tags."""

    def __init__(self, store: Images, planned: Mapping[str, PlannedImage]) -> None:
        self._store = store
        self._moved = {
            str(parse_reference(one.image)): one.plan.image.image_id
            for one in planned.values()
            if not one.runs and one.plan.image.image_id
        }

    def tags(self) -> dict[str, str]:
        """Return every `NAME:TAG` with the id it will stand for."""
        moved = {tag: image for tag, image in self._moved.items() if image is not None}
        return {**self._store.tags(), **moved}

    def image_ids(self) -> list[str]:
        """Return the ids of all images."""
        return self._store.image_ids()

    def manifest(self, image_id: str) -> dict[str, Any]:
        """Return an image's manifest."""
        return self._store.manifest(image_id)


def bakes_of(cluster: Cluster, *, verbose: bool = False) -> dict[str, tuple[BakeOptions, tuple[str, ...]]]:
    """Return for each image that is baked its options and its services. Raises InputError."""
    found: dict[str, tuple[Build, list[str]]] = {}
    for service in cluster.services.values():
        if service.build is None:
            continue
        # Services with one image share one bake; else each would move the tag of the other.
        build, services = found.setdefault(service.image, (service.build, []))
        if build != service.build:
            raise InputError(
                f"the services {services[0]} and {service.name} bake one image, {service.image}, differently",
                resolution="give one of them another `image:`",
                location=str(service.place),
            )
        services.append(service.name)
    return {
        image: (_options(build, image, verbose=verbose), tuple(services))
        for image, (build, services) in found.items()
    }


def _options(build: Build, image: str, *, verbose: bool) -> BakeOptions:
    return BakeOptions(
        context=build.context,
        file=Path(f"{build.inline.file}: dockerfile_inline") if build.inline else build.dockerfile,
        text=build.inline.text if build.inline else None,
        tags=(image,),
        target=build.target,
        build_args=dict(build.args),
        secrets={
            id: SecretSource(path=each.file, variable=each.variable, value=each.value)
            for id, each in build.secrets.items()
        },
        labels=dict(build.labels),
        verbose=verbose,
    )


@contextlib.contextmanager
def _told(services: tuple[str, ...]) -> Iterator[None]:
    """Say in an error about a Machinefile whose it is: most are called alike."""
    try:
        yield
    except InputError as error:
        error.brief = f"{', '.join(services)}: {error.brief}"
        raise


def plan_images(cluster: Cluster, store: Images) -> dict[str, PlannedImage]:
    """Return what a bake would do for each image that the file says how to build; nothing is touched."""
    found = {}
    for image, (options, services) in bakes_of(cluster).items():
        with _told(services):
            found[image] = PlannedImage(image, services, options, api.plan(options, store))
    return found


def pending_services(planned: Mapping[str, PlannedImage]) -> frozenset[str]:
    """Return the services whose image has to be baked first."""
    return frozenset(service for one in planned.values() if one.runs for service in one.services)


def bake_images(cluster: Cluster, place: Place, displays: Displays, *, verbose: bool = False) -> list[str]:
    """Bake what the file says how to build; one whose steps are all cached gets its tags only.

    Return the images in which steps ran.
    """
    changed = []
    for image, (options, services) in bakes_of(cluster, verbose=verbose).items():
        with _told(services), displays() as display:
            if api.bake(options, place, display).ran:
                changed.append(image)
    return changed
