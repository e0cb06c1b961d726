"""Real bakes: caching, reasons, stages, failures, secrets, the seal."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest

from stoneware.platforms.local.lists import entries
from stoneware.process import run
from tests.bake.conftest import Context

pytestmark = pytest.mark.machine

SMALL = "FROM debian:12\nRUN echo one >/one\nCOPY a.txt /srv/\nARG WORD=x\nRUN echo $WORD >/word\n"


@pytest.fixture
def small(context: Context) -> Context:
    context.write({"Machinefile": SMALL, "a.txt": "first\n"})
    return context


def test_a_second_bake_builds_nothing(small: Context) -> None:
    first = small.bake()
    assert (first["cached"], first["ran"], first["commit"]) == (0, 3, None)
    assert first["tags"] == [f"{small.name}:latest"]
    second = small.bake()
    assert (second["cached"], second["ran"], second["image_id"]) == (3, 0, first["image_id"])
    assert [action for action, _ in small.actions()] == ["HIT", "HIT", "HIT"]


def test_the_plan_says_what_changed(small: Context) -> None:
    assert small.actions()[0] == ("RUN", "not built yet")
    small.bake()
    small.write({"a.txt": "second\n"})
    assert small.actions() == [
        ("HIT", "cached"),
        ("RUN", "file a.txt changed"),
        ("RUN", "the step before it changed"),
    ]
    small.write({"a.txt": "first\n"})
    assert small.actions("--build-arg", "WORD=y")[2] == ("RUN", "argument WORD changed from x to y")
    assert {reason for _, reason in small.actions("--no-cache")} == {"--no-cache"}
    rebaked = small.bake("--build-arg", "WORD=y")
    assert (rebaked["cached"], rebaked["ran"]) == (2, 1)
    assert (small.rootfs(rebaked) / "word").read_text() == "y\n"


def test_times_and_places_of_files_do_not_matter(small: Context) -> None:
    small.bake()
    os.utime(small.path / "a.txt", (0, 0))
    assert {action for action, _ in small.actions()} == {"HIT"}


def test_a_failed_step_is_told_and_the_next_bake_resumes(context: Context) -> None:
    context.write(
        {"Machinefile": "FROM debian:12\nRUN echo kept >/kept\nRUN echo before; no-such-program; exit 7\n"}
    )
    out, err = context.run("bake", "-t", context.name, "--progress", "plain", ".", code=1)
    assert out == ""
    assert "Machinefile:4: step 2" in err
    assert "exit code 7" in err
    assert "no-such-program: not found" in err
    assert "--on-failure shell" in err
    assert [action for action, _ in context.actions()] == ["HIT", "RUN"]
    context.write({"Machinefile": "FROM debian:12\nRUN echo kept >/kept\nRUN cat /kept >/again\n"})
    result = context.bake()
    assert (result["cached"], result["ran"]) == (1, 1)
    assert (context.rootfs(result) / "again").read_text() == "kept\n"


def test_stages_that_nobody_needs_are_not_built(context: Context) -> None:
    context.write(
        {
            "Machinefile": """\
FROM debian:12 AS unused
RUN exit 1
FROM debian:12 AS made
RUN mkdir -p /out/deep && echo made >/out/deep/file && chown 7:8 /out/deep/file && ln -s file /out/deep/link
FROM made AS child
RUN echo child >/out/child
FROM scratch AS files
WORKDIR /etc
COPY --chown=9:10 --from=made /out/deep/file app/
COPY --chmod=0600 here /
FROM files AS more
ADD here /added
FROM docker.io/library/debian:bookworm-slim
COPY --from=made /out/ /from-made/
COPY --from=child /out/child /
COPY --from=more / /from-scratch/
""",
            "here": "here\n",
        }
    )
    result = context.bake()
    root = context.rootfs(result)
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
    stages = [step["stage"] for step in context.plan()["steps"]]
    assert stages == ["made", "child", "files", "files", "files", "more", "5", "5", "5"]
    assert context.bake()["ran"] == 0


def test_an_image_can_stand_on_another(context: Context) -> None:
    context.write(
        {
            "Machinefile": "FROM debian:12\nENV A=1\n"
            "ONBUILD COPY mine /src/\nONBUILD RUN cat /src/mine >/got\n"
            'CMD ["sleep", "infinity"]\n'
        }
    )
    parent = context.bake()
    child = Context(context.path, context.home, f"{context.name}-child")
    child.write({"Machinefile": f"FROM {context.name}\nENV B=${{A}}2\nRUN echo $A$B >/both\n", "mine": "m\n"})
    result = child.bake()
    assert (child.rootfs(result) / "both").read_text() == "112\n"
    assert (child.rootfs(result) / "got").read_text() == "m\n", "what the parent has ONBUILD"
    units = child.rootfs(result) / "etc/systemd/system"
    assert not (units / f"{context.name}.service").exists(), "the parent's service is not the child's"
    assert (units / f"{child.name}.service").exists()
    assert parent["image_id"] != result["image_id"]


def test_secrets_caches_and_mounts_leave_nothing(context: Context) -> None:
    context.write(
        {
            "Machinefile": """\
