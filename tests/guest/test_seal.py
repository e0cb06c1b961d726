"""The seal of a builder: what it takes away, what it looks for, and the lists of files."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from stoneware.guest.checks import CHECKS
from tests.guest.bakes import TOKEN, Bake
from tests.guest.support import FakeMetadata, Root, finish, tar_of

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]


PLACES = {
    "private-keys": ["srv/k.pem"],
    "cloud-tokens": ["srv/env"],
    "build-secrets": ["srv/copy"],
    "world-writable": ["usr/local/w"],
    "setuid": ["usr/local/s"],
    "one-kernel": ["boot/vmlinuz-1", "boot/vmlinuz-2"],
}


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


def _seal(bake: Bake, metadata: FakeMetadata) -> str:
    """Bake up to the verdict of the checks and return it."""
    bake.start()
    report = metadata.wait_report("stoneware/build", lambda r: r["state"] in ("sealed", "failed"))
    return str(report["state"])


@pytest.mark.parametrize(("severity", "verdict"), [("error", "failed"), ("warning", "sealed")])
def test_leaks_are_found(bake: Bake, root: Root, metadata: FakeMetadata, severity: str, verdict: str) -> None:
    metadata.build_secrets["secret-tok"] = b"hunter2hunter2\n"
    bake.members["seal/secrets"] = b"secret-tok\n"
    bake.run_step("true", mounts=f"secret\t{root.path}/tok\tsecret-tok\tro\t\t0\t0\t\t\n")
    plants = _plants(root.path)
    names = {check.name for check in CHECKS if check.severity == severity and check.name in plants}
    for name in names:
        plants[name]()
    assert _seal(bake, metadata) == verdict
    found = re.findall(r"check (\S+) (\S+) fail (.*)", bake.console.read_text())
    assert {check: (level, paths.split()) for check, level, paths in found} == {
        name: (severity, [f"/{place}" for place in PLACES[name]]) for name in names
    }


_UNIT = "etc/systemd/system/stoneware-boot.service"
_WANT = "etc/systemd/system/multi-user.target.wants/stoneware-boot.service"
_TARGET = "etc/systemd/system/default.target"
_LIB = "usr/lib/stoneware"


@pytest.mark.parametrize(
    "commands",
    [
        {
            f"{_LIB}/lib.sh": "rm -rf {}",
            f"{_LIB}/stoneware-boot": "chmod 0 {}",
            _UNIT: "ln -s /dev/null {}",
            _WANT: "rm {}",
            _TARGET: "ln -sf /usr/lib/systemd/system/rescue.target {}",
        },
        {f"{_LIB}/stoneware-report": ": >{}", _UNIT: ": >{}", _WANT: "ln -sf /dev/null {}"},
    ],
    ids=["missing", "empty"],
)
def test_an_image_that_would_not_boot_as_a_machine_is_refused(
    bake: Bake, root: Root, metadata: FakeMetadata, commands: dict[str, str]
) -> None:
    bake.run_step("true")
    for path, command in commands.items():
        subprocess.run(["sh", "-c", command.format(root.path / path)], check=True)
    assert _seal(bake, metadata) == "failed"
    found = re.search(r"check boot-agent error fail (.*)", bake.console.read_text())
    assert found is not None
    assert found[1].split() == sorted(f"/{path}" for path in commands)


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


SKIPPED = {
    "private-keys": ("srv/k.pem", "-----BEGIN RSA PRIVATE KEY-----\nMII\n"),
    "erlang-cookie": ("var/lib/rabbitmq/.erlang.cookie", "x"),
    "rabbitmq-node": (f"var/lib/rabbitmq/mnesia/rabbit@{BUILDER}", "x"),
    "iscsi-initiator": ("etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:1\n"),
    "nvme-host": ("etc/nvme/hostnqn", "nqn.1\n"),
    "snmp-engine": ("var/lib/snmp/snmpd.conf", "oldEngineID 0x80\n"),
    "mailname": ("etc/mailname", f"{BUILDER}\n"),
    "postfix-hostname": ("etc/postfix/main.cf", f"myhostname = {BUILDER}\n"),
    "service-identity": ("var/lib/mysql/auto.cnf", "server-uuid=1\n"),
}


def test_checks_that_are_skipped_keep_what_they_are_about(bake: Bake, root: Root) -> None:
    _built_in(root)
    for name, text in SKIPPED.values():
        root.put(name, text)
    bake.members["seal/checks.skip"] = "".join(f"{check}\n" for check in SKIPPED).encode()
    bake.bake()
    assert {name: (root.path / name).read_text() for name, _ in SKIPPED.values()} == dict(SKIPPED.values())
    assert {check for check, outcome in bake.checks().items() if outcome == "skip"} >= set(SKIPPED)


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


def listed_from_outside(bake: Bake, metadata: FakeMetadata, answer: str, state: str = "sealed") -> None:
    """Seal a machine whose driver answers so when it is asked to list the files."""
    metadata.set(stoneware_lists="TRUE", stoneware_listed="")
    bake.start()
    metadata.wait_report("stoneware/build", lambda r: r["state"] in ("listing", "failed"))
    metadata.set(stoneware_listed=answer)
    bake.wait(state)


def lists(totals: str = "0 0\n", **files: str) -> bytes:
    names = [f"found.{name}" for name in ("logs", "temporary", "writable", "setuid", "residue")]
    whole = {**dict.fromkeys(["changed", "unhashed", "small", *names], ""), **files, "files.totals": totals}
    return tar_of([{"name": name, "content": content} for name, content in whole.items()])


def test_lists_that_are_made_outside_are_taken(bake: Bake, root: Root, metadata: FakeMetadata) -> None:
    root.put("srv/e", "hashed behind its step")
    root.put("srv/f", "content")
    told = f"{'1' * 64}\tf\t644\t0\t0\t40\t/srv/e\t\n"
    metadata.files["listed.tar"] = lists(
        "1 7\n",
        **{"files.new": f"{told}?\tf\t644\t0\t0\t7\t/srv/f\t\n", "files.inodes": "1\t2.0\n"},
        **{"changed": "/srv/e\n/srv/f\n", "unhashed": "/srv/f\n", "small": "/srv/e\n/srv/f\n"},
        **{"found.writable": "/said/to/be\n"},
    )
    listed_from_outside(bake, metadata, "TRUE")
    line = f"{hashlib.sha256(b'content').hexdigest()}\tf\t644\t0\t0\t7\t/srv/f\t\n"
    assert (root.path / "usr/lib/stoneware/image/files.tsv").read_text() == told + line
    assert (root.path / "usr/lib/stoneware/image/files.inodes").read_text() == "1\t2.0\n"
    assert bake.results()["files.sum"].decode().split()[1:] == ["1", "7"]
    assert bake.checks()["world-writable"] == "fail"


def test_a_file_that_was_hashed_behind_its_step_is_searched(
    bake: Bake, root: Root, metadata: FakeMetadata
) -> None:
    root.put("srv/e", f"ghp_{'x' * 36}")
    line = f"{'1' * 64}\tf\t644\t0\t0\t40\t/srv/e\t\n"
    found = {"changed": "/srv/e\n", "small": "/srv/e\n", "files.new": line, "files.inodes": "1\t2.0\n"}
    metadata.files["listed.tar"] = lists("1 40\n", **found)
    listed_from_outside(bake, metadata, "TRUE", state="failed")
    assert bake.checks()["cloud-tokens"] == "fail"


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
