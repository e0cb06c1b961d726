"""The build agent, whole, in a directory: bundle, steps, reports, to the seal and the manifest."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from stoneware.guest.builder import write_units
from stoneware.guest.checks import CHECKS
from tests.guest.bakes import TOKEN, Bake
from tests.guest.support import FakeMetadata, Root, tar_of

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]


def test_steps_are_run_reported_and_sealed(bake: Bake, root: Root, metadata: FakeMetadata) -> None:
    root.template("etc/x", "$A ${B:-b}")
    root.put("etc/stoneware/config.schema.json", "{}")
    bake.run_step("echo out; echo err >&2; echo made >made; cat; id -u")
    bake.step(
        "COPY",
        dest="/opt/f",
        chown="",
        chmod="",
        into="auto",
        data_tar=tar_of([{"name": "f", "content": "x"}]),
    )
    bake.step("WORKDIR", path="/srv/app", user="joe")
    bake.members["seal/root/etc/laid"] = b"by the seal"
    bake.bake()
    assert bake.lines(1) == ["out", "err", "0"]
    assert (root.path / "made").read_text() == "made\n"
    assert (root.path / "opt/f").read_text() == "x"
    assert (root.path / "srv/app").stat().st_uid == 1000
    assert (root.path / "etc/laid").read_text() == "by the seal"
    assert (root.path / "usr/lib/stoneware/image/manifest.json").read_text() == '{"schema":1}'
    assert (
        root.path / "usr/lib/os-release"
    ).read_text() == "ID=debian\nIMAGE_ID=hello-app\nIMAGE_VERSION=v1\n"
    assert [(r["step"], r["state"]) for r in metadata.reported("stoneware/build")] == [
        *((n, state) for n in (1, 2, 3) for state in ("running", "done")),
        (3, "sealing"),
        (3, "sealed"),
        (3, "finished"),
    ]
    assert {r["token"] for r in metadata.reported("stoneware/build")} == {TOKEN}
    assert set(bake.checks()) == {check.name for check in CHECKS}
    results = bake.results()
    assert results["etc/stoneware/templates/etc/x"] == b"$A ${B:-b}"
    assert results["etc/stoneware/config.schema.json"] == b"{}"
    assert results["templates.tsv"].splitlines()[0].startswith(b"/etc/x\tA\trequired\t1\t")
    listing = (root.path / "usr/lib/stoneware/image/files.tsv").read_bytes()
    rows = [line.split("\t") for line in listing.decode().splitlines()]
    sizes = sum(int(row[5]) for row in rows if row[5] != "-")
    assert results["files.sum"].split() == [
        hashlib.sha256(listing).hexdigest().encode(),
        b"%d" % len(rows),
        b"%d" % sizes,
    ]
    listed = {row[6]: row for row in rows}
    assert list(listed) == sorted(listed)
    assert listed["/opt/f"] == [hashlib.sha256(b"x").hexdigest(), "f", "644", "0", "0", "1", "/opt/f", ""]
    assert listed["/srv/app"][:5] == ["-", "d", "755", "1000", "1001"]
    assert listed["/etc/os-release"][1:8:6] == ["l", "../usr/lib/os-release"]


def test_a_stage_from_scratch_copies_into_a_directory_of_its_own(bake: Bake, root: Root) -> None:
    bake.files_root = "/.files"
    data = tar_of([{"name": "f", "content": "x"}])
    bake.step("COPY", dest="/opt/f", chown="joe:joe", chmod="", into="auto", data_tar=data)
    bake.step("WORKDIR", path="/srv/app", user="joe")
    bake.bake()
    assert (root.path / ".files/opt/f").stat().st_uid == 0, "a name that only the builder knows"
    assert (root.path / ".files/srv/app").is_dir()
    assert not (root.path / "opt/f").exists()
    assert not (root.path / "srv/app").exists()


def test_a_failing_step_is_reported_and_the_agent_waits_for_abort(bake: Bake, metadata: FakeMetadata) -> None:
    bake.run_step("echo before; exit 7")
    bake.run_step("echo never")
    bake.start()
    report = bake.metadata.wait_report("stoneware/build", lambda r: r["state"] == "failed")
    assert (report["step"], report["exit"]) == (1, 7)
    assert f"{TOKEN} 1 exit 7" in bake.console.read_text()
    assert bake.lines(1) == ["before"]
    assert bake.lines(2) == []
    assert bake.process is not None
    assert bake.process.poll() is None
    metadata.set(stoneware_go="abort")
    assert bake.process.wait(timeout=300) == 0


def test_the_output_of_a_step_ends_with_it(bake: Bake) -> None:
    bake.run_step("echo out")
    patient = bake.agent.replace("(sleep 3 && kill", "(sleep 60 && kill")  # longer than the test waits
    assert patient != bake.agent
    bake.agent = patient
    bake.start()
    bake.metadata.wait_report("stoneware/build", lambda r: r["state"] == "done")
    assert bake.lines(1) == ["out"]


def test_with_checkpoints_each_step_waits_for_the_driver(
    bake: Bake, root: Root, metadata: FakeMetadata
) -> None:
    metadata.set(stoneware_checkpoints="TRUE")
    bake.run_step("echo one >one")
    bake.run_step("echo two >two")
    bake.start()
    metadata.wait_report("stoneware/build", lambda r: (r["step"], r["state"]) == (1, "done"))
    time.sleep(0.3)  # the second step must not start by itself: there is nothing to poll for
    assert not (root.path / "two").exists()
    metadata.set(stoneware_go="1")
    metadata.wait_report("stoneware/build", lambda r: (r["step"], r["state"]) == (2, "done"))
    metadata.set(stoneware_go="2")
    bake.wait("sealed")


def test_output_is_streamed_folded_and_marked(bake: Bake) -> None:
    bake.run_step(
        "head -c 100000 /dev/zero | tr '\\0' x; printf '\\n10%%\\r50%%\\r100%%\\r\\n|&\\\\ /\\n'; "
        "printf 'no end'"
    )
    bake.bake()
    lines = bake.lines(1)
    assert "".join(lines[:-3]).count("x") == 100000, lines[-3:]
    assert max(map(len, lines)) <= 16384
    assert lines[-3:] == ["100%", "|&\\ /", "no end"]


def test_what_a_step_leaves_running_is_ended(bake: Bake) -> None:
    bake.run_step("sleep 1000 & (sleep 1000 & ) ; echo $! >pid; echo started")
    bake.bake()
    assert bake.lines(1) == ["started"]
    pid = int((bake.root.path / "pid").read_text())
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rpartition(") ")[2][0] == "Z"


def test_a_step_for_an_unknown_user_fails_with_a_sentence(bake: Bake) -> None:
    bake.run_step("true", user="ghost")
    bake.start()
    report = bake.metadata.wait_report("stoneware/build", lambda r: r["state"] == "failed")
    assert report["exit"] == 1
    assert bake.lines(1) == ["stoneware: there is no user named ghost in the machine"]


def test_each_step_has_the_builders_name_servers(bake: Bake, root: Root) -> None:
    """As in Docker, also after COPY rootfs/ /, or a package that puts a link there."""
    root.put("etc/resolv.conf", "nameserver 192.0.2.1\n")
    bake.run_step("echo foreign >etc/resolv.conf; cat etc/resolv.conf")
    bake.run_step("cat etc/resolv.conf; ln -sf ../run/resolved/stub.conf etc/resolv.conf")
    bake.run_step("cat etc/resolv.conf; mkdir -p run/resolved; echo started >run/resolved/stub.conf")
    bake.run_step("cat etc/resolv.conf")
    bake.bake()
    ours = "nameserver 192.0.2.1"
    assert [bake.lines(step) for step in (1, 2, 3, 4)] == [["foreign"], [ours], [ours], [ours]]
    assert str((root.path / "etc/resolv.conf").readlink()) == "../run/resolved/stub.conf"


USERS = {"": "0 0", "joe:staff": "1000 50", "1234": "1234 0", "1234:staff": "1234 50", "0:7": "0 7"}


def test_users_of_run(bake: Bake) -> None:
    for user in USERS:
        bake.run_step("echo $(id -u) $(id -g)", user=user)
    bake.bake()
    assert {user: bake.lines(number) for number, user in enumerate(USERS, 1)} == {
        user: [identity] for user, identity in USERS.items()
    }


def test_mounts_of_run_leave_nothing_behind(bake: Bake, root: Root, metadata: FakeMetadata) -> None:
    metadata.build_secrets["secret-tok"] = b"s3cret value\nsecond line\n"
    top = root.path
    bake.members["binds/0/inside"] = b"bound"
    bake.members["binds/1"] = b"a file"
    (top / "kept").mkdir()
    rows = [
        ("secret", f"{top}/made/tok", "secret-tok", "ro", "0440", "3", "4", "TOK", ""),
        ("secret", "", "secret-tok", "ro", "", "", "", "ONLY_ENV", ""),
        ("secret", f"{top}/absent", "", "ro", "", "0", "0", "", ""),
        ("bind", f"{top}/b", "binds/0", "ro", "", "0", "0", "", ""),
        ("bind", f"{top}/deep/er/file", "binds/1", "rw", "", "0", "0", "", ""),
        ("tmpfs", f"{top}/kept/t", "", "rw", "", "0", "0", "", "1048576"),
        ("cache", f"{top}/c", f"{top.parent}/cache", "rw", "0700", "9", "9", "", ""),
    ]
    bake.members["seal/secrets"] = b"secret-tok\n"
    bake.run_step(
        "cat made/tok b/inside deep/er/file; echo; stat -c '%a %u %g' made/tok c; "
        'printf "%s|" "$TOK" "$ONLY_ENV"; echo; echo x >c/cached; echo y >kept/t/gone; echo z >kept/beside; '
        "touch b/w 2>/dev/null || echo read-only; ls absent 2>/dev/null; true",
        mounts="".join("\t".join(row) + "\n" for row in rows),
    )
    bake.bake()
    value = ["s3cret value", "second line"]
    assert bake.lines(1) == [
        *value,
        "bounda file",
        "440 3 4",
        "700 9 9",
        *f"{value[0]}\n{value[1]}\n|{value[0]}\n{value[1]}\n|".split("\n"),
        "read-only",
    ]
    assert (top.parent / "cache/cached").read_text() == "x\n"
    assert sorted(p.name for p in (top / "kept").iterdir()) == ["beside"]
    assert not [name for name in ("made", "b", "deep", "c", "absent") if (top / name).exists()]
    assert bake.checks()["build-secrets"] == "pass"


def test_mounts_inside_others_come_after_them(bake: Bake, root: Root, metadata: FakeMetadata) -> None:
    metadata.build_secrets["secret-tok"] = b"s3cret\n"
    bake.members["seal/secrets"] = b"secret-tok\n"
    top = root.path
    (top / "link").symlink_to("src")
    for number in range(3):
        bake.members[f"binds/{number}/inside"] = f"bound {number}".encode()
    rows = [  # the deepest first, by another name of the place, and one that is covered by a later one
        ("tmpfs", f"{top}/src/a/b", "", "rw"),
        ("cache", f"{top}/link/a", f"{top.parent}/cache", "rw"),
        ("secret", f"{top}/src/tok", "secret-tok", "ro"),
        ("secret", f"{top}/src/a/b/tok", "secret-tok", "ro"),
        ("bind", f"{top}/src", "binds/0", "ro"),
        ("bind", f"{top}/src", "binds/1", "ro"),
        ("bind", f"{top}/src/a/b/c/d", "binds/2", "rw"),
        ("tmpfs", f"{top}/run", "", "rw"),  # the agent's own directory is below it
    ]
    bake.run_step(
        "cat src/inside src/tok src/a/b/tok src/a/b/c/d/inside; echo; "
        "echo x >src/a/b/x; echo y >src/a/y; echo z >run/z; "
        "touch src/w 2>/dev/null || echo read-only; ls run",
        mounts="".join("\t".join([*row, "", "0", "0", "", ""]) + "\n" for row in rows),
    )
    bake.run_step("ls src run/z cover 2>/dev/null; ls run/stoneware/build-agent/cover; true")
    bake.bake()
    assert bake.lines(1) == ["bound 1s3cret", "s3cret", "bound 2", "read-only", "stoneware", "z"]
    assert bake.lines(2) == []
    assert (top.parent / "cache/y").read_text() == "y\n"
    assert not list((top.parent / "cache/b").iterdir())
    assert not (top / "src").exists()


def test_an_early_agent_waits_for_the_end_of_the_boot(
    bake: Bake, root: Root, metadata: FakeMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted = root.path / "run/stoneware/booted"
    monkeypatch.setenv("SW_BOOTED", str(booted))
    root.put("run/stoneware/build", "")
    bake.run_step(f"test -e {booted} && ! test -e {root.path}/run/stoneware/build && echo booted")
    bake.start()
    assert bake.process is not None
    agent_has_bundle = root.path / "run/stoneware/build-agent/members"
    while not agent_has_bundle.exists():
        assert bake.process.poll() is None
        time.sleep(0.01)
    assert metadata.reported("stoneware/build") == []
    booted.touch()
    bake.wait("sealed")
    assert bake.lines(1) == ["booted"]


def test_the_units_of_builders_are_laid_out(tmp_path: Path) -> None:
    write_units(tmp_path / "units")
    wanted = tmp_path / "units/multi-user.target.wants/stoneware-booted.service"
    assert "After=multi-user.target" in wanted.read_text()
    for unit in ("systemd-networkd.service", "systemd-networkd.socket"):
        later = (tmp_path / f"units/{unit}.d/later.conf").read_text()
        assert "ConditionPathExists=/run/stoneware/booted" in later
    startup = (tmp_path / "units/stoneware-startup.service").read_text()
    assert "Environment=SW_BOOTED=/run/stoneware/booted" in startup
    assert "SystemCallFilter=~fsync:0 fdatasync:0 sync:0" in startup


def test_a_bundle_that_is_missing_is_said(bake: Bake, metadata: FakeMetadata) -> None:
    bake.start()
    del metadata.files["bundle.tar"]
    report = metadata.wait_report("stoneware/build", lambda r: r["state"] in ("failed", "sealed"))
    if report["state"] == "failed":
        assert report["message"] == ("the bundle cannot be fetched: The requested URL returned error: 404")
