"""A machine's systemd, as far as commands need one: D-Bus at a socket, and units that are processes here."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jeepney import HeaderFields, Message, MessageType
from jeepney.fds import FileDescriptor, fds_buf_size
from jeepney.low_level import Endianness, Header, Parser

from stoneware.platforms.local.machines.door import Door, Ids

NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
Properties = dict[str, tuple[str, Any]]


class DoorHere(Door):
    """The door of a machine whose root, users and first process are this computer's."""

    def __init__(self, pid: int) -> None:
        self.machine = "m1"
        self._process = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.ids = Ids(os.geteuid(), os.getegid())


class SystemdHere:
    """Serves one socket; a test may change what it answers."""

    def __init__(self, path: Path) -> None:
        self.called: list[tuple[str, Any]] = []
        self.units: dict[str, Properties] = {}  # by the path of each
        self.settings: dict[str, Any] = {}  # of the last unit
        self.welcome = b"OK 0123\r\nAGREE_UNIX_FD\r\n"
        self.refuse: set[str] = set()  # methods that are answered with an error
        self.answer: Callable[[str, str], tuple[str, Any] | None] = lambda _unit, _name: None
        self.links: list[socket.socket] = []
        self._listening: list[socket.socket] = []
        self._path = path
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(path.parent, os.O_PATH)
        self._listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for path in list(self._processes):
            self._kill(path, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections, as a bus that is restarted does."""
        for link in list(self.links):  # not those that come meanwhile
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.links.append(link)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        parser, greeted = Parser(), b""
        with link, contextlib.suppress(OSError):
            while not greeted.endswith(b"BEGIN\r\n"):
                greeted += link.recv(1)
            link.sendall(self.welcome)
            while True:
                data, ancillary, _, _ = link.recvmsg(1 << 16, fds_buf_size())
                if not data:
                    return
                parser.add_data(data, FileDescriptor.from_ancdata(ancillary))
                while (message := parser.get_next_message()) is not None:
                    self._call(link, message)

    def _call(self, link: socket.socket, message: Message) -> None:
        fields = message.header.fields
        method, path = fields[HeaderFields.member], fields[HeaderFields.path]
        self.called.append((method, message.body))
        reply: tuple[str, tuple[Any, ...]] = "", ()
        if method in self.refuse:
            reply = "error", ("not today \x1b[31m",)
            for _, (_, value) in message.body[2] if method == "StartTransientUnit" else ():
                if isinstance(value, FileDescriptor):
                    value.close()
        elif method == "Subscribe":
            self._listening.append(link)
        elif method == "Hello":
            reply = "s", (":1.1",)
        elif method == "StartTransientUnit":
            self._start(message.body[0], dict(message.body[2]))
            reply = "o", ("/org/freedesktop/systemd1/job/1",)
        elif method == "Get":
            name = message.body[1]
            known = self.answer(path, name) or self._property(path, name)
            reply = ("v", (known,)) if known else ("error", ("no such unit",))
        elif method == "KillUnit":
            self._kill(path_of(message.body[0]), message.body[2])
        if not message.header.flags.value & 1:  # an answer is wanted
            self._reply(link, message.header.serial, *reply)

    def _reply(self, link: socket.socket, serial: int, signature: str, body: tuple[Any, ...]) -> None:
        kind = MessageType.method_return
        fields: dict[HeaderFields, Any] = {HeaderFields.reply_serial: serial}
        if signature == "error":
            kind, signature = MessageType.error, "s"
            fields[HeaderFields.error_name] = NO_SUCH_UNIT
        self.send(link, kind, {**fields, HeaderFields.signature: signature} if signature else fields, body)

    @staticmethod
    def send(link: socket.socket, kind: MessageType, fields: dict[Any, Any], body: tuple[Any, ...]) -> None:
        header = Header(Endianness.little, kind.value, 0, 1, -1, 9, {HeaderFields.sender: ":1.0", **fields})
        link.sendall(Message(header, body).serialise())

    def wake(self, link: socket.socket, path: str = "/org/x") -> None:
        """Send a signal, as anything in a machine can."""
        fields = {
            HeaderFields.path: path,
            HeaderFields.interface: "org.freedesktop.DBus.Properties",
            HeaderFields.member: "PropertiesChanged",
            HeaderFields.signature: "s",
        }
        self.send(link, MessageType.signal, fields, ("x",))

    # -- units ---------------------------------------------------------------------------------------------

    def _start(self, unit: str, properties: dict[str, tuple[str, Any]]) -> None:
        self.settings = {name: value for name, (_, value) in properties.items()}
        [(_, argv, _)] = self.settings["ExecStart"]
        streams = {
            name: self.settings.get(f"Standard{name}FileDescriptor") for name in ("Input", "Output", "Error")
        }
        process = subprocess.Popen(
            argv,
            stdin=streams["Input"],
            stdout=streams["Output"] or subprocess.DEVNULL,
            stderr=streams["Error"] or subprocess.DEVNULL,
            start_new_session=True,
        )
        for stream in streams.values():
            if stream is not None:
                stream.close()
        path = path_of(unit)
        self._processes[path] = process
        self.units[path] = {"ActiveState": ("s", "active"), "ExecMainCode": ("i", 0)}
        threading.Thread(target=self._reap, args=(path, process), daemon=True).start()

    def _reap(self, path: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        self.units[path] |= {
            "ExecMainStatus": ("i", abs(code)),
            "ExecMainCode": ("i", 1 if code >= 0 else 2),
        }
        for link in list(self._listening):
            with contextlib.suppress(OSError):
                self.wake(link, path)

    def _property(self, path: str, name: str) -> tuple[str, Any] | None:
        if name == "LoadState":
            return "s", "loaded" if path in self.units else "not-found"
        return self.units.get(path, {}).get(name)

    def _kill(self, path: str, number: int) -> None:
        if process := self._processes.get(path):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def path_of(unit: str) -> str:
    """Return the path of a unit on the bus."""
    return "/org/freedesktop/systemd1/unit/" + unit.replace("-", "_2d").replace(".", "_2e")
