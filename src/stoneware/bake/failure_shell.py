"""The shell of `--on-failure shell`: in the broken builder, as the step that failed would have it."""

from __future__ import annotations

from stoneware.errors import InputError
from stoneware.machinefile.recipe import RunStep, Step
from stoneware.model.execution import Execution
from stoneware.platforms.protocols import Commands

# The WORKDIR may be what the step has removed. No login shell: its profile would set another PATH.
_SCRIPT = 'cd -- "$1" 2>/dev/null || cd /; exec /bin/bash'


def open_shell(commands: Commands, name: str, step: Step) -> None:
    """Run a shell in a builder with a step's user, environment and WORKDIR, until somebody leaves it.

    Mounts and secrets of the step are not there any more. Root has it where the step's user does not exist.
    """
    env, user, workdir = {}, "", "/"
    if isinstance(step, RunStep):
        env, user, workdir = dict((*step.unkeyed_env, *step.env)), step.user, step.workdir
    argv = ["/bin/sh", "-c", _SCRIPT, "sh", workdir]
    try:
        commands.execute(name, argv, Execution(user, env, tty=True, interactive=True))
    except InputError:
        if not user:
            raise
        commands.execute(name, argv, Execution(env=env, tty=True, interactive=True))
