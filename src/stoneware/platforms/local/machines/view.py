"""A machine's file system, for copying: as the machine sees it while it runs, else its root directory.

A running machine's own tar reads and writes, started by the machine itself, so volumes and mounts are seen.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from stoneware import process
from stoneware.errors import MachineError
from stoneware.platforms.local.machines import inside, relay
from stoneware.platforms.local.machines.output import output_of
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.platforms.local.machines.relay import Inflow, Tail
from stoneware.platforms.local.machines.runner import PATH, Command, Program, Streams
from stoneware.platforms.local.machines.runners import runner_of
from stoneware.untrusted.rooted_paths import mode_inside, open_inside

_ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}
# $1 is a path in the machine; prints what it is: d (directory), f (anything else there is) or - (nothing).
_KIND = 'if [ -d "$1" ]; then echo d; elif [ -e "$1" ] || [ -L "$1" ]; then echo f; else echo -; fi'
_TIMEOUT = 30.0  # seconds for a look at a path, and for tar to end
_WORDS = 1 << 14  # bytes of what tar complains that are kept, from the end


class View:
    """What a machine's files are. Raises MachineError where the machine does not do what it is asked."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._running = shown_processes(paths).leader is not None

    def kind(self, path: str) -> str:
        """Return what a path is: d (directory), f (anything else there is) or - (nothing)."""
        if not self._running:
            mode = mode_inside(runner_of(self._paths).files(self._paths), path)
            return "d" if stat.S_ISDIR(mode) else "f" if mode else "-"
        # Asked of the machine: its mounts and volumes are not in what we see of its root.
        argv = ["/bin/sh", "-c", _KIND, "sh", path]
        _, said = output_of(
            self._paths, Program(argv, env=_ENVIRONMENT), timeout=_TIMEOUT, keep=64, errors=False
        )
        answer = said.decode(errors="replace").strip()
        if answer not in ("d", "f", "-"):
            raise failed(f"The machine does not answer what {path} is.")
        return answer

    @contextlib.contextmanager
    def reading(self, directory: str, arguments: Sequence[str]) -> Iterator[int]:
        """Run tar in a directory of the machine; yield a descriptor of what it writes, to be read to the end.

        Raises MachineError afterwards where tar has failed.
        """
        if self._running:
            reader, writer = relay.pipe()
            try:
                with self._inside(directory, arguments, stdout=writer) as (command, words):
                    os.close(writer)
                    writer = -1
                    yield reader
                    os.close(reader)  # what has more to say than an archive learns of it
                    reader = -1
                    code = _end_of(command)
            finally:
                for descriptor in {reader, writer} - {-1}:
                    os.close(descriptor)
            _check(code, words.said())
            return
        with tempfile.TemporaryFile() as words_file, self._beside(directory) as place:
            tar = subprocess.Popen(
                ["tar", "-C", f"/proc/self/fd/{place}", *arguments],
                pass_fds=[place],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words_file,
                env=process.tool_environment(),
                cwd="/",
            )
            with tar:
                if tar.stdout is not None:
                    yield tar.stdout.fileno()
            words_file.seek(0)
            _check(tar.returncode, words_file.read(_WORDS))

    def write(self, directory: str, arguments: Sequence[str], source: int) -> None:
        """Run tar in a directory of the machine on what comes from a descriptor."""
        if self._running:
            # In the machine links lead to what is the machine's: `tree/bin/x` over /bin is /usr/bin/x.
            arguments = [*arguments, "--keep-directory-symlink"]
            with self._inside(directory, arguments, feed=True) as (command, words):
                inflow = Inflow(source, command.stdin or 0, ended=command.end_input)
                inflow.start()
                try:
                    code = command.wait()
                finally:
                    inflow.finish()
            _check(code, words.said())
            return
        with tempfile.TemporaryFile() as words_file, self._beside(directory) as place:
            done = subprocess.run(
                ["tar", "-C", f"/proc/self/fd/{place}", *arguments],
                pass_fds=[place],
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=words_file,
                env=process.tool_environment(),
                cwd="/",
                check=False,
            )
            words_file.seek(0)
            _check(done.returncode, words_file.read(_WORDS))

    @contextlib.contextmanager
    def _beside(self, directory: str) -> Iterator[int]:
        """Open a directory of a machine that does not run, for a tar of ours.

        GNU tar goes down from there by descriptors, follows no link that it finds and opens no FIFO.
        """
        place = open_inside(
            runner_of(self._paths).files(self._paths), directory, os.O_RDONLY | os.O_DIRECTORY
        )
        try:
            yield place
        finally:
            os.close(place)

    @contextlib.contextmanager
    def _inside(
        self, directory: str, arguments: Sequence[str], *, stdout: int | None = None, feed: bool = False
    ) -> Iterator[tuple[Command, Tail]]:
        reader, writer = relay.pipe()
        words = Tail(reader, _WORDS)
        argv = ["/bin/tar", "-C", directory, *arguments]
        try:
            program = Program(argv, env=_ENVIRONMENT)
            command = inside.start(self._paths, program, Streams(stdout, writer, feed))
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        words.start()
        try:
            with command:
                yield command, words
        finally:
            words.finish()


def _end_of(command: Command) -> int:
    """Return the exit code of a tar that has nothing more to do."""
    try:
        return command.wait(_TIMEOUT)
    except TimeoutError:
        raise failed("The machine's tar does not end, though its archive has.") from None


def failed(details: str) -> MachineError:
    """Return the error of a copy that could not be made."""
    return MachineError("the files could not be copied", details=details)


def _check(code: int, words: bytes) -> None:
    if code:
        raise failed(words.decode(errors="replace").strip() or f"tar ended with code {code}")