FROM debian:12
RUN --mount=type=secret,id=token,required test "$(cat /run/secrets/token)" = 'se$cret "value"'
RUN --mount=type=secret,id=token,env=TOKEN sh -c 'test "$TOKEN" = "se\\$cret \\"value\\""'
RUN --mount=type=cache,target=/root/.store,id=test-cache echo kept >>/root/.store/log
RUN --mount=type=cache,target=/elsewhere,id=test-cache cp /elsewhere/log /log
RUN --mount=type=bind,source=dir,target=/bound cp /bound/inside /copied
RUN --mount=type=tmpfs,target=/scratch,size=1m touch /scratch/x
WORKDIR /work
RUN --mount=type=tmpfs,target=dir/out/tmp --mount=type=cache,target=dir/out --mount=type=bind \\
    --mount=type=tmpfs,target=/run \\
    cp dir/inside /nested && touch dir/out/tmp/x dir/out/y /run/z && ! touch dir/z
""",
            "dir/inside": "bound\n",
            "token.txt": 'se$cret "value"',
            ".machineignore": "token.txt\n",
        }
    )
    result = context.bake("--secret", "id=token,src=token.txt")
    root = context.rootfs(result)
    assert (root / "log").read_text().splitlines()[-1] == "kept"
    assert (root / "copied").read_text() == "bound\n"
    assert (root / "nested").read_text() == "bound\n"
    assert not list((root / "work").iterdir())
    for gone in ("run/secrets", "root/.store", "elsewhere", "bound", "scratch"):
        assert not (root / gone).exists(), gone
    found = run(["grep", "-rlF", 'se$cret "value"', str(root), "--exclude-dir=proc"], check=False)
    assert found.stdout == ""
    _, err = context.run("bake", "-t", context.name, "--no-cache", ".", code=2)
    assert "the secret 'token'" in err
    assert "--secret id=token,src=FILE" in err


def test_a_secret_left_in_the_image_fails_the_bake(context: Context) -> None:
    context.write(
        {
            "Machinefile": "FROM debian:12\nRUN --mount=type=secret,id=t cp /run/secrets/t /root/left\n",
            "t": "a-value-nobody-may-keep",
            ".machineignore": "t\n",
        }
    )
    for step in ("RUN", "cached"):
        _, err = context.run("bake", "-t", context.name, "--secret", "id=t,src=t", ".", code=1)
        assert "/root/left" in err, f"with the step {step}"
        assert "--skip-check" in err
        assert "a-value-nobody-may-keep" not in err


def test_the_seal_takes_identity_and_residue_away(context: Context) -> None:
    context.write(
        {
            "Machinefile": """\
