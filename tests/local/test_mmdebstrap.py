"""How mmdebstrap is called, what of its words is passed on, and how its failure is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.platforms.local.bases import mmdebstrap as module
from stoneware.platforms.local.bases.package_sources import os_release
from stoneware.platforms.local.bases.sources import Source

DUMP = """\
Acquire::http "";
Acquire::http::Proxy "http://proxy:3128/";
Acquire::http::Proxy::deb.example "DIRECT";
Acquire::https::Proxy "DIRECT";
Acquire::ftp::Proxy "ftp://proxy";
"""


def test_its_sources_are_its_own_or_those_that_are_given() -> None:
    source = Source("sid", components=("main", "contrib"))
    given = module._arguments(source, Path("/r"), ["curl", "udev"], ["deb http://m sid main"])
    assert given[-4:] == ["--", "sid", "/r", "deb http://m sid main"]
    assert "--include=curl,udev" in given
    assert not [word for word in given if word.startswith("--components")]  # the line says them
    own = module._arguments(source, Path("/r"), ["curl"], [])
    assert own[-3:] == ["--", "sid", "/r"]
    assert "--components=main,contrib" in own


def test_apts_proxies_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        assert (argv[:2], check) == (["apt-config", "dump"], False)
        return subprocess.CompletedProcess(argv, 0, DUMP, "")

    monkeypatch.setattr(f"{module.__name__}.process.run", run)
    monkeypatch.setattr(f"{module.__name__}.shutil.which", lambda name: f"/usr/bin/{name}")
    assert module._proxies() == {"http_proxy": "http://proxy:3128/"}
    monkeypatch.setattr(f"{module.__name__}.shutil.which", lambda _: None)
    assert module._proxies() == {}


def test_an_os_release_has_comments_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text(
        "# NAME=none\nNAME=\"Debian GNU/Linux\"\n\nno assignment\n ID = 'debian'\nURL=http://a?b=c\n"
    )
    assert os_release(path) == {"NAME": "Debian GNU/Linux", "ID": "debian", "URL": "http://a?b=c"}
    assert os_release(tmp_path / "none") == {}


@pytest.mark.tool
def test_its_progress_is_passed_on_and_its_failure_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    for name, text in {
        "setpriv": 'while [ "$1" != mmdebstrap ]; do shift; done\nexec "$@"\n',
        "mmdebstrap": 'echo "$*" >"$0.called"\necho "I: installing packages..." >&2\n'
        'for n in $(seq 30); do echo "line $n" >&2; done\nexec 2>&-\n'
        # It works on when it has said its last: no moment at which it might be ended.
        "n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done\ncase $* in *sid*) exit 25 ;; esac\n",
    }.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{text}")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(module, "check", lambda _: None)
    monkeypatch.setattr(module, "_proxies", dict)
    said: list[str] = []
    module.mmdebstrap(Source("trixie"), tmp_path / "root", ["curl"], [], said.append)
    assert said == ["installing packages"]
    assert (tmp_path / "bin/mmdebstrap.called").read_text().split()[-3:] == [
        "--",
        "trixie",
        f"{tmp_path}/root",
    ]
    with pytest.raises(MachineError, match=r"could not make the base sid \(exit code 25\)") as caught:
        module.mmdebstrap(Source("sid"), tmp_path / "root", ["curl"], [], said.append)
    assert caught.value.details.splitlines() == [f"line {n}" for n in range(11, 31)]
