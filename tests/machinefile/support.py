"""Reading the case files, and matching what came out against what they want."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoneware.machinefile.recipe import HealthCheck, ImageConfig, Recipe, ResolvedBase

CASES = Path(__file__).parent / "cases"
CONFIGURED = ImageConfig(
    env=(("B", "1"),),
    user="svc",
    workdir="/base",
    cmd=("base-cmd",),
    volumes=("/data",),
    ports=("1/tcp",),
    labels=(("l", "1"),),
    healthcheck=HealthCheck(("probe",)),
)

# Images with ONBUILD.
TRIGGERS = {
    "triggering": ("WORKDIR /src", "ARG V=1", "COPY . .", "RUN make V=$V"),
    "copying": ("COPY --from=assets /a /a",),
}


@dataclass(frozen=True)
class Case:
    name: str
    file: str
    want: dict[str, Any]
    args: dict[str, str]
    target: str | None


def read_cases(filename: str) -> list[Case]:
    text = (CASES / filename).read_text()
    return [_case(section) for section in text.split("\n=== ")[1:]]


def _case(section: str) -> Case:
    name, _, body = section.partition("\n")
    parts: dict[str, str] = {}
    for block in ("\n" + body).split("\n--- ")[1:]:
        key, _, value = block.partition("\n")
        parts[key] = value.rstrip("\n")
    lines = parts.get("args", "").splitlines()
    file = parts["file"] + "\n" if parts["file"] else ""
    args = dict(line.partition("=")[::2] for line in lines)
    return Case(name, file, json.loads(parts["want"]), args, parts.get("target") or None)


def resolve(reference: str) -> ResolvedBase | None:
    if reference in {"debian:12", "debian:13"}:
        return ResolvedBase("base", f"base-{reference}")
    if reference == "configured":
        return ResolvedBase("image", "sha256:0", CONFIGURED)
    if reference in TRIGGERS:
        return ResolvedBase("image", "sha256:1", ImageConfig(onbuild=TRIGGERS[reference]))
    return None


def plain(value: Any) -> Any:
    """Return dataclasses and tuples as what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value


def difference(want: Any, got: Any, where: str = "") -> str:
    """Return where `got` is not what is wanted, or an empty text. "*" matches anything."""
    if want == "*":
        return ""
    if isinstance(want, dict) and isinstance(got, dict):
        found = [difference(each, got.get(key, "(missing)"), f"{where}.{key}") for key, each in want.items()]
        return next((each for each in found if each), "")
    if isinstance(want, list) and isinstance(got, list):
        if len(want) != len(got):
            return f"{where}: wanted {len(want)} elements, got {len(got)}: {got!r}"
        found = [difference(a, b, f"{where}[{n}]") for n, (a, b) in enumerate(zip(want, got, strict=True))]
        return next((each for each in found if each), "")
    return "" if want == got else f"{where}: wanted {want!r}, got {got!r}"


def document(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe in the words of the cases."""
    steps = [plain(step) for step in recipe.target.steps]
    for step in steps:
        if "env" in step:
            step["env"] = dict(step["env"])
    return {
        "steps": steps,
        "config": plain(recipe.target.config),
        "stages": [stage.name for stage in recipe.stages],
        "base": recipe.target.base.reference,
        "warnings": len(recipe.warnings),
        "warned": list(recipe.warnings),
        "unused": list(recipe.unused_args),
        "images": [name for name, _ in recipe.images],
    }
