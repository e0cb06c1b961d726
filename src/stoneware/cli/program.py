"""The whole command line: run one command, show what went wrong, return the exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main
from typer.exceptions import TyperException

from stoneware.cli.group import HELP_NAMES, LazyGroup
from stoneware.cli.interrupts import as_interrupts
from stoneware.cli.streams import OutputError, guarded, styled
from stoneware.errors import StonewareError
from stoneware.ui.errors import render_error
from stoneware.ui.hints import ClusterFlags, remember

PROGRAM = "stoneware"
COMPLETE_VARIABLE = "_STONEWARE_COMPLETE"
READER_GONE = 1  # the exit code for a closed pipe: whoever read our output has seen enough
USAGE = 2
INTERRUPTED = 130


def _show_version(wanted: bool) -> None:
    if wanted:
        from stoneware import __version__

        typer.echo(f"stoneware {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """A Docker workflow for virtual machines: bake an image, boot machines from it."""


def command() -> Any:
    """Return the root command."""
    app = typer.Typer(
        cls=LazyGroup,
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=False,
        context_settings={"help_option_names": HELP_NAMES},
    )
    app.callback(invoke_without_command=False)(root)
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name and return its exit code; errors go to stderr."""
    with guarded():
        return _run(list(arguments) or ["--help"])


def _run(words: list[str]) -> int:
    remember(ClusterFlags())
    if COMPLETE_VARIABLE in os.environ:
        prepare_completion()
    try:
        with as_interrupts():
            code = command().main(
                words, prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, standalone_mode=False
            )
        sys.stdout.flush()
    except typer.Abort:  # a question that was answered with no
        sys.stderr.write("cancelled, nothing was done\n")
        return USAGE
    except TyperException as error:
        return _usage_error(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return READER_GONE
    except (StonewareError, OSError, MemoryError, UnicodeEncodeError) as error:
        return _failed(_told(error))
    return code if isinstance(code, int) else 0


def _failed(error: StonewareError) -> int:
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
    from stoneware.platforms.registry import backend

    if (told := backend().explained(error)) is not None:
        return told
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    what = error.strerror or str(error) or type(error).__name__
    return StonewareError(f"{what[:1].lower()}{what[1:]}{': ' if names else ''}{' -> '.join(names)}")


def decided(code: int) -> int:
    """Return the exit code, and let no Ctrl-C change it while the interpreter ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def prepare_completion() -> None:
    """Make typer's completion classes known; it does so itself only with its --install-completion."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()


def _usage_error(error: Exception) -> int:
    message = getattr(error, "format_message", error.__str__)()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else PROGRAM
    shown = StonewareError(message, resolution=f"{path} --help")
    _failed(shown)
    return USAGE
