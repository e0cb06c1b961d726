"""The guest scripts in real machines: services that end, units that fail, an image as it was sealed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.guest.units import encode, health_override
from stoneware.model.guest_protocol import COMMANDS
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import SecretMount
from stoneware.platforms.declared import ask
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from tests import commands
from tests.guest.support import GUEST

pytestmark = pytest.mark.machine
MACHINEFILE = """\
FROM debian:12 AS packages
COPY package.sh /tmp/
RUN sh /tmp/package.sh packaged && sh /tmp/package.sh chosen && systemctl enable chosen && mkdir /run/left
RUN ! systemctl is-active packaged chosen
FROM packages
COPY --from=packages /tmp/packaged.deb /srv/
RUN test -e /tmp/package.sh && test -e /tmp/chosen/DEBIAN/postinst && mkdir -p /var/tmp/kept
RUN ! systemctl is-active packaged chosen && systemctl start packaged && test -e /tmp/packaged-ran
RUN useradd --create-home app && printf '[Service]\\nExecStart=/bin/sh -c "echo unit says no; exit 4"\\n' \
    >/etc/systemd/system/broken.service
RUN printf '[Unit]\\nConditionPathExists=/etc/break\\n[Install]\\nWantedBy=multi-user.target\\n' \
    >>/etc/systemd/system/broken.service && systemctl enable broken.service
COPY break.tmpl /etc/stoneware/templates/etc/greeting
COPY --chmod=755 tell /etc/stoneware/commands/
RUN ln -s /dev/stdout /var/log/app.log && setpriv --reuid=app --clear-groups sh -c 'echo theirs >/dev/stderr'
USER app
RUN echo step >/dev/stdout && echo step >/dev/stderr && echo log >/var/log/app.log
WORKDIR /home/app
ENV CODE=0 GREETING=none
CMD ["sh", "-c", "echo \\"$(id -un) in $PWD is $GREETING\\" >/dev/stdout; echo logged >/var/log/app.log; \
sh -c 'echo complained >/dev/stderr' 2>&1 | cat >&2; [ $CODE = stay ] && exec sleep 99; exit $CODE"]
"""


class Program:
    """The stoneware command with one store; every machine it makes is removed at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *words: str, code: int = 0, cwd: Path | None = None) -> str:
        done = commands.run(words, env={**os.environ, "STONEWARE_HOME": str(self.home)}, cwd=cwd)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def wait(self, name: str, phase: str, seconds: float = 300) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            found = [m for m in json.loads(self("ps", "-a", "--json")) if m["name"] == name]
            if found and found[0]["phase"] == phase:
                return dict(found[0])
            assert time.monotonic() < deadline, found
            time.sleep(0.05)


@pytest.fixture(scope="module")
def image(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, str]]:
    program = Program(machine_home)
    context = tmp_path_factory.mktemp("guest")
    (context / "Machinefile").write_text(MACHINEFILE)
    (context / "break.tmpl").write_text("${GREETING}\n")
    (context / "tell").write_text('#!/bin/sh\necho "$(id -un) $GREETING $GATE $*"; exit 3\n')
    shutil.copy(Path(__file__).parent / "cases/package.sh", context)
    baked = json.loads(program("bake", "-t", "guest-test", "--json", ".", cwd=context))
    yield program, baked["image_id"]
    for machine in json.loads(program("ps", "-a", "--json")):
        if machine["name"].startswith("guest-test-"):
            program("rm", "-f", machine["name"])


@pytest.fixture(scope="module")
def running(image: tuple[Program, str]) -> tuple[Program, str]:
    """A machine of the image whose service stays; tests leave it as it is."""
    program, _ = image
    program("run", "-d", "--wait", "--name", "guest-test-stays", "-e", "CODE=stay", "guest-test")
    return program, "guest-test-stays"


