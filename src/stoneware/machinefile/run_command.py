"""RUN: the final command line of every form, here-documents included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from stoneware.machinefile.lex import LexError
from stoneware.machinefile.mounts import build_mount
from stoneware.machinefile.parser import HeredocBody, heredoc_word
from stoneware.machinefile.recipe import Mount, RunStep
from stoneware.machinefile.state import Globals, StageState
from stoneware.machinefile.syntax import Checked

# A here-document that begins with #! is written to a file, and that is run. Arguments: its name, its text,
# the shell to put in front. BuildKit mounts the file at /dev/pipes, which a booted machine has no use for.
SCRIPT_RUNNER = (
    'd=$(mktemp -d) && chmod 0755 "$d" || exit 1; f="$d/${1##*/}"; '
    'printf %s "$2" >"$f" && chmod 0755 "$f" || exit 1; '
    'shift 2; "$@" "$f"; s=$?; rm -rf "$d"; exit "$s"'
)


def shell_form(state: StageState, text: str) -> tuple[str, ...]:
    """Return a command in shell form as argv."""
    return (*state.config.shell, text)


def run_step(
    state: StageState, checked: Checked, settings: Globals, find: Callable[[str, int], str]
) -> RunStep:
    """Return the step of a RUN instruction. Raises FlagError and LexError."""
    source = checked.source
    env = tuple(state.scope.items())
    return RunStep(
        index=len(state.steps) + 1,
        stage=state.name,
        line=source.line,
        text=_title(source.text, source.heredocs),
        argv=_argv(state, checked),
        env=env,
        arg_names=tuple(sorted(state.args)),
        unkeyed_env=tuple((k, v) for k, v in settings.proxies.items() if k not in state.scope),
        user=state.config.user,
        workdir=state.config.workdir,
        mounts=tuple(_mounts(state, checked, settings, find)),
        network=checked.flags.get("network", "default"),
    )


def _mounts(
    state: StageState, checked: Checked, settings: Globals, find: Callable[[str, int], str]
) -> Iterator[Mount]:
    expand = state.expand(settings.lexer)
    for raw in checked.mounts:
        mount = build_mount(raw, expand, state.config.workdir)
        yield (
            replace(mount, from_stage=find(mount.from_stage, checked.source.line))
            if mount.from_stage
            else mount
        )


def _title(text: str, heredocs: tuple[HeredocBody, ...]) -> str:
    if not heredocs:
        return text
    lines = heredocs[0].content.strip().splitlines() or [""]
    return f"{text} ({lines[0]}{'…' if len(lines) > 1 else ''})"


def _argv(state: StageState, checked: Checked) -> tuple[str, ...]:
    source = checked.source
    if source.json:
        return source.words
    command = " ".join(source.words)
    if not source.heredocs:
        return shell_form(state, command)
    if not _is_heredoc(command):
        # `cat <<A <<B >f` and `<<EOF python3`: the shell reads the here-documents itself
        parts = [command, *(body.content + body.name for body in source.heredocs)]
        return shell_form(state, "\n".join(parts))
    body = source.heredocs[0]
    if body.text.startswith("#!"):
        return ("/bin/sh", "-c", SCRIPT_RUNNER, "sh", body.name, body.text, *state.config.shell)
    return shell_form(state, body.text)


def _is_heredoc(command: str) -> bool:
    try:
        return heredoc_word(command) is not None
    except LexError:
        return False
