"""What commands, their options and arguments are made with: click's, with texts that are ours.

What click has worded in different ways from version to version is said here, so it is the same with each.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, TypeVar

import click

from stoneware.cli import complete
from stoneware.errors import InputError
from stoneware.untrusted.visible import visible

# As a number is written; float() takes other scripts' digits, 1_0 and nan as well.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_MOST = 1_000_000_000  # of any option: as many seconds are 31 years, and the system's waits end before 300
F = TypeVar("F", bound=Callable[..., Any])
Offers = Callable[[str], list[Any]]  # what may follow the beginning of a word


def option(
    *names: str,
    help: str,
    metavar: str = "",
    kind: Callable[[Any], Any] = str,
    choices: type[Enum] | None = None,
    low: float | None = None,
    default: Any = None,
    multiple: bool = False,
    then: Callable[[Any], None] | None = None,
) -> Callable[[F], F]:
    """Declare an option with a value of a `kind`, or one of `choices`; a number may be `low` at least.

    The function gets `default` where it is not given; where it may be `multiple`, a tuple. With `then`, which
    is called with the value where it is given, the function does not get it.
    """
    offers: Offers = complete.files
    if choices is not None:
        metavar, kind, offers = f"<{'|'.join(_words(choices))}>", _one_of(choices), _offer(choices)
    elif kind in (int, float):
        kind = _number(kind, low)
    return click.option(
        *names,
        cls=Option,
        notes=_notes(default, "" if low is None else f"x>={low}"),
        metavar=metavar,
        help=help,
        type=kind,
        default=default,
        multiple=multiple,
        show_default=False,  # `notes` has it
        shell_complete=lambda _context, _param, incomplete: offers(incomplete),
        expose_value=then is None,
        callback=_calling(then) if then else None,
    )


def _calling(then: Callable[[Any], None]) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(_context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            then(value)

    return callback


def flag(*names: str, help: str, default: bool = False) -> Callable[[F], F]:
    """Declare an option without a value; `--this/--not-that` says both."""
    shown = names[0].partition("/")[0].lstrip("-") if default else None
    return click.option(
        *names,
        cls=Option,
        notes=_notes(shown),
        help=help,
        is_flag=True,
        default=default,
        show_default=False,
    )


def argument(
    name: str,
    *,
    metavar: str,
    help: str,
    kind: type = str,
    many: bool = False,
    required: bool = True,
    default: Any = None,
    offers: Offers = complete.files,
) -> Callable[[F], F]:
    """Declare an argument; the function gets a tuple where there may be `many`."""
    text = f"{help}{_notes(default, 'required' if required else '')}"
    return click.argument(
        name,
        cls=Argument,
        record=(f"{metavar}{'...' if many else ''}", text),
        metavar=metavar,
        type=kind,
        nargs=-1 if many else 1,
        required=required,
        shell_complete=lambda _context, _param, incomplete: offers(incomplete),
        **({} if required else {"default": default}),
    )


class Option(click.Option):
    """An option with `notes` behind its text in the help."""

    def __init__(self, *declared: Any, notes: str, **settings: Any) -> None:
        super().__init__(*declared, **settings)
        self._notes = notes

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's line of the help."""
        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1]}{self._notes}")


class Argument(click.Argument):
    """An argument that the help explains: `record` is its line there."""

    def __init__(self, *declared: Any, record: tuple[str, str], **settings: Any) -> None:
        super().__init__(*declared, **settings)
        self._record = record

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:  # noqa: ARG002
        """Return the argument's line of the help."""
        return self._record

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the argument as the usage line has it."""
        piece = f"{self.metavar}" if self.required else f"[{self.metavar}]"
        return [piece if self.nargs == 1 else f"{piece}..."]


class Command(click.Command):
    """A command whose help has its arguments too."""

    allow_extra_args = True  # they are refused below

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words after the command's name. Raises click.UsageError for what it does not take."""
        with _told_of(ctx):
            rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:  # a shell's completion parses half a line
            ctx.fail(f"Got unexpected extra argument(s) ({' '.join(map(visible, rest))})")
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, then the options."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                rows[param.param_type_name].append(record)
        for title, found in (("Arguments", rows["argument"]), ("Options", rows["option"])):
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


class Group(click.Group):
    """A command with commands of its own, which keep the order in which they were declared."""

    command_class = Command

    def __init__(self, *declared: Any, **settings: Any) -> None:
        ours = {"no_args_is_help": False, "subcommand_metavar": "COMMAND [ARGS]..."}
        super().__init__(*declared, **{**ours, **settings})

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words after the group's name. Raises click.UsageError for what it does not take."""
        with _told_of(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the words name. Raises what `unknown_command` returns."""
        name = args[0]
        if not (name.startswith("-") or ctx.resilient_parsing or self.has_command(name)):
            raise self.unknown_command(ctx, args)
        return super().resolve_command(ctx, args)

    def has_command(self, name: str) -> bool:
        """Say whether there is a command of this name."""
        return name in self.commands

    def unknown_command(self, ctx: click.Context, words: Sequence[str]) -> Exception:
        """Return the error for words that begin with no command, with the nearest one."""
        from stoneware.machinefile.flags import nearest  # for a mistake only

        near = nearest(words[0], self.commands)
        return InputError(
            f"there is no command '{' '.join([*ctx.command_path.split()[1:], visible(words[0])])}'",
            resolution=f"{' '.join(filter(None, [ctx.command_path, near]))} --help",
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with the whole first sentence of its help: click would cut it."""
        names = self.list_commands(ctx)
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(limit=1000)) for name in names])


@contextlib.contextmanager
def _told_of(ctx: click.Context) -> Iterator[None]:
    """Have errors of usage know their command: click's parser leaves it out of some."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


def _notes(default: Any, note: str = "") -> str:
    """Return what the help says of a parameter behind its text."""
    known = default.value if isinstance(default, Enum) else default
    notes = [f"default: {known}" if known not in (None, "") else "", note]
    return f"  [{'; '.join(filter(None, notes))}]" if any(notes) else ""


def _words(choices: type[Enum]) -> list[str]:
    return [str(choice.value) for choice in choices]


def _one_of(choices: type[Enum]) -> Callable[[Any], Enum]:
    def make(word: Any) -> Enum:
        try:
            return choices(word)
        except ValueError:
            raise click.BadParameter(f"{word!r} is not one of {', '.join(_words(choices))}") from None

    return make


def _offer(choices: type[Enum]) -> Offers:
    return lambda incomplete: [word for word in _words(choices) if word.startswith(incomplete)]


def _number(kind: Callable[[Any], float], low: float | None) -> Callable[[Any], float]:
    def make(word: Any) -> float:
        try:
            number = kind(word) if not isinstance(word, str) or _NUMBER.fullmatch(word) else None
        except ValueError:
            number = None
        if number is None:
            raise click.BadParameter(f"{word!r} is not a number")
        if abs(number) > _MOST:  # also where it is too large for a float
            raise click.BadParameter(f"{str(word)[:40]} is out of range: at most {_MOST}")
        if low is not None and number < low:
            raise click.BadParameter(f"{word} is out of range: at least {low}")
        return number

    return make