FROM debian:12
RUN groupadd -r -g 999 redis && useradd -r -g redis -u 999 redis && groupadd -r next
RUN for id in 101 102 104 997 996 995 994 993 992; do groupadd -g $id g$id && useradd -u $id -g $id u$id; done
RUN apt-get update
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get install -y --no-install-recommends tini postfix nvme-cli && cat /etc/mailname /etc/nvme/hostid
RUN hostname >/etc/forgotten
"""
        }
    )
    out, err = context.run("bake", "-t", context.name, "--progress", "plain", "--json", ".")
    root = context.rootfs(json.loads(out))
    found = next(
        line for line in err.splitlines() if line.startswith("check builder-identity: fail (warning)")
    )
    assert "/etc/forgotten" in found
    assert not (root / "etc/mailname").exists()
    assert not (root / "etc/nvme/hostid").exists()
    assert "bake-" not in (root / "etc/postfix/main.cf").read_text()
    rows = [row.split(":") for row in (root / "etc/group").read_text().splitlines()]
    assert {row[0]: row[2] for row in rows}["next"] == "998", "the number it gets in a container"
    assert (root / "etc/machine-id").read_text() == ""
    assert not (root / "var/lib/systemd/random-seed").exists()
    assert not (root / "etc/hostname").exists()
    assert not (root / "etc/resolv.conf").exists()
    assert list((root / "var/lib/apt/lists").glob("*_Packages")) == []
    assert not list((root / "usr/local/share/ca-certificates").glob("stoneware-bake-*"))
    release = (root / "usr/lib/os-release").read_text()
    assert f"IMAGE_ID={context.name}\n" in release
    manifest = json.loads((root / "usr/lib/stoneware/image/manifest.json").read_text())
    assert "tini" in {package["name"] for package in manifest["packages"]}
    assert manifest["files"]["count"] > 5000


def test_the_lists_of_a_quick_seal_are_those_of_the_files(context: Context) -> None:
    """The seal reuses digests of files whose inode and ctime it knows; here every one is computed again."""
    context.write({"Machinefile": "FROM debian:12\nRUN echo changed >>/etc/issue && echo new >/new\n"})
    root = context.rootfs(context.bake())
    listed = {}
    for line in (root / "usr/lib/stoneware/image/files.tsv").read_text().splitlines():
        digest, kind, mode, *_, path, _target = line.split("\t")
        if kind == "f":
            listed[path] = (digest, mode)
    wanted = ["/etc/issue", "/new", "/usr/bin/env", "/usr/lib/os-release", "/etc/passwd"]
    for path in wanted:
        assert listed[path][0] == run(["sha256sum", root / path[1:]]).stdout.split()[0], path
        assert int(listed[path][1], 8) == stat.S_IMODE((root / path[1:]).stat().st_mode)


def test_files_that_are_listed_from_outside_are_all_of_the_image(context: Context) -> None:
    context.write(
        {"Machinefile": "FROM debian:12\nRUN mv /usr/share/doc /usr/share/moved && rm -r /usr/share/man\n"}
    )
    root = context.rootfs(context.bake())
    assert list(context.home.glob("data/checkpoints/base-*/files.list"))  # what the seal's list was made of
    walked = entries.walk(root)
    own = rb"/usr/lib/stoneware/image/(files\..*|manifest.json|env|contract.tsv)"
    hidden = re.compile(rb"/(proc|sys|dev|run|tmp)(/.*)?|" + own)
    wanted = [
        line for path, line in zip(walked.paths, walked.files, strict=True) if not hidden.fullmatch(path)
    ]
    listed = (root / "usr/lib/stoneware/image/files.tsv").read_bytes().splitlines()
    assert [line.split(b"\t")[1:] for line in listed] == [line.split(b"\t")[1:] for line in wanted]
    assert {line.partition(b"\t")[0] for line in listed if line[65:66] != b"f"} == {b"-"}


def test_the_first_step_runs_in_a_machine_that_has_booted(context: Context) -> None:
    checks = [
        "systemctl is-active multi-user.target",
        "test -S /run/dbus/system_bus_socket",
        "ip route | grep -q ^default",
        "getent hosts metadata.google.internal",
        "test ! -e /run/stoneware/build",
        "systemctl start systemd-networkd systemd-sysctl",  # left out of a builder's boot
        "systemctl is-active systemd-networkd",
    ]
    context.write({"Machinefile": f"FROM debian:12\nRUN {' && '.join(checks)} && touch /done\n"})
    assert (context.rootfs(context.bake()) / "done").exists()


def test_a_commit_names_the_image(context: Context) -> None:
    context.write({"Machinefile": "FROM debian:12\nCOPY f /f\n", "f": "1\n"})
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "1"],
    ):
        run(["git", *words], cwd=context.path)
    head = run(["git", "rev-parse", "HEAD"], cwd=context.path).stdout.strip()
    clean = context.bake()
    assert clean["tags"] == [f"{context.name}:{tag}" for tag in ("latest", head, head[:7])]
    assert (clean["commit"], clean["dirty"]) == (head, False)
    context.write({"f": "2\n"})
    dirty = context.bake()
    assert f"{context.name}:{head[:7]}-dirty" in dirty["tags"]
    assert dirty["dirty"] is True


def test_target_labels_and_checks_are_taken(context: Context) -> None:
    context.write({"Machinefile": "FROM debian:12 AS one\nRUN touch /one\nFROM one AS two\nRUN exit 1\n"})
    result = context.bake("--target", "one", "--label", "who=me")
    manifest = json.loads((context.rootfs(result) / "usr/lib/stoneware/image/manifest.json").read_text())
    assert manifest["labels"] == {"who": "me"}
    _, err = context.run("bake", "-t", context.name, "--target", "none", ".", code=2)
    assert "none" in err


def test_copies_follow_buildkits_rules_in_the_machine(context: Context) -> None:
    context.write(
        {
            "Machinefile": """\
