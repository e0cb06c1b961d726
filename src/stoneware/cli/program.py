"""The whole command line: run one command, show what went wrong, return the exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from stoneware.cli.group import PROGRAM, root, takes_platform
from stoneware.cli.interrupts import as_interrupts
from stoneware.cli.streams import OutputError, guarded, styled
from stoneware.errors import StonewareError
from stoneware.ui.errors import render_error
from stoneware.ui.hints import ClusterFlags, ask_commands, remember, remember_platform
from stoneware.untrusted.visible import visible

COMPLETE_VARIABLE = "_STONEWARE_COMPLETE"
READER_GONE = 1  # the exit code for a closed pipe: the reader of our output has seen enough
USAGE = 2
INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name and return its exit code; errors go to stderr."""
    with guarded():
        return _run(list(arguments) or ["--help"])


def _run(words: list[str]) -> int:
    remember(ClusterFlags())
    remember_platform("")
    ask_commands(takes_platform)
    try:
        with as_interrupts():
            code = _complete() if os.environ.get(COMPLETE_VARIABLE) else _call(words)
        sys.stdout.flush()
    except click.Abort:  # a question that was answered with no
        sys.stderr.write("cancelled, nothing was done\n")
        return USAGE
    except click.ClickException as error:
        return _usage_error(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return READER_GONE
    except (StonewareError, OSError, MemoryError, UnicodeEncodeError) as error:
        return _failed(_told(error))
    return code


def _call(words: list[str]) -> int:
    """Run the command that the words name; click's own `main` would have ideas about interrupts."""
    try:
        with root.make_context(PROGRAM, words) as context:
            root.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return 0


def _complete() -> int:
    """Print what a shell's completion script has asked for."""
    from click.shell_completion import shell_complete

    return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, os.environ[COMPLETE_VARIABLE])


def _failed(error: StonewareError) -> int:
    # What was printed comes before the error, unless it is the printing that fails.
    with contextlib.suppress(OutputError, BrokenPipeError):
        sys.stdout.flush()
    styled(sys.stderr).write(render_error(error, colour=sys.stderr.isatty()))
    sys.stderr.flush()
    return error.exit_code


def _told(error: StonewareError | OSError | MemoryError | UnicodeEncodeError) -> StonewareError:
    """Return an error in our words: what this computer refuses, a full disk say, is no bug of ours."""
    if isinstance(error, StonewareError):
        return error
    if isinstance(error, UnicodeEncodeError):  # an argument with bytes of another encoding
        from stoneware.files import not_utf8

        return not_utf8(error)
    if isinstance(error, MemoryError):
        return StonewareError("there is not enough memory", resolution="free -h")
    from stoneware.platforms import registry

    # A full store is explained by the platform that has it.
    own = registry.backend(registry.DEFAULT, registry.project_of())
    if (told := own.explained(error)) is not None:
        return told
    # Renames and links have two names, and either may be the one that is wrong.
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    what = error.strerror or str(error) or type(error).__name__
    return StonewareError(f"{what[:1].lower()}{what[1:]}{': ' if names else ''}{' -> '.join(names)}")


def decided(code: int) -> int:
    """Return the exit code, and let no Ctrl-C change it while the interpreter ends."""
    # Python joins threads and flushes streams at its end; an interrupt there prints a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _usage_error(error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else PROGRAM
    ours = f"{path} --help"
    if isinstance(error, click.NoSuchOption) and path == PROGRAM and not error.possibilities:
        ours += "    # an option comes behind its command: stoneware COMMAND --option"
    _failed(StonewareError(_usage_message(error), resolution=ours))
    return USAGE


def _usage_message(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):  # worded by each version of click in its own way
        near = f" (Possible options: {', '.join(sorted(error.possibilities))})" if error.possibilities else ""
        return f"No such option: {visible(error.option_name)}{near}"
    return error.format_message()
