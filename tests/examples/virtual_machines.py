"""A disk in QEMU, as on a computer without Stoneware, with a stand-in for a cloud's metadata server."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIRMWARE = Path("/usr/share/OVMF")
_V1 = "/computeMetadata/v1/instance/"


@dataclass
class Metadata:
    """One instance's metadata, and what it reported. Compute Engine's protocol, as far as a boot needs it."""

    attributes: Mapping[str, str]
    reports: dict[str, str] = field(default_factory=dict)
    changed: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> bytes | None:
        if path.startswith(f"{_V1}attributes/?recursive=true"):
            if "wait_for_change" in path:
                self.changed.wait(300)
            return json.dumps(dict(self.attributes)).encode()
        values = {"name": "vm-1", "hostname": "vm-1", "network-interfaces/0/ip": "169.254.0.15"}
        found = values.get(path.removeprefix(_V1))
        return None if found is None else found.encode()

    def report(self, path: str, value: bytes) -> None:
        self.reports[path.removeprefix(f"{_V1}guest-attributes/stoneware/")] = value.decode()

    def reported(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.reports.get(name, "{}"))
        return found


@contextmanager
def served(metadata: Metadata) -> Iterator[int]:
    """Serve the metadata on a port of 127.0.0.1."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self, body: bytes | None) -> None:
            self.send_response(200 if body is not None else 404)
            for name, value in (("Content-Length", str(len(body or b""))), ("ETag", "1")):
                self.send_header(name, value)
            self.send_header("Metadata-Flavor", "Google")
            self.end_headers()
            self.wfile.write(body or b"")

        def do_GET(self) -> None:
            self._reply(metadata.answer(self.path))

        def do_PUT(self) -> None:
            metadata.report(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(b"")

        def log_message(self, *words: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *words: object) -> None:
            pass  # the machine was switched off in the middle of an answer

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        metadata.changed.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class VirtualMachine:
    """A running QEMU: `port` of 127.0.0.1 leads to the machine's port 80."""

    process: subprocess.Popen[bytes]
    port: int
    directory: Path

    @property
    def console(self) -> str:
        return (self.directory / "console").read_text(errors="replace")

    def power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as monitor, suppress(OSError):  # it may end at any moment
            monitor.connect(str(self.directory / "monitor"))
            monitor.sendall(b"system_powerdown\n")
            time.sleep(1.0)


@contextmanager
def booted(disk: Path, directory: Path, metadata_port: int) -> Iterator[VirtualMachine]:
    """Boot a disk by UEFI, on a network of QEMU's own in which 169.254.169.254 leads to a port here."""
    shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", directory / "variables")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    network = "user,id=net,net=169.254.0.0/16,dhcpstart=169.254.0.15"
    network += f",hostfwd=tcp:127.0.0.1:{port}-:80"
    network += f",guestfwd=tcp:169.254.169.254:80-cmd:busybox nc 127.0.0.1 {metadata_port}"
    flash = "if=pflash,format=raw,file="
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-m", "1024", "-display", "none"]
    argv += ["-nodefaults", "-serial", f"file:{directory / 'console'}"]
    argv += ["-monitor", f"unix:{directory / 'monitor'},server,nowait"]
    argv += ["-drive", f"{flash}{FIRMWARE / 'OVMF_CODE_4M.fd'},readonly=on"]
    argv += ["-drive", f"{flash}{directory / 'variables'}", "-drive", f"if=virtio,format=raw,file={disk}"]
    argv += ["-device", "virtio-rng-pci", "-netdev", network, "-device", "virtio-net-pci,netdev=net"]
    with (directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield VirtualMachine(process, port, directory)
    finally:
        process.kill()
        process.wait()
