"""The build agent, whole, in a directory: bundle, steps, reports, seal, checks, lists, manifest."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from stoneware.guest.agent import build_agent_script
from stoneware.guest.builder import write_units
from stoneware.guest.checks import CHECKS
from tests.guest.support import FakeMetadata, Root, finish, tar_of

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]

TOKEN = "0123456789abcdef"


class Bake:
    """One builder: its bundle, its agent, what it reported."""

    def __init__(self, root: Root, metadata: FakeMetadata) -> None:
        self.root = root
        self.metadata = metadata
        self.console = root.path.parent / "console"
        self.members: dict[str, bytes] = {}
        self.count = 0
        self.files_root = ""
        self.agent = build_agent_script()
        self.process: subprocess.Popen[bytes] | None = None
        metadata.set(
            stoneware_token=TOKEN,
            stoneware_bundle=f"{metadata.url}/stoneware/v1/files/bundle.tar",
            stoneware_results=f"{metadata.url}/stoneware/v1/results/sealed.tar",
            stoneware_checkpoints="FALSE",
            stoneware_go="0",
        )

    def step(self, kind: str, **files: str | bytes) -> int:
        self.count += 1
        content = {"kind": kind, "title": f"{kind} {self.count}", **files}
        for name, value in content.items():
            data = value.encode() if isinstance(value, str) else value
            self.members[f"steps/{self.count:04d}/{name.replace('data_tar', 'data.tar')}"] = data
        return self.count

    def run_step(self, script: str, user: str = "", mounts: str = "") -> int:
        quoted = script.replace("'", "'\\''")
        run = f"cd {self.root.path} || exit 1\nexec env -i PATH=/usr/bin:/bin sh -c '{quoted}'\n"
        return self.step("RUN", run=run, user=user, mounts=mounts)

    def start(self) -> None:
        header = f"NAME='Hello/App'\nVERSION='V1'\nFIRST='1'\nLAST='{self.count}'\n"
        header += f"FILES_ROOT='{self.files_root}'\n" if self.files_root else ""
        header += "SECRETS='yes'\n" if self.metadata.build_secrets else ""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in {"bundle.env": header.encode(), **self.members}.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
        self.metadata.files["bundle.tar"] = stream.getvalue()
        self.console.write_bytes(b"")
        self.root.put("usr/lib/stoneware/agent", self.agent)
        self.process = self.root.start("agent")

    def wait(self, state: str, seconds: float = 120) -> dict[str, Any]:
        final = {state, "failed"}
        report = self.metadata.wait_report("stoneware/build", lambda r: r["state"] in final, seconds)
        assert report["state"] == state, f"{report}\n{self.console.read_text(errors='replace')}"
        return dict(report)

    def bake(self) -> None:
        self.start()
        self.wait("sealed")
        self.metadata.set(stoneware_manifest='{"schema":1}')
        self.wait("finished")

    def lines(self, number: int) -> list[str]:
        mark = f"{TOKEN} {number}| "
        text = self.console.read_text(errors="replace")
        return [line.removeprefix(mark) for line in text.splitlines() if line.startswith(mark)]

    def results(self) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(self.metadata.results["sealed.tar"])) as archive:
            return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]

    def checks(self) -> dict[str, str]:
        found = re.findall(rf"^{TOKEN} check (\S+) \S+ (\S+)", self.console.read_text(errors="replace"), re.M)
        return dict(found)


@pytest.fixture
def bake(root: Root, metadata: FakeMetadata) -> Any:
    builder = Bake(root, metadata)
    yield builder
    if builder.process is not None:
        finish(builder.process)


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
    assert bake.process.wait(timeout=60) == 0


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


@pytest.mark.parametrize(
    ("user", "identity"),
    [("", "0 0"), ("joe:staff", "1000 50"), ("1234", "1234 0"), ("1234:staff", "1234 50"), ("0:7", "0 7")],
)
def test_users_of_run(bake: Bake, user: str, identity: str) -> None:
    bake.run_step("echo $(id -u) $(id -g)", user=user)
    bake.bake()
    assert bake.lines(1) == [identity]


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


def _plants(root: Path) -> dict[str, Any]:
    def put(name: str, content: str, mode: int = 0o644) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)

    def put_two_kernels() -> None:
        put("boot/vmlinuz-1", "x")
        put("boot/vmlinuz-2", "x")

    return {
        "private-keys": lambda: put("srv/k.pem", "x\n-----BEGIN RSA PRIVATE KEY-----\nMII\n"),
        "cloud-tokens": lambda: put("srv/env", "AWS=AKIAIOSFODNN7EXAMPLE\n"),
        "build-secrets": lambda: put("srv/copy", "the value is hunter2hunter2, yes\n"),
        "world-writable": lambda: put("usr/local/w", "x", 0o666),
        "setuid": lambda: put("usr/local/s", "x", 0o4755),
        "one-kernel": put_two_kernels,
    }


@pytest.mark.parametrize("name", sorted(_plants(Path())))
def test_a_leak_is_found(bake: Bake, root: Root, metadata: FakeMetadata, name: str) -> None:
    metadata.build_secrets["secret-tok"] = b"hunter2hunter2\n"
    bake.members["seal/secrets"] = b"secret-tok\n"
    bake.run_step("true", mounts=f"secret\t{root.path}/tok\tsecret-tok\tro\t\t0\t0\t\t\n")
    _plants(root.path)[name]()
    severity = {check.name: check.severity for check in CHECKS}[name]
    bake.start()
    report = metadata.wait_report("stoneware/build", lambda r: r["state"] in ("sealed", "failed"))
    assert {check for check, outcome in bake.checks().items() if outcome == "fail"} == {name}
    assert report["state"] == ("failed" if severity == "error" else "sealed")


_UNIT = "etc/systemd/system/stoneware-boot.service"
_WANT = "etc/systemd/system/multi-user.target.wants/stoneware-boot.service"


@pytest.mark.parametrize(
    ("found", "command"),
    [
        ("usr/lib/stoneware/lib.sh", "rm -rf {root}/usr/lib/stoneware/lib.sh"),
        ("usr/lib/stoneware/stoneware-boot", "chmod 0 {root}/usr/lib/stoneware/stoneware-boot"),
        ("usr/lib/stoneware/stoneware-report", ": >{root}/usr/lib/stoneware/stoneware-report"),
        (_UNIT, f"ln -s /dev/null {{root}}/{_UNIT}"),
        (_UNIT, f": >{{root}}/{_UNIT}"),
        (_WANT, f"rm {{root}}/{_WANT}"),
        (_WANT, f"ln -sf /dev/null {{root}}/{_WANT}"),
        (
            "etc/systemd/system/default.target",
            "ln -sf /usr/lib/systemd/system/rescue.target {root}/etc/systemd/system/default.target",
        ),
    ],
)
def test_an_image_that_would_not_boot_as_a_machine_is_refused(
    bake: Bake, root: Root, metadata: FakeMetadata, found: str, command: str
) -> None:
    bake.run_step("true")
    subprocess.run(["sh", "-c", command.format(root=root.path)], check=True)
    bake.start()
    report = metadata.wait_report("stoneware/build", lambda r: r["state"] in ("sealed", "failed"))
    assert report["state"] == "failed"
    assert f"check boot-agent error fail /{found}" in bake.console.read_text()


def test_a_check_can_be_skipped_by_name(bake: Bake, root: Root) -> None:
    _plants(root.path)["private-keys"]()
    bake.members["seal/checks.skip"] = b"private-keys\n"
    bake.bake()
    assert bake.checks()["private-keys"] == "skip"


def test_keys_that_a_package_brought_are_no_leak(bake: Bake, root: Root) -> None:
    _plants(root.path)["private-keys"]()
    root.put("var/lib/dpkg/info/keys.list", "/srv/k.pem\n")
    bake.bake()
    assert bake.checks()["private-keys"] == "pass"


def test_the_seal_takes_identity_and_residue_away(bake: Bake, root: Root) -> None:
    gone = [
        "etc/hostname", "etc/resolv.conf", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub",
        "var/lib/systemd/random-seed", "var/lib/dhcp/dhclient.leases", "var/lib/apt/lists/x_y_Packages",
        "var/cache/apt/pkgcache.bin", "var/cache/apt/archives/a.deb", "root/.bash_history",
        "home/joe/.bash_history",
        "var/tmp/x", "etc/passwd-", "var/log/dpkg.log", "var/log/old.log.1.gz", "var/lib/dpkg/status-old",
    ]  # fmt: skip
    for name in gone:
        root.put(name, "x")
    root.put("etc/machine-id", "0123\n")
    root.put("var/log/app.log", "line\n", 0o640)
    root.put("etc/hosts", "127.0.0.1 localhost\n10.0.0.1 builder # stoneware\n")
    bake.bake()
    assert [name for name in gone if (root.path / name).exists()] == []
    assert (root.path / "etc/machine-id").read_bytes() == b""
    assert (root.path / "var/log/app.log").read_bytes() == b""
    assert (root.path / "etc/hosts").read_text() == "127.0.0.1 localhost\n"
    assert set(bake.checks().values()) <= {"pass", "skip"}


BUILDER = "bake-0123abcd-0"
ELDER = "bake-4567cdef-1"  # an earlier builder, whose steps came from a checkpoint
# What packages write down when they are installed: a file, what is in it, what is left of it (None: nothing).
IDENTITY = {
    "var/lib/rabbitmq/.erlang.cookie": ("ABCDEFGHIJKLMNOPQRST", None),
    "var/lib/ejabberd/.erlang.cookie": ("ABCDEFGHIJKLMNOPQRST", None),
    f"var/lib/rabbitmq/mnesia/rabbit@{BUILDER}/schema.DAT": ("x", None),
    f"var/lib/rabbitmq/mnesia/rabbit@{ELDER}.pid": ("1", None),
    "var/lib/rabbitmq/mnesia/rabbit@localhost/schema.DAT": ("x", "x"),
    "etc/iscsi/initiatorname.iscsi": (
        "## x\nInitiatorName=iqn.1993-08.org.debian:01:8c5b7d\n",
        "GenerateName=yes\n",
    ),
    "etc/nvme/hostnqn": ("nqn.2014-08.org.nvmexpress:uuid:1\n", None),
    "etc/nvme/hostid": ("1\n", None),
    "var/lib/snmp/snmpd.conf": ("engineBoots 1\noldEngineID 0x80\nlog 1\n", "log 1\n"),
    "etc/mailname": (f"{ELDER}.internal\n", None),
    "etc/postfix/main.cf": (
        f"myhostname = {BUILDER}.internal\nmydestination = $myhostname, {BUILDER}, localhost.localdomain\n",
        "mydestination = $myhostname, localhost.localdomain\n",
    ),
    "etc/exim4/update-exim4.conf.conf": (
        f"dc_eximconfig_configtype='local'\ndc_other_hostnames='{BUILDER}'\n",
        "dc_eximconfig_configtype='local'\ndc_other_hostnames=''\n",
    ),
    "etc/aliases.db": (f"\0YP_MASTER_NAME\0{BUILDER}\0", None),
    "etc/bind/rndc.key": ("x", None),
    "etc/munge/munge.key": ("x", None),
    "var/lib/mysql/auto.cnf": ("[auto]\nserver-uuid=1\n", None),
}


def _built_in(root: Root) -> None:
    root.put("run/stoneware/md/name", f"{BUILDER}\n")
    root.put("run/stoneware/md/ip", "172.30.0.12\n")
    root.put("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    root.put("usr/lib/stoneware/image/builders", f"name {ELDER}\nip 172.30.0.99\n")


def test_what_packages_make_once_is_taken_out(bake: Bake, root: Root) -> None:
    _built_in(root)
    for name, (text, _) in IDENTITY.items():
        root.put(name, text)
    bake.bake()
    left = {name: (root.path / name).read_text() for name in IDENTITY if (root.path / name).exists()}
    assert left == {name: rest for name, (_, rest) in IDENTITY.items() if rest is not None}
    assert set(bake.checks().values()) <= {"pass", "skip"}
    assert not (root.path / "usr/lib/stoneware/image/builders").exists()
    assert f"{TOKEN} note /etc/nvme/hostid is left out" in bake.console.read_text()


@pytest.mark.parametrize(
    ("check", "name", "text"),
    [
        ("erlang-cookie", "var/lib/rabbitmq/.erlang.cookie", "x"),
        ("rabbitmq-node", f"var/lib/rabbitmq/mnesia/rabbit@{BUILDER}", "x"),
        ("iscsi-initiator", "etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:1\n"),
        ("nvme-host", "etc/nvme/hostnqn", "nqn.1\n"),
        ("snmp-engine", "var/lib/snmp/snmpd.conf", "oldEngineID 0x80\n"),
        ("mailname", "etc/mailname", f"{BUILDER}\n"),
        ("postfix-hostname", "etc/postfix/main.cf", f"myhostname = {BUILDER}\n"),
        ("service-identity", "var/lib/mysql/auto.cnf", "server-uuid=1\n"),
    ],
)
def test_a_check_that_is_skipped_keeps_what_it_is_about(
    bake: Bake, root: Root, check: str, name: str, text: str
) -> None:
    _built_in(root)
    root.put(name, text)
    bake.members["seal/checks.skip"] = f"{check}\n".encode()
    bake.bake()
    assert (root.path / name).read_text() == text
    assert bake.checks()[check] == "skip"


def test_what_an_author_chose_is_not_replaced_but_found(bake: Bake, root: Root) -> None:
    _built_in(root)
    root.put("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2020-01.org.example:me\n")
    root.put("var/lib/snmp/snmpd.conf", "usmUser 1 3 0x80 0x1\n")
    root.put("etc/mailname", "example.org\n")
    bake.start()
    bake.wait("failed")
    found = {name for name, outcome in bake.checks().items() if outcome == "fail"}
    assert found == {"iscsi-initiator", "snmp-engine"}
    assert (root.path / "etc/mailname").read_text() == "example.org\n"


def test_whoever_the_builders_were_is_found(bake: Bake, root: Root) -> None:
    _built_in(root)
    root.put("etc/app.conf", f"node.name={BUILDER}\n")
    root.put("etc/elder.conf", f"node.name={ELDER}\n")
    root.put("var/lib/app/state", b"\0\1listen 172.30.0.12:80\0")
    root.put("var/lib/app/id", "0123456789abcdef0123456789abcdef")
    root.put(f"var/lib/named/{BUILDER}.db", "x")
    root.put("etc/other.conf", "listen 172.30.0.120\n")
    root.put("srv/app", BUILDER)
    bake.bake()
    found = re.search(r"check builder-identity warning fail (.*)", bake.console.read_text())
    assert found is not None
    assert found[1].split() == [
        "/etc/app.conf",
        "/etc/elder.conf",
        "/var/lib/app/id",
        "/var/lib/app/state",
        f"/var/lib/named/{BUILDER}.db",
    ]


def test_what_the_configuration_promises_is_looked_for(bake: Bake, root: Root) -> None:
    root.put("opt/bin/there", "#!/bin/sh\n", 0o755)
    root.put("opt/bin/windows", "#!/bin/sh\r\n", 0o755)
    root.put("opt/bin/pearl", "#! /usr/bin/pearl -w\n", 0o755)
    root.put("opt/bin/binary", b"\x7fELF\0\0", 0o755)
    root.put("opt/app/start", "#!/bin/sh\n", 0o644)
    root.template("opt/app/made.sh", "#!/bin/sh\n", 0o755)
    root.put("bin/sh", "", 0o755)
    names = ["there", "binary", "cd", "/opt/app/made.sh", "windows", "./start", "pearl", "/missing", "nginx"]
    rows = [("user", "joe", "M:1: USER"), ("user", "ann", "M:2: USER"), ("group", "wheel", "M:2: USER")]
    rows += [("program", name, f"M:{3 + line}: CMD") for line, name in enumerate(names)]
    root.put("tmp/start.sh", "#!/bin/sh\n", 0o755)
    rows += [(kind, "/tmp/start.sh", "M:20: CMD") for kind in ("program", "passing")]
    rows += [("passing", "/tmp/made/later", "M:21: CMD")]
    bake.members["seal/promises"] = "".join("\t".join(row) + "\n" for row in rows).encode()
    bake.members["seal/path"] = b"/usr/bin:/opt/bin\n"
    bake.members["seal/workdir"] = b"/opt/app\n"
    bake.bake()
    found = dict(re.findall(r"check (service-\w+) warning fail (.*)", bake.console.read_text()))
    unknown = "M:2: USER: there is no group wheel. M:2: USER: there is no user ann."
    assert found["service-user"].strip() == unknown
    assert found["service-program"].strip() == (
        "M:10: CMD: there is no /missing in the image. M:11: CMD: there is no program nginx in the image. "
        "M:20: CMD: /tmp/start.sh is in no machine: /tmp, /var/tmp and /run are empty when it starts. "
        "Put it elsewhere, such as /opt. "
        "M:7: CMD: the lines of /opt/bin/windows end in CR LF, as on Windows: its interpreter is not found. "
        "M:8: CMD: /opt/app/start is not executable: COPY --chmod=0755. "
        "and 1 more"
    )


def test_certificates_are_trusted_during_the_bake_only(bake: Bake, root: Root, tmp_path: Path) -> None:
    key, certificate = tmp_path / "k", tmp_path / "c"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=proxy"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    before = "-----BEGIN CERTIFICATE-----\nother\n-----END CERTIFICATE-----\n"
    root.put("etc/ssl/certs/ca-certificates.crt", before)
    bake.members["ca/proxy.crt"] = certificate.read_bytes().rstrip(b"\n")  # some lack the last newline
    bake.run_step("cat etc/ssl/certs/ca-certificates.crt; ls etc/ssl/certs")
    bake.bake()
    assert [line for line in bake.lines(1) if line.startswith("-----BEGIN")] == [
        "-----BEGIN CERTIFICATE-----"
    ] * 2
    assert (root.path / "etc/ssl/certs/ca-certificates.crt").read_text() == before
    assert [p.name for p in (root.path / "etc/ssl/certs").iterdir()] == ["ca-certificates.crt"]
    assert list((root.path / "usr/local/share/ca-certificates").iterdir()) == []


def test_units_of_the_image_wait_for_the_boot_agent(bake: Bake, root: Root) -> None:
    root.put("usr/lib/stoneware/base-units", "base.service\ndbus.service\n")
    for unit in ("base.service", "web.service", "web.socket", "hello.service"):
        root.put(f"usr/lib/systemd/system/{unit}", "[Service]\n")
    for unit in ("base.service", "web.service", "web.socket"):
        link = root.path / f"etc/systemd/system/multi-user.target.wants/{unit}"
        link.symlink_to(f"/usr/lib/systemd/system/{unit}")
    bake.members["seal/root/usr/lib/stoneware/image/service"] = b"hello.service\n"
    bake.bake()
    held = {path.parent.name for path in (root.path / "etc/systemd/system").glob("*.d/50-stoneware.conf")}
    assert held == {"web.service.d", "web.socket.d", "hello.service.d"}
    web = (root.path / "etc/systemd/system/web.service.d/50-stoneware.conf").read_text()
    assert "Requires=stoneware-boot.service\nAfter=stoneware-boot.service\n" in web
    assert "OnFailure=stoneware-failed@%n.service" in web
    assert (root.path / "usr/lib/stoneware/image/units").read_text() == "hello.service\nweb.service\n"
    report = (root.path / "etc/systemd/system/stoneware-report.service.d/50-units.conf").read_text()
    assert report == "[Unit]\nAfter= hello.service web.service\n"


def test_what_the_parent_image_had_laid_down_goes(bake: Bake, root: Root) -> None:
    root.put("etc/systemd/system/old.service", "x")
    root.put("usr/lib/stoneware/image/manifest.json", "{}")
    root.put("usr/lib/stoneware/image/owned", "/etc/systemd/system/old.service\n/../../etc/passwd\n")
    bake.start()
    bake.wait("sealed")
    assert not (root.path / "etc/systemd/system/old.service").exists()
    assert not (root.path / "usr/lib/stoneware/image/manifest.json").exists()
    assert (root.path / "etc/passwd").exists()


def test_known_files_are_not_hashed_again_but_moved_and_changed_ones_are(
    bake: Bake, root: Root, metadata: FakeMetadata
) -> None:
    for name in ("a", "b", "c"):
        root.put(f"srv/{name}/file", f"content of {name}")
    time.sleep(2.1)  # files younger than a second are not trusted: their ctime cannot be set
    bake.bake()
    known = (root.path / "usr/lib/stoneware/image/files.tsv").read_text()
    # A digest that is wrong on purpose shows which lines were taken over.
    wrong = re.sub(r"(?m)^[0-9a-f]{64}(?=\tf\t.*\t/srv/)", "0" * 64, known)
    (root.path / "usr/lib/stoneware/image/files.tsv").write_text(wrong)
    (root.path / "srv/a").rename(root.path / "srv/x")
    (root.path / "srv/b").rename(root.path / "srv/a")
    (root.path / "srv/c/file").write_text("new")
    finish(bake.process) if bake.process else None
    metadata.reports.clear()
    bake.bake()
    rows = [
        line.split("\t")
        for line in (root.path / "usr/lib/stoneware/image/files.tsv").read_text().splitlines()
    ]
    digests = {row[6]: row[0] for row in rows}
    assert digests["/srv/x/file"] == "0" * 64  # moved with its inode: what was known of it
    assert digests["/srv/a/file"] == "0" * 64
    assert digests["/srv/c/file"] == hashlib.sha256(b"new").hexdigest()


def listed_from_outside(bake: Bake, metadata: FakeMetadata, answer: str) -> None:
    """Seal a machine whose driver answers so when it is asked to list the files."""
    metadata.set(stoneware_lists="TRUE", stoneware_listed="")
    bake.start()
    metadata.wait_report("stoneware/build", lambda r: r["state"] in ("listing", "failed"))
    metadata.set(stoneware_listed=answer)
    bake.wait("sealed")


def lists(totals: str = "0 0\n", **files: str) -> bytes:
    names = [f"found.{name}" for name in ("logs", "temporary", "writable", "setuid", "residue")]
    whole = {**dict.fromkeys(["changed", "small", *names], ""), **files, "files.totals": totals}
    return tar_of([{"name": name, "content": content} for name, content in whole.items()])


def test_lists_that_are_made_outside_are_taken(bake: Bake, root: Root, metadata: FakeMetadata) -> None:
    root.put("srv/f", "content")
    metadata.files["listed.tar"] = lists(
        "1 7\n",
        **{"files.new": "?\tf\t644\t0\t0\t7\t/srv/f\t\n", "files.inodes": "1\t2.0\n"},
        **{"changed": "/srv/f\n", "small": "/srv/f\n", "found.writable": "/said/to/be\n"},
    )
    listed_from_outside(bake, metadata, "TRUE")
    line = f"{hashlib.sha256(b'content').hexdigest()}\tf\t644\t0\t0\t7\t/srv/f\t\n"
    assert (root.path / "usr/lib/stoneware/image/files.tsv").read_text() == line
    assert (root.path / "usr/lib/stoneware/image/files.inodes").read_text() == "1\t2.0\n"
    assert bake.results()["files.sum"].decode().split()[1:] == ["1", "7"]
    assert bake.checks()["world-writable"] == "fail"


@pytest.mark.parametrize(
    ("answer", "served"),
    [("FALSE", lists()), ("TRUE", None), ("TRUE", b"no archive"), ("TRUE", lists()[:700])],
    ids=["refused", "missing", "no archive", "cut off"],
)
def test_without_lists_from_outside_the_agent_looks_itself(
    bake: Bake, root: Root, metadata: FakeMetadata, answer: str, served: bytes | None
) -> None:
    root.put("srv/f", "content")
    if served is not None:
        metadata.files["listed.tar"] = served
    listed_from_outside(bake, metadata, answer)
    files = (root.path / "usr/lib/stoneware/image/files.tsv").read_text()
    assert f"{hashlib.sha256(b'content').hexdigest()}\tf\t644\t0\t0\t7\t/srv/f\t\n" in files
    assert files.startswith("-\td\t755\t0\t0\t-\t/\t\n")


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
