"""A builder that follows a script on a clock of its own: the driver's sleeps make the time pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stoneware.bake.driver import Driver
from stoneware.bake.events import Event
from stoneware.bake.pace import Pace
from stoneware.bake.plan import RUN, PlannedStep
from stoneware.machinefile.recipe import Mount, RunStep
from stoneware.model.machine import MachineSpec, Phase
from tests.platforms.memory import MemoryBuilder, MemoryPlatform

TOKEN = "0123456789abcdef"
NAME = "bake-0-0"


@dataclass
class Told:
    """A reporter that keeps what it is told."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class ScriptedPlatform(MemoryPlatform):
    """The machine NAME, whose reports, console and end come from `script`: actions by their second."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.looks = [0.0]  # after each sleep
        self.script: list[tuple[float, Callable[[], None]]] = []
        self.helpers_checked: list[float] = []
        self.on_tend: Callable[[], None] = lambda: None
        self.create(MachineSpec(NAME, "checkpoint:base", kind="builder"))

    def pace(self, boot_limit: float, poll: float = 0.01) -> Pace:
        return Pace(poll=poll, removal=0.0, boot_limit=boot_limit, clock=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.looks.append(self.now)
        while self.script and self.script[0][0] <= self.now:
            self.script.pop(0)[1]()

    def check_helpers(self) -> None:
        self.helpers_checked.append(self.now)
        self.on_tend()

    def console(self, name: str, offset: int = 0) -> tuple[bytes, int]:
        output = self._consoles[self._get(name).name]
        return output[offset:], len(output)

    # -- what a script does ----------------------------------------------------------------------------

    def at(self, time: float, *actions: Callable[[], None]) -> None:
        self.script += [(time, action) for action in actions]
        self.script.sort(key=lambda entry: entry[0])

    def step_report(self, state: str, step: int = 1, **more: Any) -> Callable[[], None]:
        value = {"token": TOKEN, "step": step, "state": state, "exit": 0, "message": "", **more}
        return self.raw_report(json.dumps(value))

    def raw_report(self, text: str) -> Callable[[], None]:
        return lambda: self._guest.setdefault(NAME, {}).update({"stoneware/build": text})

    def beat(self, number: int) -> Callable[[], None]:
        return lambda: self._guest.setdefault(NAME, {}).update({"stoneware/alive": str(number)})

    def say(self, *lines: str, mark: str = f"{TOKEN} ") -> Callable[[], None]:
        data = "".join(f"{mark}{line}\r\n" for line in lines).encode()

        def write() -> None:
            self._consoles[NAME] += data

        return write

    def end(self, **changes: Any) -> Callable[[], None]:
        def change() -> None:
            ended = {"phase": Phase.STOPPED, "exit_code": 137, **changes}
            self._machines[NAME] = replace(self._machines[NAME], **ended)

        return change

    def vanish(self) -> Callable[[], None]:
        return lambda: self.destroy(NAME)

    def metadata(self) -> Mapping[str, str]:
        return self._get(NAME).spec.metadata


def planned(index: int, mounts: tuple[Mount, ...] = ()) -> PlannedStep:
    step = RunStep(index=index, stage="0", line=index + 1, text=f"RUN step {index}", mounts=mounts)
    where = f"Machinefile:{index + 1}"
    return PlannedStep(step, f"key{index}", "", RUN, "not built yet", {"n": index}, where)


def driver(
    platform: ScriptedPlatform,
    told: Told,
    steps: int,
    boot_limit: float = 120.0,
    step_timeout: float | None = None,
    *,
    poll: float = 0.01,
    builder: MemoryBuilder | None = None,
    mounts: tuple[Mount, ...] = (),
    secrets: Mapping[int, tuple[str, ...]] | None = None,
    lists_from: str = "",
) -> Driver:
    """Return the driver of a builder with so many RUN steps; `mounts` are those of each."""
    numbered = {index: planned(index, mounts) for index in range(1, steps + 1)}
    pace = platform.pace(boot_limit, poll)
    return Driver(
        builder or MemoryBuilder(platform, NAME),
        told,
        token=TOKEN,
        stage="0",
        steps=numbered,
        secrets=secrets,
        last=steps,
        step_timeout=step_timeout,
        lists_from=lists_from,
        pace=pace,
    )
