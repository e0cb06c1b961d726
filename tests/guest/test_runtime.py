"""What a machine is told besides its image: its service's command and limits, settings, files."""

from __future__ import annotations

import stat

import pytest

from stoneware.model.runtime import Process, System, process_text, system_text
from tests.guest.support import FakeMetadata, Root

pytestmark = pytest.mark.tool
HOSTILE = ("a b", "it's", "$HOME `id`", "two\nlines", "", "\\n", "A=b")


def tell(metadata: FakeMetadata, process: Process, system: System | None = None) -> None:
    metadata.set(stoneware_process=process_text(process), stoneware_system=system_text(system or System()))


def test_a_command_takes_the_place_of_the_images_word_for_word(root: Root, metadata: FakeMetadata) -> None:
    root.put("usr/lib/stoneware/image/service.argv", "set -- echo the image\n")
    root.put("usr/lib/stoneware/image/process", "user='' workdir=/root\n")
    root.put("usr/lib/stoneware/image/healthcheck.argv", "set -- pwd\n")
    tell(metadata, Process(("printf", "[%s]", *HOSTILE), working_dir="/srv/it's"))
    assert root.run("stoneware-boot").returncode == 0
    assert root.run("service-exec", "service").stdout == "".join(f"[{word}]" for word in HOSTILE)
    assert root.run("service-exec", "healthcheck").stdout == f"{root.path}/srv/it's\n"


def test_without_a_command_it_is_the_images(root: Root, metadata: FakeMetadata) -> None:
    root.put("usr/lib/stoneware/image/service.argv", "set -- sh -c 'id -u; pwd'\n")
    root.put("usr/lib/stoneware/image/process", "user=1000:1001 workdir=/var\n")
    tell(metadata, Process(user="0", oom_score_adj=0, working_dir="/tmp"))
    assert root.run("stoneware-boot").returncode == 0
    assert root.run("service-exec", "service").stdout == f"0\n{root.path}/tmp\n"
    metadata.set(stoneware_process="")  # of another start
    (root.path / "run/stoneware/md/etag").unlink()
    assert root.run("stoneware-boot").returncode == 0
    assert root.run("service-exec", "service").stdout == f"1000\n{root.path}/var\n"


def test_a_service_has_only_what_it_was_left(root: Root, metadata: FakeMetadata) -> None:
    limits = Process(
        ("cat", "/proc/self/status", "/proc/self/oom_score_adj"),
        user="joe:50",
        groups=("joe", "4711"),
        cap_drop=("all",),
        cap_add=("net_bind_service",),
        no_new_privileges=True,
        oom_score_adj=500,
    )
    tell(metadata, limits)
    assert root.run("stoneware-boot").returncode == 0
    done = root.run("service-exec", "service")
    seen = dict(line.split(":\t") for line in done.stdout.splitlines() if ":\t" in line)
    assert (seen["Uid"].split()[0], seen["Gid"].split()[0]) == ("1000", "50")
    assert set(seen["Groups"].split()) == {"1001", "4711"}
    assert (seen["CapBnd"], seen["NoNewPrivs"]) == (f"{1 << 10:016x}", "1")
    assert done.stdout.splitlines()[-1] == "500"


def test_a_group_that_is_not_there_is_named(root: Root, metadata: FakeMetadata) -> None:
    tell(metadata, Process(("true",), groups=("nosuch",)))
    assert root.run("stoneware-boot").returncode == 0
    done = root.run("service-exec", "service")
    assert (done.returncode, done.stderr) == (1, "stoneware: there is no group named nosuch in the machine\n")


def test_its_stop_signal_is_that_of_its_unit(root: Root, metadata: FakeMetadata) -> None:
    root.put("usr/lib/stoneware/image/service", "web.service\n")
    tell(metadata, Process(stop_signal="SIGQUIT"))
    assert root.run("stoneware-boot").returncode == 0
    dropin = root.path / "run/systemd/system/web.service.d/60-stoneware.conf"
    assert dropin.read_text() == "[Service]\nKillSignal=SIGQUIT\n"


