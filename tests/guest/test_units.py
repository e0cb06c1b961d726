"""The files of one image, the installer and the assembled agent: no machine needed."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.guest import digest, install
from stoneware.guest.agent import build_agent_script
from stoneware.guest.checks import CHECKS
from stoneware.guest.install import guest_files, guest_links
from stoneware.guest.lists import write_file_lists
from stoneware.guest.units import encode, health_override, image_files, service_unit
from stoneware.machinefile.recipe import HealthCheck, ImageConfig

IMAGE = "/usr/lib/stoneware/image"


def _texts(config: ImageConfig, name: str = "hello") -> dict[str, str]:
    return {
        path: content.decode() for path, (_, content) in image_files(config, name, "v1", "c0ffee").items()
    }


def test_a_service_is_made_of_entrypoint_and_cmd() -> None:
    config = ImageConfig(
        entrypoint=("/bin/run it", "--x=it's"),
        cmd=("$HOME", "new\nline"),
        user="app:staff",
        workdir="/srv/a b",
        stop_signal="quit",
        labels=(("stoneware.stop-timeout", "120"),),
    )
    files = _texts(config)
    unit = files["/etc/systemd/system/hello.service"]
    assert "ExecStart=/usr/lib/stoneware/service-exec service\n" in unit
    assert "KillSignal=SIGQUIT\n" in unit
    assert "Wants=stoneware-output.service\n" in unit
    output = files["/etc/systemd/system/stoneware-output.service"]
    assert "Before=hello.service\n" in output
    assert "SyslogIdentifier=hello\nLogExtraFields=OBJECT_SYSTEMD_UNIT=hello.service\n" in output
    assert "TimeoutStopSec=120\n" in unit
    words = shlex.split(files[f"{IMAGE}/service.argv"])
    assert words == ["set", "--", "/bin/run it", "--x=it's", "$HOME", "new\nline"]
    assert shlex.split(files[f"{IMAGE}/process"]) == ["user=app:staff", "workdir=/srv/a b"]
    assert files[f"{IMAGE}/service"] == "hello.service\n"
    assert files[f"{IMAGE}/commit"] == "c0ffee\n"


def test_an_image_without_command_has_no_service() -> None:
    files = _texts(ImageConfig(user="x"))
    assert service_unit(ImageConfig(), "hello") == ""
    assert not [path for path in files if path.endswith(".service") or "service" in Path(path).name]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("kafka", "kafka.service"),
        ("team/app", "team-app.service"),
        ("dbus", "image-dbus.service"),
        ("systemd-journald", "image-systemd-journald.service"),
        ("stoneware-boot", "image-stoneware-boot.service"),
        ("a%b c", "a-b-c.service"),
    ],
)
def test_the_service_has_the_name_of_the_image(name: str, unit: str) -> None:
    assert service_unit(ImageConfig(cmd=("x",)), name) == unit


@pytest.mark.parametrize(
    ("given", "written"),
    [("", "SIGTERM"), ("SIGINT", "SIGINT"), ("usr1", "SIGUSR1"), ("9", "9"), ("SIGRTMIN+3", "SIGRTMIN+3")],
)
def test_stop_signals(given: str, written: str) -> None:
    unit = _texts(ImageConfig(cmd=("x",), stop_signal=given))["/etc/systemd/system/hello.service"]
    assert f"KillSignal={written}\n" in unit


@pytest.mark.parametrize(
    "config",
    [
        ImageConfig(cmd=("x",), stop_signal="SIGTERM\nExecStart=/bin/evil"),
        ImageConfig(cmd=("x",), labels=(("stoneware.stop-timeout", "5 min"),)),
    ],
)
def test_nonsense_is_refused(config: ImageConfig) -> None:
    with pytest.raises(InputError):
        image_files(config, "hello", "v1", None)


def test_a_description_cannot_break_the_unit() -> None:
    files = image_files(ImageConfig(cmd=("x",)), "a\nExecStart=/bin/evil %n", "v\n1", None)
    unit = next(text.decode() for path, (_, text) in files.items() if path.endswith(".service"))
    assert [line for line in unit.splitlines() if line.startswith("ExecStart=")] == [
        "ExecStart=/usr/lib/stoneware/service-exec service"
    ]


def test_health_check_times_are_milliseconds() -> None:
    check = HealthCheck(
        ("CMD", "a b"), interval=1.5, timeout=0.2, start_period=60, start_interval=5, retries=0
    )
    files = _texts(ImageConfig(healthcheck=check))
    assert files[f"{IMAGE}/healthcheck"] == (
        "interval=1500 timeout=200 start_period=60000 start_interval=5000 retries=1\n"
    )
    assert files[f"{IMAGE}/healthcheck.argv"] == "set -- CMD 'a b'\n"
    assert f"{IMAGE}/healthcheck" not in _texts(ImageConfig(healthcheck=HealthCheck(None)))


TIMES = "interval={} timeout={} start_period={} start_interval={} retries={}\n"
OF_IMAGE = HealthCheck(("curl",), interval=1, timeout=2, start_period=3, start_interval=4, retries=5)


@pytest.mark.parametrize(
    ("given", "image", "text"),
    [
        ({}, None, "none\n"),
        ({"interval": 2}, HealthCheck(None), "none\n"),
        ({"test": ("x",), "disabled": True}, OF_IMAGE, "none\n"),
        ({"disabled": True}, None, "none\n"),
        ({"test": ("x", "a b")}, None, TIMES.format(30000, 30000, 0, 5000, 3) + "set -- x 'a b'\n"),
        ({"test": ("x",)}, OF_IMAGE, TIMES.format(1000, 2000, 3000, 4000, 5) + "set -- x\n"),
        ({"start_period": 0, "retries": 0}, OF_IMAGE, TIMES.format(1000, 2000, 0, 4000, 1)),
        ({"test": ("x",), "timeout": 0.25}, HealthCheck(None),
         TIMES.format(30000, 250, 0, 5000, 3) + "set -- x\n"),
    ],
)  # fmt: skip
def test_a_health_check_of_the_metadata(given: dict[str, Any], image: HealthCheck | None, text: str) -> None:
    assert health_override(**given, image_check=image) == text


def test_the_reload_label_uses_the_shell_of_the_image() -> None:
    config = ImageConfig(shell=("/bin/bash", "-ec"), labels=(("stoneware.reload", "systemctl reload nginx"),))  # noqa: S604
    assert _texts(config)[f"{IMAGE}/reload.argv"] == "set -- /bin/bash -ec 'systemctl reload nginx'\n"


def test_owned_names_everything_that_the_image_lays_down() -> None:
    files = _texts(ImageConfig(cmd=("x",)))
    owned = files[f"{IMAGE}/owned"].splitlines()
    assert set(files) <= set(owned)
    assert "/etc/systemd/system/multi-user.target.wants/hello.service" in owned


def test_encoding() -> None:
    assert encode({"B": "x\\y\nz\r", "A": ""}) == "A=\nB=x\\\\y\\nz\\r\n"


def test_install_makes_a_machine_without_identity(tmp_path: Path) -> None:
    for name in (
        "usr",
        "etc/systemd/system/multi-user.target.wants",
        "etc/systemd/system/sockets.target.wants",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/systemd/system/multi-user.target.wants/cron.service").symlink_to("/x")
    for name in ("machine-id", "hostname", "resolv.conf"):
        (tmp_path / "etc" / name).write_text("builder")
    install(tmp_path)
    first = sorted(str(path) for path in tmp_path.rglob("*"))
    install(tmp_path)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == first
    assert (tmp_path / "etc/machine-id").read_bytes() == b""
    assert not (tmp_path / "etc/hostname").exists()
    assert not (tmp_path / "etc/resolv.conf").exists()
    base = (tmp_path / "usr/lib/stoneware/base-units").read_text().splitlines()
    assert {"cron.service", "stoneware-boot.service", "systemd-networkd.service"} <= set(base)
    for path, (mode, content) in guest_files().items():
        assert (tmp_path / path.lstrip("/")).read_bytes() == content
        assert (tmp_path / path.lstrip("/")).stat().st_mode & 0o777 == mode
    for path, target in guest_links().items():
        assert str((tmp_path / path.lstrip("/")).readlink()) == target


@pytest.mark.tool
def test_the_files_of_a_base_are_hashed_once(tmp_path: Path) -> None:
    for name in ("usr/share", "etc", "var"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "usr/share/quote's name").write_text("x")
    install(tmp_path)
    write_file_lists(tmp_path)
    image = tmp_path / "usr/lib/stoneware/image"
    rows = [line.split("\t") for line in (image / "files.tsv").read_text().splitlines()]
    digests = {row[6]: row[0] for row in rows}
    assert digests["/usr/share/quote's name"] == hashlib.sha256(b"x").hexdigest()
    assert len((image / "files.inodes").read_text().splitlines()) == len(rows)


def test_the_digest_is_one_of_content() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", digest())
    assert digest() == digest()


def test_every_script_of_a_unit_is_installed() -> None:
    files = guest_files()
    for path, (_, content) in files.items():
        for program in (
            re.findall(r"^Exec\w+=-?(\S+)", content.decode(), re.M) if path.endswith(".service") else ()
        ):
            assert files[program][0] == 0o755


def test_the_agent_fits_into_an_attribute_and_knows_every_check() -> None:
    script = build_agent_script()
    assert len(script.encode()) < 200_000
    for check in CHECKS:
        assert f"check_{check.name.replace('-', '_')}()" in script
        assert check.severity in ("error", "warning")
        assert check.reason
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert set(re.findall(r"^check_(\w+)\(\)", script, re.M)) == {
        check.name.replace("-", "_") for check in CHECKS
    }
