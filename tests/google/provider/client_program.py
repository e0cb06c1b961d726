"""A program that stands for a fork of the process that waits (waiting.py): client_program.py NAME PYTHON.

It loads next to nothing. Where nobody waits any more, it becomes the provider itself.
"""

import os
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
try:
    connection.connect(f"\0{sys.argv[1]}")
except OSError:
    os.execv(sys.argv[2], [sys.argv[2], "-P", "-m", "tests.google.provider.run"])  # noqa: S606
variables = [f"{name}={text}" for name, text in os.environ.items()]
socket.send_fds(connection, [b"."], [0, 1, 2])
directory = os.getcwd()  # noqa: PTH109 -- loading pathlib takes as long as all else here
connection.sendall("\0".join([str(os.getpid()), directory, *variables]).encode())
connection.shutdown(socket.SHUT_WR)
sys.exit(0 if connection.recv(1) else 1)
