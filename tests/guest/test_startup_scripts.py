"""Startup and shutdown scripts of machines: where they are from, and when they run."""

from __future__ import annotations

import time

import pytest

from tests.guest.support import FakeMetadata, Root, finish

pytestmark = pytest.mark.tool


def test_the_startup_script_chooses_its_interpreter(root: Root) -> None:
    root.put("run/stoneware/startup-script", "#! /usr/bin/awk -f\nBEGIN { print 6 * 7 }\n")
    said = "startup-script: 42\nstartup-script exit status 0\n"
    assert root.run("stoneware-startup").stdout == said
    assert (root.path.parent / "console").read_text() == said  # what the serial port shows


def test_the_runner_of_the_startup_script_ends_well_whatever_the_script_does(root: Root) -> None:
    root.put("run/stoneware/startup-script", "echo begun\necho wrong >&2\nexit 7\n")
    done = root.run("stoneware-startup")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "startup-script exit status 7"
    assert set(done.stdout.splitlines()[:2]) == {"startup-script: begun", "startup-script: wrong"}


def test_both_startup_scripts_run_the_script_itself_first(root: Root, metadata: FakeMetadata) -> None:
    metadata.pages["/script"] = b"#!/bin/sh\necho from afar; exit 3\n"
    metadata.set(startup_script="echo own", startup_script_url=f"{metadata.url}/script\n")
    assert root.run("stoneware-boot").returncode == 0
    done = root.run("stoneware-startup")
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "startup-script: own",
            "startup-script exit status 0",
            "startup-script-url: from afar",
            "startup-script-url exit status 3",
        ],
    )
    assert (root.path.parent / "console").read_text() == done.stdout


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("gs://bucket/a/b.sh", "/bucket/a/b.sh"),
        ("gs://bucket/a b%.sh", "/bucket/a%20b%25.sh"),
        ("https://storage.googleapis.com/bucket/a%20b", "/bucket/a%20b"),
        ("https://storage.cloud.google.com/bucket/a", "/bucket/a"),
        ("http://commondatastorage.googleapis.com/bucket/a", "/bucket/a"),
        ("https://bucket.storage.googleapis.com/a/b", "/bucket/a/b"),
    ],
)
def test_a_script_in_a_bucket_is_got_with_the_machines_token(
    root: Root, metadata: FakeMetadata, url: str, path: str
) -> None:
    token = '{"access_token":"ya29.token","expires_in":3000,"token_type":"Bearer"}'
    metadata.values["service-accounts/default/token"] = token
    metadata.objects[path] = b"echo got it\n"
    root.put("run/stoneware/startup-script-url", url)
    done = root.run("stoneware-startup", env={"SW_ENDPOINT": metadata.url})
    assert done.stdout == "startup-script-url: got it\nstartup-script-url exit status 0\n"


def test_a_script_that_is_nowhere_is_said(root: Root, metadata: FakeMetadata) -> None:
    url = f"{metadata.url.rpartition(':')[0]}:1/script"
    root.put("run/stoneware/startup-script-url", url)
    done = root.run("stoneware-startup")
    assert done.returncode == 0
    assert done.stdout.startswith(f"startup-script-url: cannot get {url}: curl: (7) ")


def test_blanks_before_a_script_are_taken_away(root: Root) -> None:
    root.put("run/stoneware/startup-script", "\n\n   #!/usr/bin/awk -f\n\nBEGIN { print 6 * 7 }\n")
    assert root.run("stoneware-startup").stdout.startswith("startup-script: 42\n")


def test_the_shutdown_script_is_that_of_the_end(root: Root, metadata: FakeMetadata) -> None:
    metadata.pages["/bye"] = b"echo bye from afar\n"
    metadata.set(shutdown_script="echo old", shutdown_script_url=f"{metadata.url}/bye")
    assert root.run("stoneware-boot").returncode == 0
    assert root.run("stoneware-startup").stdout == ""  # the boot runs none
    metadata.set(shutdown_script="echo new")
    said = root.run("stoneware-startup", "shutdown").stdout.splitlines()
    assert said[0::2] == ["shutdown-script: new", "shutdown-script-url: bye from afar"]
    metadata.set(shutdown_script=None, shutdown_script_url=None)
    assert root.run("stoneware-startup", "shutdown").stdout == ""


def test_a_shutdown_script_that_comes_later_is_noted(root: Root, metadata: FakeMetadata) -> None:
    assert root.run("stoneware-boot").returncode == 0
    assert not (root.path / "run/stoneware/shutdown-script").exists()
    watching = root.start("stoneware-watch")
    try:
        metadata.set(shutdown_script="echo late")
        deadline = time.monotonic() + 300
        while not (root.path / "run/stoneware/shutdown-script").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        finish(watching)
