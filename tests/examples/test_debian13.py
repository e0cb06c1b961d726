"""The hello example on debian:13, whose systemd, awk and apt are newer ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import EXAMPLES, Program
from .test_hello import HOSTILE, get

pytestmark = pytest.mark.machine


def test_the_example_on_debian_13(program: Program, tmp_path: Path) -> None:
    context = tmp_path / "hello"
    shutil.copytree(EXAMPLES / "hello", context)
    text = (context / "Machinefile").read_text()
    assert "\nFROM debian:12\n" in text
    (context / "Machinefile").write_text(text.replace("\nFROM debian:12\n", "\nFROM debian:13\n"))
    baked = program.bake("hello-trixie", context)
    try:
        for name, options in (("trixie", ()), ("trixie-ro", ("--read-only",))):
            machine = program.boot(name, *options, "-e", f"GREETING={HOSTILE}", "hello-trixie")
            page, _ = get(machine["ip"])
            assert f"<h1>{HOSTILE}</h1>" in page
            assert f"Image {baked['image_id']}" in page
            state = ("systemctl", "is-system-running", "--wait")
            assert program.run("exec", name, *state).stdout.strip() == "running"
            release = program.run("exec", name, "cat", "/etc/os-release").stdout
            assert "VERSION_CODENAME=trixie" in release
            assert "IMAGE_ID=hello-trixie" in release.replace('"', "")
            # Its systemd gives services root's name and hands on what capabilities it has inherited itself.
            main = "/proc/$(systemctl show -P MainPID hello-trixie)"
            status = program.run("exec", name, "sh", "-c", f"cat {main}/status").stdout
            assert "CapInh:\t0000000000000000\n" in status
            environ = program.run("exec", name, "sh", "-c", f"tr '\\0' '\\n' <{main}/environ").stdout.split(
                "\n"
            )
            assert [line for line in environ if line.startswith(("USER=", "LOGNAME=", "SHELL="))] == []
            program.run("stop", name)
            assert program.machine(name)["phase"] == "stopped"
    finally:
        program.run("rm", "-f", "trixie", "trixie-ro", check=False)
        program.run("rmi", "hello-trixie")
