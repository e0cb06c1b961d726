"""A metadata server in this process, and machines that are only a directory (SW_ROOT)."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stoneware.guest import install
from stoneware.guest.units import encode
from stoneware.model.guest_protocol import BOOT_PATH

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"]}
GUEST = Path(install.__code__.co_filename).parent
# A boot defers its first report by a second, and what failed is tried again after one: here by a tenth of it.
SLEEP = """\
#!/bin/sh
[ "$1" != 1 ] || set -- 0.1
exec /bin/sleep "$@"
"""


class FakeMetadata:
    """What the server hands out and what was reported to it; safe to change while it serves."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.attributes: dict[str, str] = {}
        self.values = {
            "name": "m1",
            "hostname": "m1.zone.c.project.internal",
            "network-interfaces/0/ip": "10.0.0.7",
            "network-interfaces/0/dns-servers": "169.254.169.254",
        }
        self.files: dict[str, bytes] = {}
        self.secrets: dict[str, bytes] = {}
        self.versions: dict[str, tuple[int, bytes]] = {}  # of Secret Manager: status and reply, by path
        self.build_secrets: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}  # what is there for who has the token, by path
        self.pages: dict[str, bytes] = {}  # … and for all
        self.key = b""
        self.results: dict[str, bytes] = {}
        self.reports: list[tuple[str, str]] = []
        self.ours = True  # it answers all that a boot asks for at once; Compute Engine's does not
        self.asked: list[str] = []  # the paths of GET requests
        self.refuse = 0  # so many requests are answered with 503 first
        #: What happens to the next requests for objects and secrets, and uploads of results: a status, no
        #: answer at all (cut), or half of it (half).
        self.faults: list[int | str] = []
        self.url = ""

    def set(self, **attributes: str | None) -> None:
        with self.changed:
            for key, value in attributes.items():
                name = key.replace("_", "-")
                if value is None:
                    self.attributes.pop(name, None)
                else:
                    self.attributes[name] = value
            self.changed.notify_all()

    def mount(self, *mounts: tuple[str, bytes], mode: str = "400", version: str = "1") -> None:
        """Give the machine secrets: (target, content)."""
        lines = []
        for number, (target, content) in enumerate(mounts):
            self.secrets[f"s{number}"] = content
            lines.append(f"{target}\t{mode}\t{self.url}/stoneware/v1/secrets/s{number}\t{version}\n")
        self.set(stoneware_secrets="".join(lines))

    def reported(self, name: str) -> list[Any]:
        """All reports of one guest attribute, JSON decoded where it is JSON."""
        with self.changed:
            texts = [value for key, value in self.reports if key == name]
        return [json.loads(text) if text.startswith("{") else text for text in texts]

    def wait_report(self, name: str, wanted: Callable[[Any], bool], seconds: float = 300) -> Any:
        """Wait for a report in JSON."""
        return json.loads(self.wait_text(name, lambda text: wanted(json.loads(text)), seconds))

    def wait_text(self, name: str, wanted: Callable[[str], bool], seconds: float = 300) -> str:
        """Wait for a report of one guest attribute and return its text."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for key, value in self.reports:
                    if key == name and wanted(value):
                        return value
                left = deadline - time.monotonic()
                assert left > 0, f"no such report of {name} among {self.reports}"
                self.changed.wait(left)

    def look(self, path: str) -> bytes | None:
        if path == BOOT_PATH:
            return self.boot() if self.ours else None
        if path == "attributes/":
            return json.dumps(self.attributes, sort_keys=True).encode()
        if path.startswith("attributes/"):
            text = self.attributes.get(path.removeprefix("attributes/"))
        else:
            text = self.values.get(path)
        return None if text is None else text.encode()

    def boot(self) -> bytes:
        attributes = self.look("attributes/") or b""
        names = ("name", "hostname", "network-interfaces/0/ip", "network-interfaces/0/dns-servers")
        lines = [etag_of(attributes), *(" ".join(self.values.get(name, "").split()) for name in names)]
        return "\n".join(lines).encode() + b"\n" + attributes


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    metadata: FakeMetadata

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, code: int, body: bytes = b"", etag: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        bearer = self.headers.get("Authorization") == "Bearer ya29.token"
        concerned = path in self.metadata.objects or path.startswith("/stoneware/v1/secrets/")
        if concerned and self._fails(self.metadata.objects.get(path, b"")):
            return
        content = self.metadata.pages.get(path) or (self.metadata.objects.get(path) if bearer else None)
        if content is None:
            self._get()
        else:
            start = self._begin(content)
            self.wfile.write(content[start:])

    def _begin(self, content: bytes) -> int:
        """Say that what was asked for comes, and return where it begins."""
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        return start

    def _fails(self, content: bytes = b"") -> bool:
        """Let the next fault happen, and say whether there was one."""
        with self.metadata.changed:
            fault = self.metadata.faults.pop(0) if self.metadata.faults else None
        if isinstance(fault, int):
            self.answer(fault)
        elif fault is not None:
            if fault == "half":
                start = self._begin(content)
                self.wfile.write(content[start : (start + len(content)) // 2])
            self.close_connection = True
        return fault is not None

    def _get(self) -> None:
        path, _, query = self.path.partition("?")
        wants = dict(part.partition("=")[::2] for part in query.split("&") if part)
        server = self.metadata
        if path.endswith(":access") or self.headers.get("Metadata-Flavor") != "Google":
            return self.answer(*self._foreign(path))
        with server.changed:
            if server.refuse > 0:
                server.refuse -= 1
                return self.answer(503)
            server.asked.append(path)
        if path.startswith("/stoneware/v1/files/"):
            content = server.files.get(path.rpartition("/")[2])
            return self.answer(404) if content is None else self.answer(200, content)
        if path.startswith("/stoneware/v1/build-secrets/"):
            good = server.key and self.headers.get("X-Stoneware-Key", "").encode() == server.key
            content = server.build_secrets.get(path.rpartition("/")[2]) if good else None
            return self.answer(404) if content is None else self.answer(200, content)
        if path.startswith("/stoneware/v1/secrets/"):
            content = server.secrets.get(path.rpartition("/")[2])
            return self.answer(404, b"no such secret") if content is None else self.answer(200, content)
        return self._value(path.removeprefix("/computeMetadata/v1/instance/"), wants)

    def _foreign(self, path: str) -> tuple[int, bytes]:
        """Answer as Secret Manager does, which does not get the headers of the metadata server."""
        known = self.headers.get("Authorization") == "Bearer ya29.tok-en_1"
        if not path.endswith(":access") or self.headers.get("Metadata-Flavor"):
            return 403, b""
        return self.metadata.versions.get(path, (404, b"")) if known else (401, b"")

    def _value(self, path: str, wants: Mapping[str, str]) -> None:
        server = self.metadata
        with server.changed:
            body = server.look(path)
            if wants.get("wait_for_change") and body is not None and wants.get("last_etag") == etag_of(body):
                server.changed.wait_for(lambda: server.look(path) != body, float(wants["timeout_sec"]))
                body = server.look(path)
        if body is None:
            return self.answer(404, b"not found")
        return self.answer(200, body, etag_of(body))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.metadata
        with server.changed:
            if self.path.startswith("/stoneware/v1/results/"):
                if self._fails():
                    return
                server.results[self.path.rpartition("/")[2]] = body
            elif self.path == "/stoneware/v1/build-key":
                server.key = server.key or body
            else:
                server.reports.append((self.path.partition("guest-attributes/")[2], body.decode()))
                if b'"state":"secrets"' in body:  # as a driver does that has nothing against it
                    server.attributes["stoneware-serving"] = str(json.loads(body)["step"])
            server.changed.notify_all()
        self.answer(200)


def etag_of(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()[:16]


class _Server(http.server.ThreadingHTTPServer):
    def server_bind(self) -> None:  # the original looks up a host name
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "metadata", self.socket.getsockname()[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[FakeMetadata]:
    metadata = FakeMetadata()
    handler = type("Handler", (_Handler,), {"metadata": metadata})
    server = _Server(("127.0.0.1", 0), handler)
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    metadata.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield metadata
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Root:
    """A directory with the guest files, in which the scripts run as if it were a machine."""

    def __init__(self, path: Path, metadata: FakeMetadata, shell: str) -> None:
        self.path = path
        self.metadata = metadata
        self.shell = SHELLS[shell]
        (path / "usr").mkdir(parents=True)
        for name in ("etc", "var/tmp", "var/log", "root", "tmp", "run/systemd", "proc", "home"):
            (path / name).mkdir(parents=True, exist_ok=True)
        (path / "run/systemd/container").write_text("systemd-nspawn\n")
        (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\njoe:x:1000:1001::/home/joe:/bin/sh\n")
        (path / "etc/group").write_text("root:x:0:\nstaff:x:50:\njoe:x:1001:\n")
        (path / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (path / "usr/lib").mkdir(parents=True, exist_ok=True)
        (path / "usr/lib/os-release").write_text("ID=debian\nIMAGE_ID=old\n")
        (path / "etc/os-release").symlink_to("../usr/lib/os-release")
        install(path)
        self.put("../bin/sleep", SLEEP, 0o755)

    def put(self, name: str, content: str | bytes, mode: int = 0o644) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def template(self, name: str, content: str, mode: int = 0o644) -> Path:
        return self.put(f"etc/stoneware/templates/{name}", content, mode)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            "PATH": f"{self.path.parent}/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
            "SW_ROOT": str(self.path),
            "SW_MDS": self.metadata.url,
            "SW_MDS_TIMEOUT": "5",
            "SW_CONSOLE": str(self.path.parent / "console"),
            **(extra or {}),
        }

    def run(
        self, script: str, *args: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.shell, str(self.path / "usr/lib/stoneware" / script), *args],
            env=self.environment(env),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        # Not text=True, which would change carriage returns.
        return subprocess.CompletedProcess(
            done.args,
            done.returncode,
            *(out.decode(errors="surrogateescape") for out in (done.stdout, done.stderr)),
        )

    def run_unshared(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run lines of sh in a mount namespace of their own."""
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def start(
        self, script: Path | str, *args: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a script that goes on; its own session, so that `finish` ends all of it."""
        return subprocess.Popen(
            [*self.shell, str(self.path / "usr/lib/stoneware" / script), *args],
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def configure(self, values: Mapping[str, str]) -> None:
        self.metadata.set(stoneware_config=encode(values))


def finish(process: subprocess.Popen[bytes]) -> None:
    """End a process started by `Root.start` with all its children."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
    with process:  # closes its pipes
        process.wait(timeout=300)


def tar_of(entries: list[dict[str, Any]]) -> bytes:
    """A tar of entries: name, and content, link or neither (a directory); mode, uid, gid."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry["name"])
            member.mode = int(str(entry.get("mode", "644")), 8)
            member.uid, member.gid = entry.get("uid", 0), entry.get("gid", 0)
            content = entry.get("content", "").encode()
            if "link" in entry:
                member.type, member.linkname = tarfile.SYMTYPE, entry["link"]
            elif "content" not in entry:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