def test_hosts_and_resolver_have_what_they_are_told(root: Root, metadata: FakeMetadata) -> None:
    told = System(hosts=("db=10.0.0.5", "db=fd00::2"), dns_search=("example.com",), dns_options=("ndots:2",))
    tell(metadata, Process(), told)
    for _ in range(2):  # a second start does not add them again
        (root.path / "run/stoneware/md/etag").unlink(missing_ok=True)
        assert root.run("stoneware-boot").returncode == 0
    assert (root.path / "etc/hosts").read_text().splitlines()[-2:] == [
        "10.0.0.5 db # stoneware",
        "fd00::2 db # stoneware",
    ]
    assert (root.path / "etc/hosts").read_text().count("10.0.0.5") == 1
    resolv = (root.path / "etc/resolv.conf").read_text().splitlines()
    assert resolv == [
        "search example.com zone.c.project.internal",
        "options ndots:2",
        "nameserver 169.254.169.254",
    ]


def test_kernel_parameters_are_set_and_what_cannot_be_ends_the_boot(
    root: Root, metadata: FakeMetadata
) -> None:
    for name in ("net/core", "kernel", "net/ipv4/conf/eth0.1"):
        (root.path / "proc/sys" / name).mkdir(parents=True)
    proc = {"SW_PROC": str(root.path / "proc")}
    parameters = (
        ("kernel.sem", "250 32000 32 128"),
        ("net.core.somaxconn", "9"),
        ("net/ipv4/conf/eth0.1/x", "1"),
    )
    tell(metadata, Process(), System(sysctls=parameters))
    assert root.run("stoneware-boot", env=proc).returncode == 0
    written = {
        name: (root.path / "proc/sys" / name).read_text() for name in ("kernel/sem", "net/core/somaxconn")
    }
    assert written == {"kernel/sem": "250 32000 32 128\n", "net/core/somaxconn": "9\n"}
    assert (root.path / "proc/sys/net/ipv4/conf/eth0.1/x").read_text() == "1\n"
    tell(metadata, Process(), System(sysctls=(("net.nosuch.x", "1"),)))
    (root.path / "run/stoneware/md/etag").unlink()
    done = root.run("stoneware-boot", env=proc)
    assert done.returncode == 1
    assert "the kernel parameter net.nosuch.x cannot be set to 1" in done.stderr


def test_files_with_a_path_are_written_over_the_images(root: Root, metadata: FakeMetadata) -> None:
    root.put("etc/app/app.conf", "of the image\n", 0o600)
    metadata.mount(("/etc/app/app.conf", b"a config\n"), ("/new/dir/file", b""), ("token", b"t"), mode="444")
    done = root.run("stoneware-boot")
    assert (done.returncode, done.stderr) == (0, "")
    config = root.path / "etc/app/app.conf"
    assert (config.read_text(), stat.S_IMODE(config.stat().st_mode)) == ("a config\n", 0o444)
    assert (root.path / "new/dir/file").read_bytes() == b""
    assert [path.name for path in (root.path / "run/secrets").iterdir()] == ["token"]
    assert [path.name for path in (root.path / "etc/app").iterdir()] == ["app.conf"]
    metadata.mount(("/etc/app/app.conf", b"another\n"), mode="400")
    assert root.run("stoneware-boot", "--again").returncode == 0
    assert config.read_text() == "another\n"
    assert not (root.path / "new/dir/file").exists()


@pytest.mark.parametrize("target", ["/etc", "/etc/../x", "//x"])
def test_a_path_where_no_file_can_be_is_told(root: Root, metadata: FakeMetadata, target: str) -> None:
    metadata.mount((target, b"x"))
    done = root.run("stoneware-boot")
    assert done.returncode == 1
    assert target in done.stderr
