"""N2: a machine takes all of the metadata server or of the name servers: its neighbours' boots hang."""

from __future__ import annotations

import ast
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stoneware.platforms.local.network import servers as router_servers
from tests.local import router_lab
from tests.local.router_lab import Fake, Lab, wait_until

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

# Opens connections as fast as it can and holds them, each with the beginning of a request. Says how many it
# has got, and then how many of them the server has ended, with which status.
HOLD = """
import collections, resource, select, socket, sys
address, port, count, head = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
links, refused = [], 0
for _ in range(count):
    link = socket.socket()
    link.settimeout(0.5)
    try:
        link.connect((address, port))
        link.sendall(head)
        links.append(link)
    except OSError:
        refused += 1
print("ready", flush=True)
said = collections.Counter(refused=refused)
while links:
    for link in select.select(links, [], [])[0]:
        try:
            said[link.recv(1000)[:12].decode() or "closed"] += 1
        except OSError:
            said["reset"] += 1
        links.remove(link)
print(dict(said), flush=True)
"""
# Asks over several connections until its input ends. Says when it is refused, and then which statuses it got.
FLOOD = """
import collections, re, socket, sys, threading, time
said, ended = collections.Counter(), threading.Event()
size = int(sys.argv[1])
line = b"PUT %sguest-attributes/x/y" if size else b"GET %sname"
head = line % b"/computeMetadata/v1/instance/" + b" HTTP/1.1\\r\\nHost: x\\r\\nMetadata-Flavor: Google\\r\\n"
head += b"Content-Length: %d\\r\\n\\r\\n" % size
def ask():
    while not ended.is_set():
        try:
            with socket.create_connection(("169.254.169.254", 80), 5) as link:
                while not ended.is_set():
                    link.sendall((head + b"x" * size) * 20)
                    answer = link.recv(65536)
                    if not answer:
                        break
                    said.update(re.findall("HTTP/1.1 ...", answer.decode()))
        except OSError:
            said["failed"] += 1
threads = [threading.Thread(target=ask) for _ in range(16)]
print("ready", flush=True)
for thread in threads: thread.start()
for _ in range(30000):
    if not said["HTTP/1.1 429"]: time.sleep(0.01)
print("refused", flush=True)
sys.stdin.read()
ended.set()
for thread in threads: thread.join()
print(dict(said), flush=True)
"""


