"""The stand-in loaded once, and forked each time that Terraform starts it: loading is most of what it costs.

Terraform starts client_program.py, which hands on its streams, environment and directory, and ends with
the fork. The fork ends with Terraform, as a process does that Terraform has started itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

from stoneware.provider.plugin import serve_calls

CLIENT = Path(__file__).with_name("client_program.py")
SERVICER = "tests.google.provider.servicer"
_REPOSITORY = Path(__file__).parents[3]


@functools.cache
def name_of_waiting() -> str:
    """Start the process that forks, once for this process, and return the name of its abstract socket."""
    name = f"stoneware-test-{secrets.token_hex(16)}"
    argv = [sys.executable, "-P", "-m", __name__, name]
    read, write = os.pipe()
    process = subprocess.Popen(
        argv, cwd=_REPOSITORY, stdin=subprocess.DEVNULL, stdout=write, env={**os.environ, "PYTHONPATH": "."}
    )
    os.close(write)
    with open(read, "rb") as ready:  # noqa: PTH123 -- a descriptor
        assert ready.read(1) == b"."
    atexit.register(_end, process)
    return name


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _accept(name: str) -> None:
    """Fork for each connection, until the process that has started this one ends."""
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen(64)
        os.write(1, b".")
        os.dup2(0, 1)
        while os.getppid() == parent:
            if not select.select([listening], [], [], 1.0)[0]:
                continue
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    _serve(connection)


def _serve(connection: socket.socket) -> None:
    """Become what the client stands for; ends this process."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        with connection.makefile("rb") as sent:
            client, directory, *variables = sent.read().decode().split("\0")
        os.chdir(directory)
        os.environ.clear()
        os.environ.update({name: text for name, _, text in (each.partition("=") for each in variables)})
        os.getppid = functools.partial(_parent, int(client))
        serve_calls(importlib.import_module(SERVICER).Servicer())
        code = 0
        with contextlib.suppress(OSError):
            connection.send(b"0")
    finally:
        os._exit(code)


def _parent(client: int) -> int:
    """Return the parent of the client, which is another one when Terraform has died; 0 without a client."""
    try:
        state, parent = Path(f"/proc/{client}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state in "ZX" else int(parent)


def main() -> None:
    """Load what serves, and wait."""
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"  # gRPC has not begun to work when a fork is made
    for module in ("cryptography.x509", "grpc", "stoneware.provider.server", SERVICER):
        importlib.import_module(module)
    gc.freeze()
    _accept(sys.argv[1])


if __name__ == "__main__":
    main()
