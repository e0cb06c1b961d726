"""A store and a platform in memory, with a clock that the tests turn."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stoneware.files import canonical_json, sha256_hex
from stoneware.machinefile.recipe import HealthCheck, ImageConfig, config_to_document
from stoneware.model.execution import PLAIN, Execution
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.model.resources import PortMapping
from stoneware.platforms.upkeep import Unused, VolumeUsage
from tests.platforms.memory import MemoryPlatform, place_in
from tests.platforms.stored_images import StoredImages

NOW = 1_700_000_000.0


def contract_of(templates: Mapping[str, bytes], env: Mapping[str, str]) -> dict[str, Any]:
    from stoneware.config.contract import derive_contract

    return derive_contract(templates, env, None)


def manifest_of(
    name: str,
    config: ImageConfig,
    templates: Mapping[str, bytes] | None = None,
    commit: str | None = "c" * 40,
) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": name,
        "created": "2023-11-14T22:13:20Z",
        "architecture": "amd64",
        "base": {"reference": "debian:12", "identity": "base-1"},
        "commit": commit,
        "dirty": False,
        "config": config_to_document(config),
        "labels": {},
        "contract": contract_of(templates or {}, dict(config.env)),
        "packages": [],
        "steps": [
            {"index": 1, "stage": "0", "line": 3, "text": "RUN true", "key": "k1", "seconds": 2.5},
        ],
        "history": [
            {"line": 1, "instruction": "FROM debian:12"},
            {"line": 3, "instruction": "RUN true"},
        ],
    }


class FakeStore(StoredImages):
    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = self.home = root

    def add_image(
        self,
        name: str,
        config: ImageConfig | None = None,
        templates: Mapping[str, bytes] | None = None,
        tags: Sequence[str] = ("latest",),
        **more: Any,
    ) -> str:
        manifest = manifest_of(name, config or ImageConfig(), templates) | more
        image_id = f"sha256:{sha256_hex(canonical_json(manifest))}"
        self.manifests[image_id] = manifest
        for tag in tags:
            self.references[f"{name}:{tag}"] = image_id
        for path, content in (templates or {}).items():
            file = self.image_rootfs(image_id) / "etc/stoneware/templates" / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return image_id

    def image_document(self, image_id: str) -> dict[str, Any]:
        return {"size_bytes": 212_000_000}

    def stage_source(self, source: str) -> Path:
        return self.image_rootfs(source.removeprefix("image:"))

    def image_rootfs(self, image_id: str) -> Path:
        path = self.root / image_id.removeprefix("sha256:")
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass
class Executed:
    name: str
    argv: tuple[str, ...]
    options: dict[str, Any]


class FakePlatform(MemoryPlatform):
    """`script` gives the states a created machine goes through, one per look; the last one stays."""

    def __init__(self) -> None:
        super().__init__()
        self.found = self._machines
        self.consoles = self._consoles
        self.timed: list[tuple[float, bytes]] = []  # the pieces of a console, and when they came
        self.scripts: dict[str, Iterator[dict[str, Any]]] = {}
        self.script: list[dict[str, Any]] = [{"phase": Phase.BOOTING}, {"phase": Phase.RUNNING}]
        self.executions: list[Executed] = []
        self.code = 0
        self.output = ""
        self.on_look: Callable[[str], None] = lambda _: None

    def add(self, name: str, **changes: Any) -> Machine:
        spec = MachineSpec(name, "image:sha256:1", image_ref="hello", **changes.pop("spec", {}))
        number = len(self.found) + 1
        machine = Machine(
            name=name, id=f"m{number:07x}a", kind="machine", image_id="sha256:1", image="hello",
            phase=Phase.RUNNING, health=Health.HEALTHY, ip=f"10.1.0.{number}", ports=(),
            config_digest="sha256:c", error="", created=NOW, started=NOW, exit_code=None, leader=1, spec=spec,
        )  # fmt: skip
        self.found[name] = replace(machine, **changes)
        self.consoles.setdefault(name, b"booting\r\nready\r\n")
        return self.found[name]

    def create(self, spec: MachineSpec) -> Machine:
        self.calls.append(f"create {spec.name}")
        ports = tuple(
            replace(port, host_port=port.host_port or 40000 + number)
            for number, port in enumerate(spec.ports)
        )
        self.add(spec.name, phase=Phase.BOOTING, health=Health.NONE, image_id=spec.source[6:], ports=ports)
        self.found[spec.name] = replace(self.found[spec.name], spec=spec)
        self.scripts[spec.name] = iter(self.script)
        return self.found[spec.name]

    def observe(self, name: str) -> Machine | None:
        self.on_look(name)
        change = next(self.scripts.get(name, iter(())), None)
        if change is not None:
            output = change.pop("output", b"") if "output" in change else b""
            self.consoles[name] += output
            self.found[name] = replace(self.found[name], **change)
        return self.found.get(name)

    def start(self, name: str) -> Machine:
        self.calls.append(f"start {name}")
        self.found[name] = replace(self.found[name], phase=Phase.RUNNING)
        return self.found[name]

    def stop(self, name: str, *, timeout: float | None = None, removing: bool = False) -> None:
        self.calls.append(f"stop {name} {timeout}")
        self.found[name] = replace(self.found[name], phase=Phase.STOPPED, exit_code=0)

    def destroy(self, name: str) -> None:
        self.calls.append(f"destroy {name}")
        self.found.pop(name, None)

    def console(self, name: str, offset: int = 0) -> tuple[bytes, int]:
        data = self.consoles[name]
        return data[offset:], len(data)

    def console_place(
        self, name: str, *, lines: int | None = None, since: float | None = None, until: float | None = None
    ) -> int:
        if since is not None or until is not None:
            return sum(
                len(data)
                for at, data in self.timed
                if (at < since if since is not None else at <= (until or 0))
            )
        return place_in(self.consoles[name], lines=lines)

    def console_times(self, name: str) -> Callable[[int], float | None]:
        ends = list(itertools.accumulate(len(data) for _, data in self.timed))
        return lambda offset: next(
            (at for end, (at, _) in zip(ends, self.timed, strict=True) if offset < end), None
        )

    def guest_attributes(self, name: str) -> dict[str, str]:
        return {"stoneware/health": "{}"}

    def execute(self, name: str, argv: Sequence[str], how: Execution = PLAIN) -> int:
        self.executions.append(Executed(name, tuple(argv), asdict(how)))
        sys.stdout.write(self.output)
        return self.code

    def run(
        self, name: str, argv: Sequence[str], how: Execution = PLAIN, *, timeout: float
    ) -> tuple[int, str]:
        self.executions.append(Executed(name, tuple(argv), {**asdict(how), "timeout": timeout}))
        return self.code, self.output

    def copy_out(self, name: str, path: str, destination: Path) -> list[str]:
        self.calls.append(f"copy_out {name} {path} {destination}")
        return ["left out dev/sda"]

    def copy_in(self, source: str | Path, name: str, path: str) -> None:
        self.calls.append(f"copy_in {source} {name} {path} in {Path.cwd().name}")


class FakeUpkeep:
    """Looks after the volumes of a platform in memory, each of which is empty."""

    def __init__(self, platform: FakePlatform) -> None:
        self._platform = platform

    def unused(self, **_: object) -> Unused:
        return Unused((), (), (), ())

    def prune(self, what: Unused, **_: object) -> int:
        raise AssertionError(f"nothing was to be removed, but {what} is")

    def volume_usage(self, name: str) -> VolumeUsage:
        volume = self._platform.volume(name)
        assert volume is not None
        return VolumeUsage(None if volume.size is None else 0, volume.size, f"/volumes/{name}")


HEALTHY = ImageConfig(
    env=(("ACCENT", "red"),),
    user="web",
    workdir="/srv",
    entrypoint=("nginx",),
    healthcheck=HealthCheck(("true",)),
    volumes=("/var/lib/data",),
    ports=("80/tcp", "53/udp"),
)
PORT = PortMapping("0.0.0.0", 8080, 80)
