"""What bakes do, in one image: each step of its Machinefile is there for one of these tests."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoneware.platforms.local.lists import entries
from stoneware.process import run
from tests.bake.conftest import Context

pytestmark = pytest.mark.machine

STAGES = """\
FROM debian:12 AS unused
RUN exit 1
FROM debian:12 AS made
RUN --mount=type=bind,target=/context \\
    mkdir -p /out/deep && echo made >/out/deep/file && chown 7:8 /out/deep/file && \\
    ln -s file /out/deep/link && cp /bin/true /capable && perl /context/capable.pl && \\
    cp /bin/true /setuid && chmod 4755 /setuid
FROM made AS child
RUN echo child >/out/child
FROM scratch AS files
WORKDIR /etc
COPY --chown=9:10 --from=made /out/deep/file app/
COPY --chmod=0600 here /
FROM files AS more
ADD here /added
FROM made AS beyond
RUN exit 1
"""
BOOTED = " && ".join(
    [
        "systemctl is-active multi-user.target",
        "test -S /run/dbus/system_bus_socket",
        "ip route | grep -q ^default",
        "getent hosts metadata.google.internal",
        "test ! -e /run/stoneware/build",
        "systemctl start systemd-networkd systemd-sysctl",  # left out of a builder's boot
        "systemctl is-active systemd-networkd",
        "touch /done",
    ]
)
NETWORKS = """\
RUN --network=none ! curl -s -m 2 http://169.254.169.254/ && ! nsenter -t 1 -n true && \\
    ! systemd-run -q --wait true && \\
    test "$(cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ')" = lo && \\
    perl -e 'use IO::Socket::INET; \\
        my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or exit 1; \\
        IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport) or exit 1' && \\
    echo alone >/network
RUN --network=default curl -sf -H 'Metadata-Flavor: Google' \\
    http://169.254.169.254/computeMetadata/v1/instance/id && echo reached >>/network
"""
SECRET = 'se$cret "value"'
MOUNTS = """\
RUN --mount=type=secret,id=token,required test "$(cat /run/secrets/token)" = 'se$cret "value"'
RUN --mount=type=secret,id=token,env=TOKEN sh -c 'test "$TOKEN" = "se\\$cret \\"value\\""'
RUN --mount=type=cache,target=/root/.store,id=test-cache echo kept >>/root/.store/log
RUN --mount=type=cache,target=/elsewhere,id=test-cache cp /elsewhere/log /log
RUN --mount=type=bind,source=dir,target=/bound cp /bound/inside /copied
RUN --mount=type=tmpfs,target=/scratch,size=1m touch /scratch/x
WORKDIR /mounted
RUN --mount=type=tmpfs,target=dir/out/tmp --mount=type=cache,target=dir/out --mount=type=bind \\
    --mount=type=tmpfs,target=/run \\
    cp dir/inside /nested && touch dir/out/tmp/x dir/out/y /run/z && ! touch dir/z
WORKDIR /
"""
# What packages write down about the machine that they are installed in, and what apt leaves.
IDENTITY = """\
RUN groupadd -r -g 999 redis && useradd -r -g redis -u 999 redis && groupadd -r next && \\
    for id in 101 102 104 997 996 995 994 993 992; do \\
        groupadd -g $id g$id && useradd -u $id -g $id u$id; \\
    done && \\
    mkdir /etc/postfix /etc/nvme && hostname -f >/etc/mailname && echo 1 >/etc/nvme/hostid && \\
    echo "myhostname = $(hostname -f)" >/etc/postfix/main.cf && \\
    echo "mydestination = \\$myhostname, $(hostname), localhost" >>/etc/postfix/main.cf && \\
    touch /var/lib/apt/lists/mirror_dists_bookworm_main_binary-amd64_Packages && hostname >/etc/forgotten
"""
LISTS = """\
RUN echo changed >>/etc/issue && echo new >/new && \\
    mv /usr/share/doc /usr/share/moved && rm -r /usr/share/man
