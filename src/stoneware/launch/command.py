"""`run IMAGE COMMAND`: boot a machine without its service, run one command in it, remove it again."""

from __future__ import annotations

from collections.abc import Sequence

from stoneware.dataclass import dataclass
from stoneware.launch.environment import service_environment
from stoneware.launch.plan import Launch
from stoneware.launch.watch import wait_until_up
from stoneware.model.execution import Execution
from stoneware.platforms.protocols import Platform


@dataclass(frozen=True)
class CommandOptions:
    """How the command runs. `entrypoint` None means the image's; `user` and `workdir` likewise when empty."""

    argv: tuple[str, ...]
    tty: bool = False
    interactive: bool = False
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] | None = None
    timeout: float = 60.0  # seconds the machine gets to come up


def command_line(launch: Launch, options: CommandOptions) -> tuple[str, ...]:
    """Return the words to run: the command takes the place of CMD, behind the ENTRYPOINT."""
    entrypoint = launch.config.entrypoint if options.entrypoint is None else options.entrypoint
    return (*entrypoint, *options.argv)


def run_command(platform: Platform, launch: Launch, options: CommandOptions) -> int:
    """Create the machine, run the command on our standard streams and return its exit code.

    The machine is stopped afterwards, whatever happens, and removed where the launch asks for it.
    """
    name = launch.spec.name
    platform.create(launch.spec)
    try:
        machine = wait_until_up(platform, name, timeout=options.timeout)
        if options.workdir not in {"", "/"}:  # `docker run -w` makes it too, `docker exec -w` does not
            platform.run(name, ("mkdir", "-p", "--", options.workdir), timeout=10.0)
        how = Execution(
            options.user or launch.config.user,
            service_environment(launch.manifest, machine),
            options.workdir or launch.config.workdir,
            options.tty,
            options.interactive,
        )
        return platform.execute(name, command_line(launch, options), how)
    finally:
        end_machine(platform, launch)


def end_machine(platform: Platform, launch: Launch) -> None:
    """Stop a launched machine that its command is done with; remove it where `--rm` was given."""
    if launch.spec.remove_when_stopped:
        platform.destroy(launch.spec.name)
    else:
        platform.stop(launch.spec.name)


def split_entrypoint(text: str) -> Sequence[str]:
    """Return `--entrypoint` as words: one program, or none when it is empty, as Docker takes it."""
    return (text,) if text else ()
