"""Bases that a stoneware.toml names, and what mmdebstrap is given for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.platforms import registry
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.bases.mmdebstrap import _failure
from stoneware.platforms.local.bases.package_sources import lines_of
from stoneware.platforms.local.bases.sources import Source, sources
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.project_file import Project

UBUNTU = """\
platform = "local"

[bases."ubuntu:24.04"]
suite = "noble"
mirror = "https://mirror.example/ubuntu"
components = ["main", "universe"]
keyring = "keys/ubuntu.gpg"
"""


def project(tmp_path: Path, text: str) -> Project:
    (tmp_path / "stoneware.toml").write_text(text)
    (tmp_path / "below").mkdir(exist_ok=True)
    return registry.project_of(tmp_path / "below")


def test_a_file_names_bases(tmp_path: Path) -> None:
    found = sources(project(tmp_path, UBUNTU))
    assert sorted(found) == ["debian:12", "debian:13", "ubuntu:24.04"]
    keyring = str(tmp_path / "keys/ubuntu.gpg")
    assert found["ubuntu:24.04"] == Source(
        "noble", "https://mirror.example/ubuntu", ("main", "universe"), keyring
    )
    assert sorted(sources(None)) == ["debian:12", "debian:13"]


def test_a_file_is_read_once(tmp_path: Path) -> None:
    found = project(tmp_path, UBUNTU)
    assert registry.chosen(found) == "local"
    (tmp_path / "stoneware.toml").unlink()
    assert "ubuntu:24.04" in sources(found)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[bases."debian:12"]\nsuite = "sid"\n', 2, "the base debian:12 is a base of Stoneware's own"),
        ('[bases.debian]\nsuite = "sid"\n', 2, "the base debian has no tag"),
        ('[bases]\n"a:1" = "sid"\n', 2, "the base a:1 is no table"),
        ('[bases."a:1"]\n\nmirror = "https://m"\n', 1, "the base a:1: there is no suite"),
        ('[bases."a:1"]\nsuite = "sid"\nsuit = 1\n', 3, "the base a:1 has no key 'suit'"),
        ('[bases."a:1"]\nsuite = "-x"\n', 2, "the base a:1: suite has the value '-x'"),
        ('[bases."a:1"]\nsuite = "s"\nmirror = "m [x]"\n', 3, "the base a:1: mirror has the value 'm [x]'"),
        ('[bases."a:1"]\nsuite = "s"\ncomponents = []\n', 3, "the base a:1: components has the value []"),
        ('[bases."a:1"]\nsuite = "s"\ncomponents = ["a b"]\n', 3, "the base a:1: components has"),
        ('[bases."a:1"]\nsuite = "s"\nkeyring = 5\n', 3, "the base a:1: keyring has the value 5"),
        ('[bases."a:1"]\nsuite = "s"\nfrozen = "yes"\n', 3, "the base a:1: frozen has the value 'yes'"),
        ('[bases."A:1"]\nsuite = "sid"\n', 2, "invalid image name 'A'"),
        ("bases = 5\n", 1, "bases has the value 5, which is no table"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(InputError) as caught:
        sources(project(tmp_path, text))
    assert str(caught.value).startswith(said)
    assert caught.value.location == f"{tmp_path}/stoneware.toml:{line}"


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ('[bases."a:1"]\nsuite = "sid"\ncomponent = ["main"]\n', "write components for component"),
        ('[bases."a:1"]\nsuite = "sid"\nxyzzy = 1\n', "take it out"),
        ('[base."a:1"]\nsuite = "sid"\n', "write bases for base"),
        ('platfrom = "local"\n', "write platform for platfrom"),
        ("xyzzy = 1\n", "take it out, or put it"),
    ],
)
def test_a_key_that_is_not_known_is_told_with_the_nearest(tmp_path: Path, text: str, typed: str) -> None:
    with pytest.raises(InputError) as caught:
        sources(project(tmp_path, text))
    assert caught.value.resolution.startswith(typed)


def test_a_platform_that_is_not_there_has_the_line_that_names_it(tmp_path: Path) -> None:
    found = project(tmp_path, '\nplatform = "gogle"\n')
    for name, place in (("gogle", f"{tmp_path}/stoneware.toml:2"), ("moon", "")):
        with pytest.raises(InputError, match=f"there is no platform '{name}'") as caught:
            registry.backend(name, found)
        assert caught.value.location == place


def test_the_lines_of_a_base(tmp_path: Path) -> None:
    (tmp_path / "keys.gpg").write_text("")
    (tmp_path / "etc/apt").mkdir(parents=True)
    given = Source("noble", "https://m/ubuntu", ("main", "universe"), "/keys.gpg")
    assert lines_of(given, tmp_path) == ["deb [signed-by=/keys.gpg] https://m/ubuntu noble main universe"]
    assert lines_of(Source("noble", "https://m/ubuntu"), tmp_path) == ["deb https://m/ubuntu noble main"]
    frozen = Source("sid", "https://m", frozen=True)
    assert lines_of(frozen, tmp_path) == ["deb [check-valid-until=no] https://m sid main"]
    with pytest.raises(InputError, match=r"there is no keyring /gone\.gpg"):
        lines_of(Source("noble", "https://m/ubuntu", keyring="/gone.gpg"), tmp_path)


def test_a_keyring_that_is_not_there_is_told_before_the_base_is_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.project = project(tmp_path, UBUNTU)
    for ask in (
        lambda: bases.base_identity(store, "ubuntu:24.04"),
        lambda: bases.ensure_base(store, "ubuntu:24.04", refresh=True, progress=print),
    ):
        with pytest.raises(InputError, match=r"there is no keyring .*/keys/ubuntu\.gpg") as caught:
            ask()
        assert caught.value.location == f"{tmp_path}/stoneware.toml:7"
    # One that is not asked for may be for another computer.
    assert bases.base_identity(store, "debian:12") is None
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/ubuntu.gpg").write_text("")
    assert bases.base_identity(store, "ubuntu:24.04") is None


def test_what_mmdebstrap_fails_at_is_told_with_the_mirror_that_it_took_from(tmp_path: Path) -> None:
    there = f"{tmp_path}/stoneware.toml"
    text = UBUNTU + '[bases."debian:sid"]\nsuite = "sid"\n'
    text += '[bases."own:1"]\nsuite = "own"\nmirror = "http://me:word@m.example/deb/"\n'
    found = sources(project(tmp_path, text))
    error = _failure(found["ubuntu:24.04"], 25, ["E: apt-get update failed"])
    assert error.brief == "mmdebstrap could not make the base noble (exit code 25)"
    assert error.details == "E: apt-get update failed"
    assert error.resolution == (
        "check that the mirror https://mirror.example/ubuntu has the suite noble: "
        "curl -fI https://mirror.example/ubuntu/dists/noble/Release"
    )
    assert error.location == f"{there}:5"
    own = _failure(found["own:1"], 25, [])
    assert own.resolution.startswith("check that the mirror http://m.example/deb has the suite own: curl")
    sid = _failure(found["debian:sid"], 25, [])
    assert (sid.location, sid.resolution) == (
        f"{there}:9",
        "check that this computer's apt works (apt-get update) and its mirror has sid",
    )
    known = _failure(found["debian:12"], 25, [])
    assert (known.location, known.resolution) == (
        "",
        "check that this computer's apt works (apt-get update), then run the command again",
    )


def test_without_a_mirror_it_is_the_computers_own_debian(tmp_path: Path) -> None:
    keyring = tmp_path / "usr/share/keyrings/debian-archive-keyring.gpg"
    keyring.parent.mkdir(parents=True)
    keyring.write_text("")
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text("deb https://m/debian bookworm main\n")
    (tmp_path / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert lines_of(Source("sid"), tmp_path) == [f"deb {signed} https://m/debian sid main"]
    assert lines_of(Source("bookworm"), tmp_path) == [f"deb {signed} https://m/debian bookworm main"]
    (tmp_path / "etc/os-release").write_text("ID=ubuntu\nVERSION_CODENAME=noble\n")
    assert lines_of(Source("sid"), tmp_path) == []


def test_another_source_is_another_base(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.project = project(tmp_path, UBUNTU)
    before = bases.source_of(store, "ubuntu:24.04")
    store.project = project(tmp_path, UBUNTU.replace("noble", "resolute"))
    assert bases.source_of(store, "ubuntu:24.04") != before
    with pytest.raises(InputError, match=r"there is no base 'ubuntu:22\.04'"):
        bases.source_of(store, "ubuntu:22.04")