def test_a_machine_ends_with_its_service_and_its_exit_code(image: tuple[Program, str]) -> None:
    program, _ = image
    program(
        "run",
        "-d",
        "--name",
        "guest-test-code",
        "-e",
        "CODE=7",
        "-e",
        'GREETING=it\'s "me" $HOME',
        "guest-test",
    )
    machine = program.wait("guest-test-code", "stopped")
    assert "ended with exit code 7" in machine["error"]
    for line in ('app in /home/app is it\'s "me" $HOME', "logged", "complained"):
        assert line in machine["error"]
        assert line in program("logs", "guest-test-code")
    said = program(
        "run", "--rm", "guest-test", "sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr; id -un"
    )
    assert said == "out\napp\n"


def test_output_and_input_can_be_opened_by_name_by_any_user(running: tuple[Program, str]) -> None:
    program, name = running
    script = "echo out >/dev/stdout && echo err >/dev/stderr && echo log >/var/log/app.log"
    become = ("setpriv", "--reuid=app", "--regid=app", "--clear-groups")
    for words in (("-u", "app", name), (name, *become)):
        assert program("exec", *words, "sh", "-c", script) == "out\nlog\n"
    service = "$(systemctl show -p MainPID --value guest-test)"
    look = f"stat -Lc '%F %U' /proc/{service}/fd/1 /proc/{service}/fd/2; journalctl -u guest-test -o cat"
    shown = program("exec", name, "sh", "-c", look)
    assert shown.splitlines()[:2] == ["fifo app"] * 2
    assert "logged" in shown.splitlines()


def test_it_runs_commands_that_its_image_declares(running: tuple[Program, str]) -> None:
    program, name = running
    assert json.loads(program("inspect", "guest-test"))["commands"] == ["tell"]
    platform = LocalPlatform(Store.open(program.home))
    words = ("/usr/bin/env", "GATE=before", f"{COMMANDS}tell", "a  b")
    assert ask(platform, name, words, timeout=10) == (3, "root none before a  b\n")
    assert ask(platform, name, [f"{COMMANDS}passwd"], timeout=10)[0] == 127
    assert platform.observe(name) is not None


def test_a_unit_of_the_image_that_fails_is_the_machines_failure(image: tuple[Program, str]) -> None:
    program, _ = image
    program("run", "-d", "--name", "guest-test-unit", "-e", "CODE=stay", "guest-test")
    program.wait("guest-test-unit", "running")
    program("exec", "guest-test-unit", "touch", "/etc/break")
    program("exec", "guest-test-unit", "systemctl", "start", "broken.service")
    machine = program.wait("guest-test-unit", "failed")
    assert machine["error"].startswith("broken.service failed (exit code 4)")
    assert "unit says no" in machine["error"]


def test_the_sign_of_a_machine_that_is_up_goes_before_its_services(running: tuple[Program, str]) -> None:
    program, name = running
    # systemd stops in the reverse order of starts.
    after = program("exec", name, "systemctl", "show", "-P", "After", "stoneware-report").split()
    assert {"guest-test.service", "chosen.service"} <= set(after)
    program("exec", name, "test", "-d", "/run/stoneware/up")
    program("exec", name, "systemctl", "stop", "stoneware-report")
    try:
        program("exec", name, "test", "!", "-e", "/run/stoneware/up")
        program("exec", name, "test", "-e", "/run/stoneware/booted.sent")
    finally:
        program("exec", name, "systemctl", "start", "stoneware-report")


def test_only_what_a_step_enabled_starts_beside_the_service(running: tuple[Program, str]) -> None:
    program, name = running
    units = {unit["name"]: unit for unit in json.loads(program("inspect", "guest-test"))["units"]}
    assert {name: (unit["enabled_by"], unit["starts"]) for name, unit in units.items()} == {
        "broken.service": ("step", True),
        "chosen.service": ("step", True),
        "guest-test.service": ("image", True),
        "packaged.service": ("package", False),
    }
    assert program("exec", name, "systemctl", "is-active", "packaged", "chosen").split() == [
        "inactive",
        "active",
    ]
    program("exec", name, "systemctl", "start", "packaged")
    assert program("exec", name, "ls", "/srv") == "packaged.deb\n"


