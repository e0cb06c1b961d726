"""A Machinefile's text to a recipe: what the target needs, as frozen data, touching nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile import graph, values
from stoneware.machinefile.advice import unused_args, warnings
from stoneware.machinefile.bases import named_base
from stoneware.machinefile.evaluate import Context, apply
from stoneware.machinefile.inits import without_init
from stoneware.machinefile.lex import Lexer
from stoneware.machinefile.onbuild import with_triggers
from stoneware.machinefile.parser import parse_source
from stoneware.machinefile.recipe import Base, ImageConfig, Recipe, ResolvedBase, Stage
from stoneware.machinefile.state import Globals, StageState
from stoneware.machinefile.syntax import Checked, Layout, lay_out, located
from stoneware.machinefile.unknown import Reference, unknown
from stoneware.model.labels import KERNEL_LABEL, KERNELS, kernel_problem

BASES = ("debian:12", "debian:13")

Resolver = Callable[[str], ResolvedBase | None]


@dataclass
class _Load:
    """One run of `load_recipe`: what has been worked out so far."""

    layout: Layout
    settings: Globals
    names: graph.Names
    plan: graph.Plan
    resolve: Resolver
    known: Iterable[str]
    states: dict[int, StageState] = field(default_factory=dict)
    images: dict[str, ResolvedBase] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)


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
    names = graph.read_names(layout, settings)
    # Before the stages are planned: an ONBUILD COPY --from may need a stage that nothing else needs.
    layout = with_triggers(layout, names.bases, names.references, lambda name: _triggers(resolve_base, name))
    plan = graph.plan(layout, names, target)
    load = _Load(layout, settings, names, plan, resolve_base, known)
    stages = tuple(_stage(load, index) for index in plan.order)
    last = stages[-1]
    if problem := kernel_problem(extra_labels or {}):
        raise InputError(problem, resolution=f"--label {KERNEL_LABEL}={'|'.join(KERNELS)}")
    # Only on the last stage, as Docker's --label: the others are no image.
    labels = dict(last.config.labels) | dict(extra_labels or {})
    final = replace(last, config=replace(last.config, labels=tuple(labels.items())))
    return Recipe(
        filename=filename,
        stages=(*stages[:-1], final),
        warnings=(
            *warnings(layout, plan.order, (each for state in load.states.values() for each in state.hollow)),
            *(text for state in load.states.values() for text in state.warnings),
            *load.notes,
        ),
        unused_args=unused_args(layout, settings.build_args, _platform_args("", "")),
        images=tuple(sorted(load.images.items())),
    )


def _globals(layout: Layout, build_args: Mapping[str, str], target: str | None, architecture: str) -> Globals:
    lexer = Lexer(escape=layout.source.escape)
    # These, too, may be given by --build-arg.
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


def _triggers(resolve: Resolver, reference: str) -> tuple[str, ...]:
    found = resolve(reference)
    return found.config.onbuild if found is not None else ()


def _stage(load: _Load, index: int) -> Stage:
    raw = load.layout.stages[index]
    name = load.plan.names[index]
    base, state = _start(load, index)
    # The base's ONBUILD instructions are among the stage's own by now.
    state.config = replace(state.config, onbuild=())
    load.states[index] = state
    state.history.append((raw.line, raw.text))
    context = Context(load.layout.source, load.settings, _finder(load, index))
    for checked in raw.instructions:
        if base.scratch:
            _check_scratch(load, checked)
        apply(state, checked, context)
    config, told = without_init(state.finish())
    if told:
        state.warnings.append(f"{load.layout.source.filename}:{_line_of_command(state, raw.line)}: {told}")
    return Stage(index, name, raw.line, base, tuple(state.steps), config, tuple(state.history))


def _line_of_command(state: StageState, otherwise: int) -> int:
    """Return the line of the last CMD or ENTRYPOINT; an inherited one has none here."""
    words = ((line, text.split(maxsplit=1)[0].upper()) for line, text in reversed(state.history))
    return next((line for line, word in words if word in ("CMD", "ENTRYPOINT")), otherwise)


def _start(load: _Load, index: int) -> tuple[Base, StageState]:
    raw, name, parent = load.layout.stages[index], load.plan.names[index], load.plan.bases[index]
    scratch = _is_scratch(load, index)
    if parent is not None:
        before = load.states[parent]
        base = Base("stage", load.plan.names[parent], scratch=scratch)
        return base, StageState.start(name, before.config, before)
    place = Reference(load.plan.references[index], raw.line, raw.base, load.names.hollow[index])
    if scratch:
        place = _builder_of_files(load, place)
    reference, resolved = _resolve(load, place)
    base = Base(resolved.kind, reference, resolved.identity, scratch)
    # It holds files alone: what the builder is configured for does not count.
    return base, StageState.start(name, ImageConfig() if scratch else resolved.config)


def _is_scratch(load: _Load, index: int) -> bool:
    return load.plan.references[load.plan.root(index)].lower() == "scratch"


def _builder_of_files(load: _Load, wanted: Reference) -> Reference:
    """Return what a stage FROM scratch is made on: what the target stands on, which is needed anyway."""
    target = load.plan.order[-1]
    root = load.plan.root(target)
    if _is_scratch(load, target):
        raise load.layout.source.fault(
            load.layout.stages[root].line,
            "a machine cannot be built from scratch: it needs an init system",
            "Write FROM debian:12 (or debian:13): minimal, with systemd and nothing you would remove. "
            "Only stages that others copy from may begin with FROM scratch.",
        )
    return replace(wanted, text=load.plan.references[root])


def _check_scratch(load: _Load, checked: Checked) -> None:
    if checked.source.keyword == "RUN":
        raise load.layout.source.fault(
            checked.source.line,
            "a stage FROM scratch holds files only: it has no programs that RUN could run",
            "Begin the stage with FROM debian:12, or do this in another stage and COPY --from it.",
        )


def _finder(load: _Load, index: int) -> Callable[[str, int], str]:
    def find(name: str, line: int) -> str:
        found = graph.find_stage(load.layout, name)
        if found is None:
            reference, resolved = _resolve(load, Reference(name, line))
            load.images[reference] = resolved
            return reference
        if found >= index:
            raise load.layout.source.fault(
                line,
                f"the stage {name} is not defined before the stage that copies from it",
                "Move that stage up.",
            )
        return load.plan.names[found]

    return find


def _resolve(load: _Load, wanted: Reference) -> tuple[str, ResolvedBase]:
    """Return what a reference outside the file means, by the name it has here. Raises InputError."""
    resolved = load.resolve(wanted.text)
    if resolved is not None:
        return wanted.text, resolved
    # A base or image that is called so wins over the names that registries have for Debian.
    named = named_base(wanted.text)
    if named is not None and (resolved := load.resolve(named.reference)) is not None:
        if named.notes:
            load.notes[
                f"{load.layout.source.filename}:{wanted.line}: {wanted.text} is Stoneware's own "
                f"{named.reference}, built on this computer: {'; '.join(named.notes)}"
            ] = None
        return named.reference, resolved
    later = [stage for stage in load.layout.stages if stage.name == wanted.text.lower()]
    if later:
        raise _misplaced_stage(load, wanted.text, wanted.line, later[-1].line)
    raise unknown(load.layout, wanted, load.known)


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
