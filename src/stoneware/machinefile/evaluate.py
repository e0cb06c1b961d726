"""One instruction after the other, applied to a stage's state: what BuildKit's dispatch does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stoneware.dataclass import dataclass
from stoneware.machinefile import gopath, values
from stoneware.machinefile.copying import copy_step
from stoneware.machinefile.flags import FlagError
from stoneware.machinefile.parser import Source
from stoneware.machinefile.recipe import HealthCheck, WorkdirStep
from stoneware.machinefile.run_command import run_step, shell_form
from stoneware.machinefile.state import Globals, StageState
from stoneware.machinefile.syntax import Checked, located
from stoneware.model.labels import KERNELS, kernel_problem
from stoneware.model.mount_places import needs_no_volume

_MOST_RETRIES = 1_000_000  # more is no use, and thousands of digits would end in a traceback
_DISK_HINT = "for data that stays name a directory of its own, such as /var/lib/app"


@dataclass(frozen=True)
class Context:
    """What an instruction is applied with; `find` gives a --from's unique stage name or image reference."""

    source: Source
    globals: Globals
    find: Callable[[str, int], str]


def apply(state: StageState, checked: Checked, context: Context) -> None:
    """Apply one instruction to the state. Raises InputError with the line."""
    line = checked.source.line
    with located(context.source, line):
        _HANDLERS[checked.source.keyword](state, checked, context)
    state.note_unset(line)
    state.history.append((line, _history_text(state, checked)))


def _history_text(state: StageState, checked: Checked) -> str:
    if checked.source.keyword in {"RUN", "COPY", "ADD"} and state.steps:
        return state.steps[-1].text
    return checked.source.text


def _env(state: StageState, checked: Checked, context: Context) -> None:
    state.set_env(_pairs(state, checked, context))


def _pairs(state: StageState, checked: Checked, context: Context) -> list[tuple[str, str]]:
    """Expand NAME=VALUE pairs, all with the values from before the instruction."""
    expand = state.expand(context.globals.lexer)
    words = checked.source.words
    # One ENV with several pairs: the second does not see the first, as in Docker.
    pairs = [(expand(name), expand(value)) for name, value in zip(words[::2], words[1::2], strict=True)]
    if checked.source.keyword == "ENV" and not all(name for name, _ in pairs):
        raise FlagError("ENV names can not be blank", "The variable in the name is empty.")
    return pairs


def _label(state: StageState, checked: Checked, context: Context) -> None:
    pairs = dict(_pairs(state, checked, context))
    if problem := kernel_problem(pairs):
        raise FlagError(problem, f"Write one of {', '.join(KERNELS)}.")
    labels = dict(state.config.labels) | pairs
    state.config = replace(state.config, labels=tuple(labels.items()))


def _arg(state: StageState, checked: Checked, context: Context) -> None:
    for word in checked.source.words:
        name, equals, default = word.partition("=")
        # --build-arg wins over the default, and only where the stage declares the ARG.
        state.declared.add(name)
        if name in context.globals.build_args:
            state.set_arg(name, context.globals.build_args[name])
        elif equals:
            state.set_arg(name, state.expand(context.globals.lexer)(default))
        # The ARG above the first FROM, which a bare ARG brings into the stage.
        elif name in context.globals.values:
            state.set_arg(name, context.globals.values[name])


def _run(state: StageState, checked: Checked, context: Context) -> None:
    state.steps.append(run_step(state, checked, context.globals, context.find))


def _copy(state: StageState, checked: Checked, context: Context) -> None:
    state.steps.append(copy_step(state, checked, context.globals, context.find))


def _workdir(state: StageState, checked: Checked, context: Context) -> None:
    path = state.expand(context.globals.lexer)(checked.source.words[0])
    if not path.startswith("/"):
        path = gopath.join("/", state.config.workdir, path)
    path = gopath.clean(path)
    state.config = replace(state.config, workdir=path)
    # The root exists in every base: no step, so no checkpoint of its own.
    if path != "/":
        state.steps.append(
            WorkdirStep(
                index=len(state.steps) + 1,
                stage=state.name,
                line=checked.source.line,
                text=f"WORKDIR {path}",
                path=path,
                # Whose the directory is: BuildKit looks at USER here, and not for COPY.
                user=state.config.user,
            )
        )


def _user(state: StageState, checked: Checked, context: Context) -> None:
    state.config = replace(state.config, user=state.expand(context.globals.lexer)(checked.source.words[0]))