def test_a_service_that_is_not_roots_has_low_ports_and_no_capabilities(running: tuple[Program, str]) -> None:
    program, name = running
    listen = "use IO::Socket::INET; IO::Socket::INET->new(LocalPort => 80, Listen => 1) or die $!; print 'ok'"
    assert program("exec", "-u", "app", name, "perl", "-e", listen) == "ok"
    show = "cat /proc/$(systemctl show -P MainPID guest-test)/status"
    status = program("exec", name, "sh", "-c", show)
    assert "CapInh:\t0000000000000000\n" in status
    assert "CapInh:\t0000000000000000\n" in program("exec", name, "cat", "/proc/self/status")


def _answer(platform: LocalPlatform, name: str, nonce: str, seconds: float = 300) -> list[str]:
    platform.set_metadata(name, {"stoneware-inspect": nonce})
    deadline = time.monotonic() + seconds
    while True:
        text = platform.guest_attributes(name).get("stoneware/inspection", "")
        if text.startswith(f"{nonce}\n"):
            return text.splitlines()[1:]
        assert time.monotonic() < deadline, text
        time.sleep(0.01)


def test_a_machine_has_its_secrets_and_tells_of_a_hand_edit(image: tuple[Program, str]) -> None:
    program, image_id = image
    platform = LocalPlatform(Store.open(program.home))
    version = platform.put_secret("guest-test-key", b"hush\n")
    name = "guest-test-cluster"
    spec = MachineSpec(
        name,
        f"image:{image_id}",
        metadata={
            "stoneware-config": encode({"CODE": "stay", "GREETING": "hello"}),
            "stoneware-healthcheck": health_override(("test", "-e", "/run/secrets/keys/one")),
        },
        secrets=(SecretMount("guest-test-key", "keys/one", version, 0o444),),
    )
    try:
        platform.create(spec)
        program.wait(name, "running")
        assert program("exec", "-u", "app", name, "cat", "/run/secrets/keys/one") == "hush\n"
        written = platform.guest_attributes(name)["stoneware/files"].splitlines()
        assert _answer(platform, name, "first") == written
        assert [line.partition("  ")[2] for line in written] == ["/etc/greeting"]
        program("exec", name, "sh", "-c", "echo bye >/etc/greeting")
        assert _answer(platform, name, "second") != written
        assert program.wait(name, "running")["health"] == "healthy"
        assert "hush" not in program("logs", name) + str(platform.guest_attributes(name))
    finally:
        platform.destroy(name)
        platform.destroy_secret("guest-test-key")


def test_the_image_is_what_was_sealed(image: tuple[Program, str], tmp_path: Path) -> None:
    program, image_id = image
    rootfs = program.home / "data/images" / image_id.removeprefix("sha256:") / "rootfs"
    script = (
        f'note() {{ :; }}; . {GUEST}/lib.sh; . {GUEST}/build/lists.sh; : >"$WORK/known"; scan && write_files'
    )
    env = {"PATH": os.environ["PATH"], "SW_ROOT": str(rootfs), "WORK": str(tmp_path)}
    # The image is read-only, so the lists cannot be put into it: only that last copy may fail.
    subprocess.run(["sh", "-c", script], env=env, capture_output=True, check=False)
    now = (tmp_path / "files.tsv").read_text().splitlines()
    sealed = (rootfs / "usr/lib/stoneware/image/files.tsv").read_text().splitlines()
    assert [line for line in now if line not in set(sealed)] == []
    assert len(now) == len(sealed)
    assert (rootfs / "etc/machine-id").read_bytes() == b""
    # What keeps packages' services from starting is there for steps only.
    assert not (rootfs / "usr/sbin/policy-rc.d").exists()
    assert not (rootfs / "etc/dpkg/dpkg.cfg.d/stoneware-bake").exists()
    assert [list((rootfs / name).iterdir()) for name in ("tmp", "var/tmp")] == [[], []]