"""
COPIES = """\
COPY --from=made /out/ /from-made/
COPY --from=child /out/child /
COPY --from=more / /from-scratch/
COPY --from=made /capable /usr/local/bin/
COPY --from=made --chown=daemon /capable /setuid /theirs/
RUN useradd -u 1234 app && mkdir -p /keep && chmod 0700 /keep && ln -s /keep /link && ln -s /data/www /srv/www
COPY --chmod=0640 f /out/f
COPY --chown=app:app dir/ /keep/
COPY f /link/through
COPY --chown=nobody-knows f /unknown
COPY f g /two/
COPY none-match* /empty/
COPY rootfs/ /
RUN hi >/said
COPY <<EOF <<"RAW" /docs/
hello $NAME
EOF
hello $NAME
RAW
COPY a.tar.gz /packed/
ADD a.tar.gz /gz/
ADD a.tar.bz2 /bz2/
ADD a.tar.xz /xz/
ADD a.tar.zst /zst/
USER app
WORKDIR /work/deep
RUN touch mine && id -un >who
"""
FOR_CHILDREN = """\
USER root
ENV A=1
ONBUILD COPY mine /src/
ONBUILD RUN cat /src/mine >/got
CMD ["sleep", "infinity"]
"""
LAST = "FROM docker.io/library/debian:bookworm-slim AS last\n"
FIRST_STEP = f"RUN {BOOTED}\n"
MACHINEFILE = STAGES + LAST + FIRST_STEP + NETWORKS + MOUNTS + IDENTITY + LISTS + COPIES + FOR_CHILDREN
# cap_net_raw+ep, as setcap writes it: it is in no minimal Debian.
CAPABLE = """\
use POSIX;
my $number = (POSIX::uname())[4] eq "aarch64" ? 5 : 188;  # setxattr
my ($path, $name) = ("/capable", "security.capability");
my $value = pack("V5", 0x02000001, 1 << 13, 0, 0, 0);
syscall($number, $path, $name, $value, length $value, 0) == 0 or die $!;
"""
FILES = {
    "capable.pl": CAPABLE,
    "here": "here\n",
    "f": "f\n",
    "g": "g\n",
    "dir/inside": "bound\n",
    "dir/sub/inside": "inside\n",
    "rootfs/bin/hi": "#!/bin/sh\necho hi\n",
    "rootfs/srv/www/page": "page\n",
    "token.txt": SECRET,
    ".machineignore": "token.txt\n",
}
PACKED = {"gz": "-z", "bz2": "-j", "xz": "-J", "zst": "--zstd"}
WORDS = ("--target", "last", "--label", "who=me", "--secret", "id=token,src=token.txt")


@dataclass(frozen=True)
class Image:
    """The image, what its bake said, and the commit of its context."""

    context: Context
    result: dict[str, Any]
    said: str
    commit: str

    @property
    def root(self) -> Path:
        return self.context.rootfs(self.result)

    @property
    def manifest(self) -> dict[str, Any]:
        text = (self.root / "usr/lib/stoneware/image/manifest.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found


@pytest.fixture(scope="module")
def image(machine_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    context = Context(tmp_path_factory.mktemp("one") / "context", machine_home, "one-image")
    context.write(
        {**FILES, "Machinefile": MACHINEFILE.replace("AS last\n", f"AS last\nENV S={context.stamp}\n")}
    )
    (context.path / "rootfs/bin/hi").chmod(0o755)
    packed = tmp_path_factory.mktemp("packed")
    (packed / "file").write_text("archived\n")
    for suffix, flag in PACKED.items():
        run(["tar", flag, "-cf", context.path / f"a.tar.{suffix}", "-C", packed, "."])
    commit = context.commit()
    out, said = context.run("bake", "-t", context.name, *WORDS, "--progress", "plain", "--json", ".")
    return Image(context, json.loads(out), said, commit)


def test_a_commit_names_the_image(image: Image) -> None:
    assert image.result["tags"] == [
        f"{image.context.name}:{tag}" for tag in ("latest", image.commit, image.commit[:7])
    ]
    assert (image.result["commit"], image.result["dirty"]) == (image.commit, False)


def test_stages_that_nobody_needs_are_not_built(image: Image) -> None:
    root = image.root
    status = (root / "from-made/deep/file").stat()
    assert (status.st_uid, status.st_gid) == (7, 8)
    assert (root / "from-made/deep/link").readlink() == Path("file")
    assert (root / "child").read_text() == "child\n"
    files = {str(path.relative_to(root / "from-scratch")) for path in (root / "from-scratch").rglob("*")}
    assert files == {"etc", "etc/app", "etc/app/file", "here", "added"}
    status = (root / "from-scratch/etc/app/file").stat()
    assert (status.st_uid, status.st_gid) == (9, 10)
    assert stat.S_IMODE((root / "from-scratch/here").stat().st_mode) == 0o600
    assert not (root / ".stoneware-scratch").exists()
    plan = image.context.plan(*WORDS)["steps"]
    stages = dict.fromkeys(step["stage"] for step in plan)
    assert list(stages) == ["made", "child", "files", "more", "last"]
    assert {step["action"] for step in plan} == {"HIT"}


def test_target_and_labels_are_taken(image: Image) -> None:
    assert image.manifest["labels"] == {"who": "me"}


def test_an_image_can_stand_on_another(image: Image, context: Context) -> None:
    context.write(
        {"Machinefile": f"FROM {image.context.name}\nENV B=${{A}}2\nRUN echo $A$B >/both\n", "mine": "m\n"}
    )
    result = context.bake()
    root = context.rootfs(result)
    assert (root / "both").read_text() == "112\n"
    assert (root / "got").read_text() == "m\n", "what the parent has ONBUILD"
    units = root / "etc/systemd/system"
    assert not (units / f"{image.context.name}.service").exists(), "the parent's service is not the child's"
    assert (units / f"{context.name}.service").exists()
    assert image.result["image_id"] != result["image_id"]


def test_secrets_caches_and_mounts_leave_nothing(image: Image) -> None:
    root = image.root
    assert (root / "log").read_text().splitlines()[-1] == "kept"
    assert (root / "copied").read_text() == "bound\n"
    assert (root / "nested").read_text() == "bound\n"
    assert not list((root / "mounted").iterdir())
    for gone in ("run/secrets", "root/.store", "elsewhere", "bound", "scratch"):
        assert not (root / gone).exists(), gone
    found = run(["grep", "-rlF", SECRET, root, "--exclude-dir=proc"], check=False)
    assert found.stdout == ""
    words = ("bake", "-t", image.context.name, "--target", "last", "--no-cache", ".")
    _, err = image.context.run(*words, code=2)
    assert "the secret 'token'" in err
    assert "--secret id=token,src=FILE" in err


def test_the_seal_takes_identity_and_residue_away(image: Image) -> None:
    root = image.root
    start = "check builder-identity: fail (warning)"
    found = next(line for line in image.said.splitlines() if line.startswith(start))
    assert "/etc/forgotten" in found
    assert not (root / "etc/mailname").exists()
    assert not (root / "etc/nvme/hostid").exists()
    assert (root / "etc/postfix/main.cf").read_text() == "mydestination = $myhostname, localhost\n"
    rows = [row.split(":") for row in (root / "etc/group").read_text().splitlines()]
    assert {row[0]: row[2] for row in rows}["next"] == "998", "the number it gets in a container"
    assert (root / "etc/machine-id").read_text() == ""
    assert not (root / "var/lib/systemd/random-seed").exists()
    assert not (root / "etc/hostname").exists()
    assert not (root / "etc/resolv.conf").exists()
    assert list((root / "var/lib/apt/lists").glob("*_Packages")) == []
    assert not list((root / "usr/local/share/ca-certificates").glob("stoneware-bake-*"))
    release = (root / "usr/lib/os-release").read_text()
    assert f"IMAGE_ID={image.context.name}\n" in release
    assert "systemd" in {package["name"] for package in image.manifest["packages"]}
    assert image.manifest["files"]["count"] > 5000


def test_the_lists_of_a_quick_seal_are_those_of_the_files(image: Image) -> None:
    """The seal reuses digests of files whose inode and ctime it knows; here every one is computed again."""
    listed = {}
    for line in (image.root / "usr/lib/stoneware/image/files.tsv").read_text().splitlines():
        digest, kind, mode, *_, path, _target = line.split("\t")
        if kind == "f":
            listed[path] = (digest, mode)
    for path in ("/etc/issue", "/new", "/usr/bin/env", "/usr/lib/os-release", "/etc/passwd"):
        file = image.root / path[1:]
        assert listed[path][0] == run(["sha256sum", file]).stdout.split()[0], path
        assert int(listed[path][1], 8) == stat.S_IMODE(file.stat().st_mode)


def test_files_that_are_listed_from_outside_are_all_of_the_image(image: Image) -> None:
    assert list(
        image.context.home.glob("data/checkpoints/base-*/files.list")
    )  # what the seal's list was made of
    walked = entries.walk(image.root)
    own = rb"/usr/lib/stoneware/image/(files\..*|manifest.json|env|contract.tsv)"
    hidden = re.compile(rb"/(proc|sys|dev|run|tmp)(/.*)?|" + own)
    wanted = [
        line for path, line in zip(walked.paths, walked.files, strict=True) if not hidden.fullmatch(path)
    ]
    listed = (image.root / "usr/lib/stoneware/image/files.tsv").read_bytes().splitlines()
    assert [line.split(b"\t")[1:] for line in listed] == [line.split(b"\t")[1:] for line in wanted]
    assert {line.partition(b"\t")[0] for line in listed if line[65:66] != b"f"} == {b"-"}


def test_the_first_step_runs_in_a_machine_that_has_booted(image: Image) -> None:
    assert (image.root / "done").exists()


def test_a_step_without_network_has_none(image: Image) -> None:
    assert (image.root / "network").read_text() == "alone\nreached\n"


def test_copies_follow_buildkits_rules_in_the_machine(image: Image) -> None:
    root = image.root

    def about(path: str) -> tuple[str, int]:
        status = (root / path).stat()
        return oct(stat.S_IMODE(status.st_mode)), status.st_uid

    assert about("out") == ("0o640", 0)
    assert about("keep") == ("0o700", 0)
    assert about("keep/sub/inside")[1] == 1234
    assert (root / "keep/through").read_text() == "f\n"
    assert about("unknown")[1] == 0
    assert sorted(path.name for path in (root / "two").iterdir()) == ["f", "g"]
    assert about("work/deep")[1] == 1234
    assert (root / "work/deep/who").read_text() == "app\n"
    assert about("work/deep/mine")[1] == 1234
    assert (root / "bin").readlink() == Path("usr/bin")
    assert (root / "data/www/page").read_text() == "page\n"
    assert (root / "said").read_text() == "hi\n"
    documents = sorted(path.read_text() for path in (root / "docs").iterdir())
    assert documents == ["hello \n", "hello $NAME\n"]


def test_archives_are_unpacked_by_add(image: Image) -> None:
    for suffix in PACKED:
        assert (image.root / suffix / "file").read_text() == "archived\n", suffix
    assert (image.root / "packed/a.tar.gz").exists()


def test_file_capabilities_are_copied_from_a_stage(image: Image) -> None:
    for place in ("usr/local/bin", "theirs"):
        assert os.listxattr(image.root / place / "capable") == ["security.capability"]
    status = (image.root / "theirs/setuid").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o4755, 1)
