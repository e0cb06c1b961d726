"""Secrets in a machine: files below /run/secrets, and values of the variables that a schema marks secret."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from stoneware.guest.units import encode
from tests.guest.support import FakeMetadata, Root, finish

pytestmark = pytest.mark.tool
CONTRACT = "usr/lib/stoneware/image/contract.tsv"
BYTES = bytes(range(256)) * 2
HOSTILE = 'it\'s "$HOME" `id` \\n \\\\ żółw\r\n\n & ]]>\t'


def _tree(directory: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {
        str(path.relative_to(directory)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in files
    }


def _leaks(root: Root, metadata: FakeMetadata, secret: str, stderr: str = "") -> list[str]:
    """Everything but the rendered files and what only root may read that holds the secret."""
    said = [stderr, *(value for _, value in metadata.reports)]
    run = root.path / "run/stoneware"
    said += [(run / name).read_text() for name in ("environment", "problems", "status.json", "facts")]
    return [text for text in said if secret in text]


def test_secrets_are_files_byte_for_byte(root: Root, metadata: FakeMetadata) -> None:
    metadata.mount(("all bytes", BYTES), ("sub/dir/empty", b""), ("text", b"one\n"), mode="440")
    done = root.run("stoneware-boot")
    assert (done.returncode, done.stderr) == (0, "")
    assert _tree(root.path / "run/secrets") == {
        "all bytes": (BYTES, 0o440),
        "sub/dir/empty": (b"", 0o440),
        "text": (b"one\n", 0o440),
    }
    own = root.path / "run/stoneware/secrets"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert {path.name for path in own.iterdir()} == {"list", "targets"}


def test_secrets_are_asked_for_again_where_a_connection_is_cut(root: Root, metadata: FakeMetadata) -> None:
    metadata.mount(("token", b"x"))
    metadata.faults = ["cut"]
    done = root.run("stoneware-boot")
    assert (done.returncode, done.stderr) == (0, "")
    assert _tree(root.path / "run/secrets") == {"token": (b"x", 0o400)}
    assert metadata.faults == []


@pytest.mark.parametrize("target", ["DB_PASSWORD", "db-password", "db.password"])
def test_a_marked_variable_gets_its_value_from_a_secret(
    root: Root, metadata: FakeMetadata, target: str
) -> None:
    root.put(CONTRACT, "DB_PASSWORD\tsecret\nDB_PASSWORD\trequired\n")
    root.put("usr/lib/stoneware/image/env", encode({"DB_PASSWORD": "of the image", "OTHER": "kept"}))
    root.template("etc/app.conf", "[$DB_PASSWORD] $OTHER", 0o600)
    root.configure({"DB_PASSWORD": "a plain value"})
    metadata.mount((target, f"{HOSTILE}\n".encode()))
    done = root.run("stoneware-boot")
    assert (done.returncode, done.stderr) == (0, "")
    assert (root.path / "etc/app.conf").read_bytes() == f"[{HOSTILE}] kept".encode()
    environment = root.run("service-exec", "command", "env", "-0").stdout
    assert "OTHER=kept" in environment
    assert "DB_PASSWORD" not in environment
    assert _leaks(root, metadata, "żółw") == []
    assert stat.S_IMODE((root.path / "run/stoneware/values").stat().st_mode) == 0o600


def test_a_variable_that_is_not_marked_does_not_see_secrets(root: Root, metadata: FakeMetadata) -> None:
    root.put(CONTRACT, "OTHER\tsecret\n")
    root.template("x", "${PASSWORD:-none} ${OTHER:-none} ${STONEWARE_NAME}")
    metadata.mount(("password", b"hidden"), ("stoneware-name", b"hidden"))
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "x").read_text() == "none none m1"


def test_the_exact_name_counts_before_the_one_by_convention(root: Root, metadata: FakeMetadata) -> None:
    root.put(CONTRACT, "KEY\tsecret\nSTONEWARE_NAME\tsecret\n")
    root.template("x", "$KEY $STONEWARE_NAME")
    metadata.mount(("key", b"lower"), ("KEY", b"exact"), ("Key", b"mixed"), ("stoneware-name", b"not me"))
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "x").read_text() == "exact m1"


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        ("not a number", "PIN must be a whole number"),
        (
            "4711",
            "/etc/stoneware/templates/x:1: required variable NONE is missing a value: not with ********",
        ),
    ],
)
def test_problems_never_show_a_secret(root: Root, metadata: FakeMetadata, pin: str, said: str) -> None:
    root.put(CONTRACT, "PIN\tsecret\nPIN\tinteger\nGIVEN\tsecret\nEMPTY\tsecret\n")
    root.template("x", "${NONE:?not with $PIN and $GIVEN}\n${EMPTY:?nothing}\n")
    root.configure({"GIVEN": "hush-hush"})
    metadata.mount(("pin", pin.encode()), ("empty", b"\n"))
    done = root.run("stoneware-boot")
    assert done.returncode == 1
    assert said in done.stderr
    run = root.path / "run/stoneware"
    shown = [done.stderr, (run / "problems").read_text(), *(value for _, value in metadata.reports)]
    for secret in (pin, "hush-hush"):
        assert [text for text in shown if secret in text] == []


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("../../etc/shadow", "the secret ../../etc/shadow cannot be a file"),
        ("/etc/../shadow", "the secret /etc/../shadow cannot be a file"),
        ("a/../b", "cannot be a file"),
        (".", "cannot be a file"),
        ("a//b", "cannot be a file"),
        ("a/", "cannot be a file"),
    ],
)
def test_a_target_outside_of_run_secrets_is_refused(
    root: Root, metadata: FakeMetadata, target: str, fault: str
) -> None:
    metadata.mount((target, b"x"))
    assert root.run("stoneware-boot").returncode == 1
    assert fault in metadata.reported("stoneware/status")[-1]["error"]
    assert not (root.path / "run/secrets").exists()


def test_a_missing_secret_and_one_with_a_nul_byte_stop_the_boot(root: Root, metadata: FakeMetadata) -> None:
    root.put(CONTRACT, "BINARY\tsecret\n")
    metadata.mount(("lost", b""), ("binary", b"ab\0cd"))
    del metadata.secrets["s0"]
    assert root.run("stoneware-boot").returncode == 1
    error = metadata.reported("stoneware/status")[-1]["error"]
    assert "the secret lost is not there" in error
    assert "BINARY must not hold a NUL byte" in error
    assert "ab" not in error


def test_a_server_that_fails_is_asked_once_more(root: Root, metadata: FakeMetadata) -> None:
    metadata.mount(("a", b"1"))
    probe = """
