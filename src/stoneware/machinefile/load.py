"""A Machinefile's text to a recipe: what the target needs, as frozen data, touching nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from stoneware.errors import InputError
from stoneware.machinefile import graph, values
from stoneware.machinefile.advice import unused_args, warnings
from stoneware.machinefile.evaluate import Context, apply
from stoneware.machinefile.flags import nearest
from stoneware.machinefile.lex import Lexer
from stoneware.machinefile.recipe import Base, Recipe, ResolvedBase, Stage
from stoneware.machinefile.source import parse_source
from stoneware.machinefile.state import Globals, StageState
from stoneware.machinefile.syntax import Layout, lay_out, located

BASES = ("debian:12", "debian:13")

_SHOWN = 6  # bases and images that an error lists
Resolver = Callable[[str], ResolvedBase | None]


@dataclass
class _Load:
    """One run of `load_recipe`: what has been worked out so far."""

    layout: Layout
    settings: Globals
    plan: graph.Plan
    resolve: Resolver
    known: Iterable[str]
    states: dict[int, StageState] = field(default_factory=dict)
    images: dict[str, ResolvedBase] = field(default_factory=dict)


def load_recipe(
    text: str,
    *,
    filename: str = "Machinefile",
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    resolve_base: Resolver,
    extra_labels: Mapping[str, str] | None = None,
    known: Iterable[str] = BASES,
    architecture: str | None = None,
) -> Recipe:
    """Return the recipe of a Machinefile for a target (default: the last stage).

    `resolve_base` tells what a FROM or --from outside the file is; `known` what it could be.
    Raises InputError with the file's line.
    """
    layout = lay_out(parse_source(text, filename))
    settings = _globals(layout, build_args or {}, target, architecture or values.host_architecture())
    plan = graph.plan(layout, settings, target)
    load = _Load(layout, settings, plan, resolve_base, known)
    stages = tuple(_stage(load, index) for index in plan.order)
    last = stages[-1]
    labels = dict(last.config.labels) | dict(extra_labels or {})
    final = replace(last, config=replace(last.config, labels=tuple(labels.items())))
    return Recipe(
        filename=filename,
        stages=(*stages[:-1], final),
        warnings=(
            *warnings(layout, plan.order),
            *(text for state in load.states.values() for text in state.warnings),
        ),
        unused_args=unused_args(layout, settings.build_args, _platform_args("", "")),
        images=tuple(sorted(load.images.items())),
    )


def _globals(layout: Layout, build_args: Mapping[str, str], target: str | None, architecture: str) -> Globals:
    lexer = Lexer(escape=layout.source.escape)
    found = _platform_args(architecture, target or layout.stages[-1].name or "default") | {
        name: value for name, value in build_args.items() if name in _platform_args("", "")
    }
    for checked in layout.arguments:
        with located(layout.source, checked.source.line):
            for word in checked.source.words:
                name, equals, default = word.partition("=")
                if name in build_args:
                    found[name] = build_args[name]
                elif equals:
                    found[name] = lexer.word(default, found)
    return Globals(build_args, found, lexer, architecture)


def _platform_args(architecture: str, target: str) -> dict[str, str]:
    """Return the ARGs that BuildKit knows by itself; a stage gets them by declaring them."""
    found = {"TARGETSTAGE": target}
    for side in ("BUILD", "TARGET"):
        found |= {
            f"{side}PLATFORM": f"linux/{architecture}",
            f"{side}OS": "linux",
            f"{side}OSVERSION": "",
            f"{side}ARCH": architecture,
            f"{side}VARIANT": "",
        }
    return found


def _stage(load: _Load, index: int) -> Stage:
    raw = load.layout.stages[index]
    name = load.plan.names[index]
    parent = load.plan.bases[index]
    if parent is None:
        reference = load.plan.references[index]
        resolved = _resolve(load, reference, raw.line)
        base = Base(resolved.kind, reference, resolved.identity)
        state = StageState.start(name, resolved.config)
    else:
        before = load.states[parent]
        base = Base("stage", load.plan.names[parent])
        state = StageState.start(name, before.config, before)
    load.states[index] = state
    state.history.append((raw.line, raw.text))
    context = Context(load.layout.source, load.settings, _finder(load, index))
    for checked in raw.instructions:
        apply(state, checked, context)
    return Stage(index, name, raw.line, base, tuple(state.steps), state.finish(), tuple(state.history))


def _finder(load: _Load, index: int) -> Callable[[str, int], str]:
    def find(name: str, line: int) -> str:
        found = graph.find_stage(load.layout, name)
        if found is None:
            load.images[name] = _resolve(load, name, line)
            return name
        if found >= index:
            raise load.layout.source.fault(
                line,
                f"the stage {name} is not defined before the stage that copies from it",
                "Move that stage up.",
            )
        return load.plan.names[found]

    return find


def _resolve(load: _Load, reference: str, line: int) -> ResolvedBase:
    source = load.layout.source
    if reference.lower() == "scratch":
        raise source.fault(
            line,
            "a machine cannot be made from scratch: it needs an init system",
            "Write FROM debian:12 (or debian:13): minimal, with systemd and nothing you would remove.",
        )
    resolved = load.resolve(reference)
    if resolved is not None:
        return resolved
    later = [stage for stage in load.layout.stages if stage.name == reference.lower()]
    if later:
        raise _misplaced_stage(load, reference, line, later[-1].line)
    names = [*load.known, *(stage.name for stage in load.layout.stages if stage.name)]
    close = nearest(reference, names)
    hint = f"Did you mean {close}? " if close else ""
    known = list(dict.fromkeys(load.known))
    more = ", …" if len(known) > _SHOWN else ""
    raise source.fault(
        line,
        f"unknown base or image: {reference}",
        f"{hint}Known are {', '.join(known[:_SHOWN])}{more}; `stoneware images` lists the images baked here.",
    )


def _misplaced_stage(load: _Load, reference: str, line: int, defined: int) -> InputError:
    if reference != reference.lower():
        return load.layout.source.fault(
            line,
            f"FROM {reference} does not find the stage: stage names are in small letters",
            f"Write FROM {reference.lower()}.",
        )
    if defined == line:
        return load.layout.source.fault(
            line, f"the stage {reference} is built from itself", "Give the stage another name."
        )
    return load.layout.source.fault(
        line,
        f"the stage {reference} is defined in line {defined}, after its use",
        "Move that stage up.",
    )