def _shell(state: StageState, checked: Checked, context: Context) -> None:  # noqa: ARG001
    state.config = replace(state.config, shell=checked.source.words)


def _command(state: StageState, checked: Checked) -> tuple[str, ...]:
    source = checked.source
    return source.words if source.json else shell_form(state, " ".join(source.words))


def _cmd(state: StageState, checked: Checked, context: Context) -> None:  # noqa: ARG001
    state.config = replace(state.config, cmd=_command(state, checked))
    state.cmd_given = True


def _entrypoint(state: StageState, checked: Checked, context: Context) -> None:  # noqa: ARG001
    state.config = replace(state.config, entrypoint=_command(state, checked))
    if not state.cmd_given:  # an inherited CMD belongs to the inherited ENTRYPOINT
        state.config = replace(state.config, cmd=())


def _healthcheck(state: StageState, checked: Checked, context: Context) -> None:  # noqa: ARG001
    source, flags = checked.source, checked.flags
    if source.words[0].upper() == "NONE":
        state.set_health(HealthCheck(None), None)
        return
    test = source.words[1:]
    check = HealthCheck(
        test=tuple(test),
        interval=values.duration(flags.get("interval"), "interval", 30.0),
        timeout=values.duration(flags.get("timeout"), "timeout", 30.0),
        start_period=values.duration(flags.get("start-period"), "start-period", 0.0),
        start_interval=values.duration(flags.get("start-interval"), "start-interval", 5.0),
        retries=_retries(flags.get("retries")),
    )
    state.set_health(check, None if source.json else " ".join(test))


def _retries(text: str) -> int:
    if not text:
        return 3
    if not (text.isascii() and text.isdecimal()):
        raise FlagError(
            f"--retries must be a number that is not negative, not {text!r}", "Write --retries=3."
        )
    # Docker takes 0 for the default, too.
    return values.bounded_number(text, _MOST_RETRIES) or 3


def _volume(state: StageState, checked: Checked, context: Context) -> None:
    expand = state.expand(context.globals.lexer)
    volumes = dict.fromkeys(state.config.volumes)
    for word in checked.source.words:
        path = expand(word.strip())
        if not path:
            raise FlagError("VOLUME specified can not be an empty string", "Write VOLUME /PATH.")
        if not path.startswith("/") or gopath.clean(path) == "/":
            raise FlagError(f"VOLUME {path}: a disk needs an absolute path below /", "Write VOLUME /PATH.")
        clean = gopath.clean(path)
        if why := needs_no_volume(clean):
            where = f"{context.source.filename}:{checked.source.line}"
            state.warnings.append(f"{where}: VOLUME {path} is left out: {why}; {_DISK_HINT}")
        else:
            volumes[clean] = None
    state.config = replace(state.config, volumes=tuple(volumes))


def _expose(state: StageState, checked: Checked, context: Context) -> None:
    ports = dict.fromkeys(state.config.ports)
    for word in checked.source.words:
        # One variable may expand to several ports: EXPOSE $PORTS.
        for text in context.globals.lexer.words(word, state.scope, state.unset):
            ports.update(dict.fromkeys(values.ports(text)))
    state.config = replace(state.config, ports=tuple(ports))


def _stopsignal(state: StageState, checked: Checked, context: Context) -> None:
    name = state.expand(context.globals.lexer)(checked.source.words[0])
    values.check_signal(name)
    state.config = replace(state.config, stop_signal=name)


def _onbuild(state: StageState, checked: Checked, context: Context) -> None:  # noqa: ARG001
    state.config = replace(state.config, onbuild=(*state.config.onbuild, checked.source.words[0]))


def _maintainer(state: StageState, checked: Checked, context: Context) -> None:
    """Do nothing: the history keeps the line, and a warning tells of the label that took its place."""


_HANDLERS: dict[str, Callable[[StageState, Checked, Context], None]] = {
    "ENV": _env,
    "LABEL": _label,
    "ARG": _arg,
    "RUN": _run,
    "COPY": _copy,
    "ADD": _copy,
    "WORKDIR": _workdir,
    "USER": _user,
    "SHELL": _shell,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "HEALTHCHECK": _healthcheck,
    "VOLUME": _volume,
    "EXPOSE": _expose,
    "STOPSIGNAL": _stopsignal,
    "ONBUILD": _onbuild,
    "MAINTAINER": _maintainer,
}