. "$SW_ROOT/usr/lib/stoneware/lib.sh"
TAB=$(printf '\\t') PROBLEMS=$SW_RUN/problems
mkdir -p "$SW_RUN/secrets"
. "$SW_LIB/secrets.sh"
printf '%s' "$LIST" >"$SW_RUN/l"
fetch_secrets "$SW_RUN/l"
place_secrets
"""
    root.put("usr/lib/stoneware/probe", probe)
    metadata.refuse = 1
    listed = metadata.attributes["stoneware-secrets"]
    done = root.run("probe", env={"LIST": listed})
    assert (done.returncode, metadata.refuse) == (0, 0), done.stderr
    assert _tree(root.path / "run/secrets") == {"a": (b"1", 0o400)}


def _running(root: Root) -> None:
    assert root.run("stoneware-boot").returncode == 0
    status = root.path / "run/stoneware/status.json"
    status.write_text(status.read_text().replace("configuring", "running"))


def test_a_changed_secret_is_taken_on_by_a_reload(root: Root, metadata: FakeMetadata) -> None:
    root.put(CONTRACT, "KEY\tsecret\n")
    root.template("x", "$KEY")
    metadata.mount(("key", b"1"), ("other", b"gone soon"), version="1")
    _running(root)
    root.put("usr/lib/stoneware/image/reload.argv", "set -- true\n")
    process = root.start("stoneware-watch")
    try:
        metadata.mount(("key", b"2"), version="2")
        metadata.wait_report("stoneware/status", lambda r: r["phase"] == "running" and not r["error"])
        assert (root.path / "x").read_text() == "2"
        assert _tree(root.path / "run/secrets") == {"key": (b"2", 0o400)}
        metadata.set(stoneware_config="X=1\n")
        metadata.mount(("key", b"3"), ("../x", b""), version="3")
        metadata.wait_report("stoneware/status", lambda r: "is not in use" in r["error"])
        assert (root.path / "x").read_text() == "2"
        assert _tree(root.path / "run/secrets") == {"key": (b"2", 0o400)}
    finally:
        finish(process)


def test_without_a_reload_command_a_changed_secret_asks_for_a_restart(
    root: Root, metadata: FakeMetadata
) -> None:
    metadata.mount(("key", b"1"), version="1")
    _running(root)
    process = root.start("stoneware-watch")
    try:
        metadata.mount(("key", b"2"), version="2")
        metadata.wait_report("stoneware/status", lambda r: r.get("restart_needed"))
        assert _tree(root.path / "run/secrets") == {"key": (b"1", 0o400)}
    finally:
        finish(process)


def test_a_builder_gets_no_secrets(root: Root, metadata: FakeMetadata) -> None:
    metadata.mount(("key", b"1"))
    metadata.set(stoneware_mode="build")
    assert root.run("stoneware-boot").returncode == 0
    assert not (root.path / "run/secrets").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_a_mode_for_others_lets_the_user_of_the_image_read_it(root: Root, metadata: FakeMetadata) -> None:
    root.put("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/home/n:/bin/sh\n")
    root.put("usr/lib/stoneware/image/process", "user='nobody' workdir='/'\n")
    metadata.mount(("open", b"yes"), mode="444")
    assert root.run("stoneware-boot").returncode == 0
    done = root.run("service-exec", "command", "cat", str(root.path / "run/secrets/open"))
    assert done.stdout == "yes", done.stderr
    metadata.mount(("open", b"yes"), mode="400")
    assert root.run("stoneware-boot", "--again").returncode == 0
    done = root.run("service-exec", "command", "cat", str(root.path / "run/secrets/open"))
    assert done.returncode != 0


TOKEN = '{"access_token":"ya29.tok-en_1","expires_in":3599,"token_type":"Bearer"}'
AT = "/v1/projects/p/secrets/key/versions"


def _of_cloud(metadata: FakeMetadata, **replies: tuple[int, str]) -> None:
    """Give the machine secrets of Secret Manager: target to status and reply."""
    lines = []
    for number, (target, (status, reply)) in enumerate(replies.items(), 1):
        metadata.versions[f"{AT}/{number}:access"] = (status, reply.encode())
        lines.append(f"{target}\t400\t{metadata.url}{AT}/{number}:access\t{number}\n")
    metadata.values["service-accounts/default/token"] = TOKEN
    metadata.set(stoneware_secrets="".join(lines))


def _payload(value: bytes) -> str:
    data = base64.b64encode(value).decode()
    return json.dumps({"name": "x", "payload": {"data": data, "dataCrc32c": "1"}}, indent=2)


def test_secrets_of_secret_manager_are_fetched_with_the_machines_own_token(
    root: Root, metadata: FakeMetadata
) -> None:
    value = bytes(range(256)) * 3
    root.put(CONTRACT, "plain\tsecret\n")
    root.template("etc/app", "$plain")
    _of_cloud(
        metadata, bytes=(200, _payload(value)), empty=(200, '{"payload":{}}'), plain=(200, _payload(b"v1"))
    )
    done = root.run("stoneware-boot")
    assert (done.returncode, done.stderr) == (0, "")
    files = root.path / "run/secrets"
    assert {path.name: path.read_bytes() for path in files.iterdir()} == {
        "bytes": value,
        "empty": b"",
        "plain": b"v1",
    }
    assert (root.path / "etc/app").read_text() == "v1"
    left = list((root.path / "run/stoneware/secrets").iterdir())
    assert not [path for path in left if b"ya29" in path.read_bytes()]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            403,
            "may not be read by the machine's service account: it needs roles/secretmanager.secretAccessor",
        ),
        (404, "the secret key is not there"),
        (500, "cannot be fetched (HTTP status 500)"),
    ],
)
def test_what_secret_manager_refuses_is_said(
    root: Root, metadata: FakeMetadata, status: int, said: str
) -> None:
    _of_cloud(metadata, key=(status, "{}"))
    done = root.run("stoneware-boot", env={"SW_SECRET_TRIES": "0", "SW_SECRET_RETRIES": "0"})
    assert done.returncode == 1
    assert said in done.stderr
    assert not (root.path / "run/secrets").exists()


def test_a_machine_without_a_service_account_is_told(root: Root, metadata: FakeMetadata) -> None:
    _of_cloud(metadata, key=(200, _payload(b"v")))
    del metadata.values["service-accounts/default/token"]
    done = root.run("stoneware-boot")
    assert "the machine has no service account" in done.stderr


def test_secrets_come_from_both_places(root: Root, metadata: FakeMetadata) -> None:
    metadata.mount(("local", b"here"))
    own = metadata.attributes["stoneware-secrets"]
    _of_cloud(metadata, cloud=(200, _payload(b"there")))
    metadata.set(stoneware_secrets=own + metadata.attributes["stoneware-secrets"])
    assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "run/secrets/local").read_bytes() == b"here"
    assert (root.path / "run/secrets/cloud").read_bytes() == b"there"
