"""Commands in machines, what they say, who they run as: the host's side, over processes of this computer."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.model.execution import Execution
from stoneware.platforms.local.machines import exec as machine_exec
from stoneware.platforms.local.machines import inside, output, users
from stoneware.platforms.local.machines.output import TIMED_OUT, output_of
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import PATH, ROOT, Program, Streams
from stoneware.platforms.local.machines.stop import wait_until
from tests.local.runner_here import HereRunner

pytestmark = pytest.mark.pure
ENV = {"PATH": PATH}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "m1")


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HereRunner:
    found = HereRunner(tmp_path)
    for module in (inside, machine_exec):
        monkeypatch.setattr(module, "runner_of", lambda _: found)
    return found


def shell(script: str) -> Program:
    return Program(["/bin/sh", "-c", script], env=ENV)


@pytest.mark.usefixtures("runner")
class TestOutput:
    def test_both_streams_are_kept_unless_it_is_said(self, paths: Paths) -> None:
        script = shell("echo out; echo err >&2; exit 3")
        assert output_of(paths, script, timeout=60, keep=100) == (3, b"out\nerr\n")
        assert output_of(paths, script, timeout=60, keep=100, errors=False) == (3, b"out\n")

    def test_only_its_end_is_kept(self, paths: Paths) -> None:
        code, said = output_of(paths, shell("yes | head -c 200000; echo end"), timeout=60, keep=10)
        assert (code, said) == (0, b"\ny\ny\ny\nend\n"[-10:])

    def test_one_that_takes_too_long_is_killed(
        self, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = tmp_path / "begun"
        looks = itertools.count()
        # Once it has said something it is late; what it says then has the clock looked at.
        late = SimpleNamespace(
            monotonic=lambda: time.monotonic() + 1000 * (next(looks) > 0 and begun.exists())
        )
        monkeypatch.setattr(output, "time", late)
        script = shell(f"echo begun; touch {begun}; echo; exec sleep 1000")
        code, said = output_of(paths, script, timeout=300, keep=100)
        assert (code, said.split()) == (TIMED_OUT, [b"begun"])

    def test_what_it_leaves_running_is_not_waited_for(self, paths: Paths) -> None:
        code, said = output_of(paths, shell("sleep 1000 & echo $!; exit 0"), timeout=300, keep=100)
        os.kill(int(said), signal.SIGKILL)
        assert code == 0

    def test_nothing_but_pipes_is_handed_in(self, paths: Paths) -> None:
        with Path("/dev/null").open("wb") as file, pytest.raises(ValueError, match="only pipes"):
            inside.start(paths, shell("true"), Streams(file.fileno()))


class TestExecute:
    def test_words_environment_and_directory_pass(
        self, paths: Paths, runner: HereRunner, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        how = Execution(env={"A": "b c"}, workdir=str(tmp_path))
        code = machine_exec.execute(paths, ["/bin/sh", "-c", "pwd; echo $A$container; echo no >&2"], how)
        assert (code, *capfd.readouterr()) == (0, f"{tmp_path}\nb chere\n", "no\n")
        [program] = runner.programs
        assert program.user == ROOT
        assert program.env == {"PATH": PATH, "HOME": "/root", "container": "here", "A": "b c"}

    def test_a_signals_death_is_a_code(self, paths: Paths, runner: HereRunner) -> None:
        assert machine_exec.execute(paths, ["/bin/sh", "-c", "kill -TERM $$"], Execution()) == 143
        assert machine_exec.capture(paths, ["/bin/sh", "-c", "exit 7"], Execution(), timeout=60) == (7, "")
        assert runner.programs[-1].env["HOME"] == "/root"

    @pytest.mark.usefixtures("runner")
    def test_our_input_is_its(
        self, paths: Paths, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader, writer = os.pipe()
        os.write(writer, b"one\ntwo\n")
        os.close(writer)
        before = os.dup(0)
        os.dup2(reader, 0)
        try:
            assert machine_exec.execute(paths, ["/bin/cat"], Execution(interactive=True)) == 0
        finally:
            os.dup2(before, 0)
            os.close(before)
            os.close(reader)
        assert capfd.readouterr().out == "one\ntwo\n"

    def test_with_a_terminal_it_has_one_and_reads_its_end(
        self, paths: Paths, runner: HereRunner, capfd: pytest.CaptureFixture[str]
    ) -> None:
        script = "test -t 0 && test -t 1 && echo a terminal; cat; exit 5"
        assert machine_exec.execute(paths, ["/bin/sh", "-c", script], Execution(tty=True)) == 5
        assert "a terminal" in capfd.readouterr().out
        assert runner.programs[0].env["TERM"] == os.environ.get("TERM", "xterm")

    @pytest.mark.usefixtures("runner")
    def test_an_interrupt_is_passed_on(
        self, paths: Paths, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        ready, before = tmp_path / "ready", signal.getsignal(signal.SIGINT)
        script = f"trap 'echo asked; exit 9' INT; echo ready; touch {ready}; while :; do sleep 0.1; done"

        def interrupt() -> None:
            wait_until(lambda: ready.exists() and signal.getsignal(signal.SIGINT) is not before, 60)
            os.kill(os.getpid(), signal.SIGINT)  # also where nothing takes it: the test is not to hang then

        thread = threading.Thread(target=interrupt)
        thread.start()
        assert machine_exec.execute(paths, ["/bin/sh", "-c", script], Execution()) == 9
        thread.join()
        assert capfd.readouterr().out == "ready\nasked\n"

    @pytest.mark.usefixtures("runner")
    def test_without_words_there_is_nothing_to_run(self, paths: Paths) -> None:
        with pytest.raises(InputError, match="no command to run"):
            machine_exec.execute(paths, [], Execution())
        with pytest.raises(InputError, match="not a terminal"):
            machine_exec.execute(paths, ["x"], Execution(tty=True, interactive=True))


class TestUsers:
    """Names are looked up inside; here, in this computer's own tables."""

    @pytest.mark.usefixtures("runner")
    def test_names_and_numbers(self, paths: Paths) -> None:
        assert users.resolve(paths, "0:root") == ROOT
        daemon = users.resolve(paths, "daemon")
        assert (daemon.uid, daemon.gid, daemon.home) == (1, 1, "/usr/sbin")
        assert users.resolve(paths, "1:2").gid == 2
        unknown = users.resolve(paths, "12345:99")
        assert (unknown.uid, unknown.gid, unknown.groups, unknown.home) == (12345, 99, (), "/")

    @pytest.mark.usefixtures("runner")
    @pytest.mark.parametrize(("asked", "kind"), [("nobody-there", "user"), ("daemon:none-such", "group")])
    def test_one_that_is_not_there(self, paths: Paths, asked: str, kind: str) -> None:
        with pytest.raises(InputError, match=f"there is no {kind}"):
            users.resolve(paths, asked)

    def test_a_machine_that_answers_something_else(
        self, paths: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(users, "output_of", lambda *_, **__: (0, b"4294967296x 0 0 /\n"))
        with pytest.raises(MachineError, match="does not answer who"):
            users.resolve(paths, "web")