@contextlib.contextmanager
def running(fake: Fake, code: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    enter = ["nsenter", f"--net=/run/netns/{fake.namespace}", sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen([*enter, *words], stdin=pipe, stdout=pipe, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> dict[str, int]:
    assert child.stdout is not None
    answers: dict[str, int] = ast.literal_eval(child.stdout.readline())
    return answers


@pytest.fixture
def pair(lab: Lab) -> tuple[Fake, Fake]:
    victim, thief = lab.machine("victim"), lab.machine("thief")
    for fake in (victim, thief):
        fake.address()
        assert fake.ask() in {"victim", "thief"}
    return victim, thief


@pytest.mark.parametrize(
    "head", ["GET /computeMeta", "GET / HTTP/1.1\r\nX: ", "PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
def test_idle_requests_hold_up_nobody_else_and_end(lab: Lab, pair: tuple[Fake, Fake], head: str) -> None:
    victim, thief = pair
    with running(thief, HOLD, "169.254.169.254", "80", "1500", head) as child:
        assert [victim.ask() for _ in range(20)] == ["victim"] * 20
        process = router_servers.metadata(lab.router.layout).process()
        assert process is not None
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 300
        if head.startswith("PUT"):
            return  # a body may take longer
        answers = said(child)
        assert sum(answers.values()) == 1500
        assert answers["HTTP/1.1 408"] > 0
        assert answers["HTTP/1.1 503"] + answers.get("reset", 0) + answers["refused"] > 1000
    # The server takes the machine for what it is again.
    wait_until(lambda: thief.ask() == "thief", 300)


@pytest.mark.parametrize("size", [0, 30000], ids=["reading", "writing"])
def test_a_flood_of_requests_is_refused_to_who_sends_it(pair: tuple[Fake, Fake], size: int) -> None:
    victim, thief = pair
    with running(thief, FLOOD, str(size)) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "refused\n"
        asked = [victim.ask() for _ in range(10)]
        child.stdin.close()
        answers = said(child)
    assert asked == ["victim"] * 10
    assert answers["HTTP/1.1 429"] > 0
    wait_until(lambda: thief.ask() == "thief", 300)


def test_waiters_that_have_gone_leave_nothing(lab: Lab, pair: tuple[Fake, Fake]) -> None:
    """Each wait for a change that its client has given up ends in the server too."""
    victim, thief = pair
    url = "http://169.254.169.254/computeMetadata/v1/instance/attributes/?recursive=true&wait_for_change=true"
    script = (
        f"for n in $(seq 40); do curl -s --max-time 0.2 -H 'Metadata-Flavor: Google' '{url}' & done; wait"
    )
    for _ in range(4):  # more than it may have at a time
        thief.sh("sh", "-c", script, check=False)
    wait_until(lambda: thief.ask() == "thief", 300)
    assert victim.ask() == "victim"
    process = router_servers.metadata(lab.router.layout).process()
    assert process is not None
    wait_until(lambda: len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 40, 300)


def test_connections_to_the_name_server_are_counted_too(pair: tuple[Fake, Fake]) -> None:
    """It serves twenty at a time."""
    victim, thief = pair
    script = (
        "import socket, struct\n"
        "name = b'\\x08metadata\\x06google\\x08internal\\0'\n"
        "text = struct.pack('!6H', 7, 0x100, 1, 0, 0, 0) + name + b'\\0\\1\\0\\1'\n"
        "link = socket.create_connection(('169.254.169.254', 53), 60)\n"
        "link.sendall(struct.pack('!H', len(text)) + text)\n"
        "print(len(link.recv(512)))\n"
    )
    with running(thief, HOLD, "169.254.169.254", "53", "40", "x"):
        assert int(victim.sh(sys.executable, "-c", script).stdout) > 0


def test_questions_that_nobody_answers_leave_room_for_others(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name server of all others is asked by one machine for names of its own, and never told."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.78\n")
    monkeypatch.setattr(router_servers, "_RESOLV_CONF", tmp_path / "resolv.conf")
    monkeypatch.setattr(router_servers, "_RESOLVED", tmp_path / "none")
    victim, thief = lab.machine("victim"), lab.machine("thief")
    script = (
        "import socket, struct, sys\n"
        "link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for number in range(int(sys.argv[2])):\n"
        "    label = f'{sys.argv[1]}{number}'.encode()\n"
        "    name = bytes([len(label)]) + label + b'\\4test\\0'\n"
        "    text = struct.pack('!6H', number, 0x100, 1, 0, 0, 0) + name + b'\\0\\1\\0\\1'\n"
        "    link.sendto(text, ('169.254.169.254', 53))\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, ThreadPoolExecutor(1) as pool:
        server.bind(("127.0.0.78", 53))
        server.settimeout(300)

        def seen() -> int:
            count = 0
            while b"victims" not in server.recv(512):
                count += 1
            return count

        for fake in (victim, thief):
            fake.address()
        asked = pool.submit(seen)
        thief.sh(sys.executable, "-c", script, "thiefs", "900")
        victim.sh(sys.executable, "-c", script, "victims", "1")
        assert asked.result() > 150


def test_what_is_sent_wrong_does_not_fill_the_log(lab: Lab, pair: tuple[Fake, Fake]) -> None:
    _, thief = pair
    script = (
        "import socket\n"
        "for n in range(300):\n"
        "    with socket.create_connection(('169.254.169.254', 80), 60) as link:\n"
        "        link.sendall(b'\\x16\\x03 nonsense %d\\r\\n\\r\\n' % n)\n"
        "        link.recv(100)\n"
    )
    thief.sh(sys.executable, "-c", script)
    assert router_servers.metadata(lab.router.layout).log.stat().st_size < 20_000