FROM debian:12
RUN useradd -u 1234 app && mkdir -p /keep && chmod 0700 /keep && ln -s /keep /link
COPY --chmod=0640 f /out/f
COPY --chown=app:app dir/ /keep/
COPY f /link/through
COPY --chown=nobody-knows f /unknown
COPY f g /two/
COPY none-match* /empty/
RUN ln -s /data/www /srv/www
COPY rootfs/ /
RUN hi >/said
COPY <<EOF <<"RAW" /docs/
hello $NAME
EOF
hello $NAME
RAW
USER app
WORKDIR /work/deep
RUN touch mine && id -un >who
""",
            "f": "f\n",
            "g": "g\n",
            "dir/sub/inside": "inside\n",
            "rootfs/bin/hi": "#!/bin/sh\necho hi\n",
            "rootfs/srv/www/page": "page\n",
        }
    )
    (context.path / "rootfs/bin/hi").chmod(0o755)
    root = context.rootfs(context.bake())

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


def test_archives_are_unpacked_by_add(context: Context, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").write_text("archived\n")
    packed = {"gz": "-z", "bz2": "-j", "xz": "-J", "zst": "--zstd"}
    lines = ["FROM debian:12", "COPY a.tar.gz /packed/"]
    for suffix, flag in packed.items():
        run(["tar", flag, "-cf", context.path / f"a.tar.{suffix}", "-C", tmp_path / "in", "."])
        lines.append(f"ADD a.tar.{suffix} /{suffix}/")
    context.write({"Machinefile": "\n".join([*lines, ""])})
    root = context.rootfs(context.bake())
    for suffix in packed:
        assert (root / suffix / "file").read_text() == "archived\n", suffix
    assert (root / "packed/a.tar.gz").exists()


def test_file_capabilities_are_copied_from_a_stage(context: Context) -> None:
    context.write(
        {
            "Machinefile": """\
FROM debian:12 AS made
RUN apt-get update && apt-get install -y --no-install-recommends libcap2-bin
RUN cp /bin/true /capable && setcap cap_net_raw+ep /capable && cp /bin/true /setuid && chmod 4755 /setuid
FROM debian:12
COPY --from=made /capable /usr/local/bin/
COPY --from=made --chown=daemon /capable /setuid /theirs/
"""
        }
    )
    root = context.rootfs(context.bake())
    for place in ("usr/local/bin", "theirs"):
        assert os.listxattr(root / place / "capable") == ["security.capability"]
    status = (root / "theirs/setuid").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o4755, 1)


def test_a_copy_that_would_put_a_file_over_a_directory_is_refused(context: Context) -> None:
    context.write({"Machinefile": "FROM debian:12\nCOPY tree/ /\n", "tree/etc/apt": "x\n", "tree/new": "x\n"})
    _, err = context.run("bake", "-t", context.name, "--progress", "plain", ".", code=1)
    assert "Machinefile:3" in err
    assert "a file would be put over a directory: /etc/apt" in err
