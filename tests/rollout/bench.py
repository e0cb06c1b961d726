"""Rollouts over machines in memory, by the real Terraform, the real journal and the real locks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stoneware.compose.model import Cluster, FailureAction, UpdateConfig
from stoneware.machinefile import recipe
from stoneware.model.machine import Phase
from stoneware.platforms.cluster_records import Document
from stoneware.rollout.journal import Event, journal_of
from stoneware.rollout.planner import Planned
from stoneware.rollout.prepare import prepare, preview
from stoneware.rollout.returning import prepare_return
from stoneware.rollout.session import Session
from stoneware.rollout.state import RolloutState
from tests.cluster.engine import SECRET, ClusterPlatform, EngineBench
from tests.cluster.support import BASE, FakeImages, cluster_of, patched, some_images
from tests.rollout.simulation import Recorder

ENVIRONMENT = {"X": SECRET}
FAST = UpdateConfig(monitor=0.0, failure_action=FailureAction.ROLLBACK)


class RolloutPlatform(ClusterPlatform):
    """Machines whose boot fails where their image is a bad one."""

    def __init__(self) -> None:
        super().__init__()
        self.bad_images: set[str] = set()

    def boot(self, name: str) -> None:
        super().boot(name)
        if self._get(name).image_id in self.bad_images:
            self.show(name, phase=Phase.FAILED, error="the broker cannot start")


def images() -> FakeImages:
    """Return the images of clusters, and some that bring rules for rollouts with them."""
    made = FakeImages(dict(some_images().manifests), dict(some_images().references))
    check = recipe.HealthCheck(("check",))
    for tag, digit, labels in (
        (
            "app:3",
            "3",
            {"stoneware.version": "3.0", "stoneware.finalize": "raise", "stoneware.rollback-floor": "3"},
        ),
        ("app:4", "4", {"stoneware.version": "3.1"}),
        ("app:5", "5", {}),
    ):
        volumes = ("/var/lib/new",) if tag == "app:5" else ()
        config = recipe.ImageConfig(healthcheck=check, volumes=volumes, labels=tuple(labels.items()))
        made.add(tag, digit, config)
    return made


def image_id(digit: str) -> str:
    return f"sha256:{digit * 64}"


@dataclass
class RolloutBench(EngineBench):
    """What a user types: changes of BASE, then `rollout`, `resume`, `rollback`."""

    platform: RolloutPlatform = field(default_factory=RolloutPlatform)
    images: FakeImages = field(default_factory=images)
    update: UpdateConfig = FAST
    own: Mapping[str, Any] = field(default_factory=dict)  # x-stoneware of all services
    observer: Recorder = field(default_factory=Recorder)
    yes: bool = True

    @property
    def environment(self) -> dict[str, str]:
        return {"X": self.secret}

    def file(self, changes: Mapping[str, Any] | None = None) -> Cluster:
        """Return the file: BASE with some changes, its rules for rollouts and gates."""
        cluster = cluster_of(patched(BASE, changes or {}))
        extensions = {"x-stoneware": dict(self.own)} if self.own else {}
        services = {
            name: replace(
                service, update_config=self.update, rollback_config=self.update, extensions=extensions
            )
            for name, service in cluster.services.items()
        }
        return replace(cluster, services=services)

    def session(self, kill_after: int | None = None) -> Session:
        self.observer = Recorder(kill_after)
        return Session(self.site, "shop", "stoneware rollout", self.observer, ask=lambda _: self.yes)

    def preview(self, changes: Mapping[str, Any] | None = None, **options: Any) -> Planned:
        return preview(self.file(changes), self.site, self.environment, **options)

    def rollout(
        self,
        changes: Mapping[str, Any] | None = None,
        *,
        kill_after: int | None = None,
        canary: Sequence[str] = (),
    ) -> RolloutState | None:
        """Roll the cluster out to BASE with some changes."""
        return self.session(kill_after).begin(
            lambda: prepare(self.file(changes), self.site, self.environment, canary=canary)
        )

    def rollback(self, release: str = "") -> RolloutState | None:
        """Return the cluster; no rollout is under way."""
        return self.session().begin(lambda: prepare_return(self.site, "shop", release), kind="rollback")

    def journal(self) -> list[Event]:
        return journal_of(self.site.directory("shop")).read()

    def variables(self) -> dict[str, Any]:
        found = self.site.directory("shop").variables()
        assert found is not None
        return found

    def edit(self, name: str, **changes: Any) -> None:
        """Change a machine's entry of the variables, as somebody with an editor does."""
        path = self.site.directory("shop").path.joinpath(Document.DECLARED)
        document = json.loads(path.read_text())
        document["machines"][name].update(changes)
        path.write_text(json.dumps(document))

    def running(self) -> dict[str, str]:
        """Return the digit of each machine's image."""
        return {
            machine.name.removeprefix("shop-"): machine.image_id.removeprefix("sha256:")[:1]
            for machine in self.platform.machines()
        }


def app(image: str, **more: Any) -> dict[str, Any]:
    """Return the change that gives the service `app` an image."""
    return {"services": {"app": {"image": image, **more}}}
