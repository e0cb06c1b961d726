"""What is read of a builder: ahead of the seal from its root file system, and what it sends at its end."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from stoneware.bake.seal_report import TEMPLATES, describe_seal, preload, read_results, told_units
from stoneware.config.render import expressions_of, variables_of
from stoneware.errors import BuildError
from stoneware.machinefile.recipe import ImageConfig
from tests.archives import Archive

pytestmark = pytest.mark.pure


def test_templates_are_read_ahead(tmp_path: Path) -> None:
    directory = tmp_path / TEMPLATES / "etc"
    directory.mkdir(parents=True)
    (directory / "app.conf").write_text("port=${PORT:-80}\n")
    preload(tmp_path, expected=False)
    known = (variables_of.cache_info().misses, expressions_of.cache_info().misses)
    [use] = variables_of(b"port=${PORT:-80}\n", f"/{TEMPLATES}etc/app.conf")
    [expression] = expressions_of(b"port=${PORT:-80}\n", f"/{TEMPLATES}etc/app.conf")
    assert (use.name, use.default, expression.text) == ("PORT", "80", "${PORT:-80}")
    assert (variables_of.cache_info().misses, expressions_of.cache_info().misses) == known


def test_what_is_wrong_is_told_later(tmp_path: Path) -> None:
    directory = tmp_path / TEMPLATES
    directory.mkdir(parents=True)
    (directory / "bad.conf").write_text("${\n")
    (directory / "gone.conf").symlink_to("/nowhere")
    preload(tmp_path, expected=True)
    preload(tmp_path / "missing", expected=False)


def test_what_a_builder_sends_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = (
        Archive().add("./files.sum", content=b"x").add("dev", tarfile.CHRTYPE).add("./etc/t", content=b"y")
    )
    assert read_results(archive.bytes()) == {"files.sum": b"x", "etc/t": b"y"}
    for bad in (b"x" * 512, Archive().add("../x", content=b"x").bytes(), archive.bytes()[:700]):
        with pytest.raises(BuildError, match="cannot be read"):
            read_results(bad)
    monkeypatch.setattr("stoneware.bake.seal_report._MOST", 10_000)
    with pytest.raises(BuildError) as caught:
        read_results(Archive().add("x", content=bytes(10_000)).bytes())
    assert "more than" in caught.value.details


def test_reading_ahead_follows_no_link_out_of_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's own files would be read in the place of the image's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "host.conf").write_text("${HOST}")
    root = tmp_path / "root"
    (root / "etc/stoneware").mkdir(parents=True)
    (root / "own").mkdir()
    (root / "own/own.conf").write_text("${OWN}")
    os.mkfifo(root / "own/fifo.conf")
    (root / "own/out.conf").symlink_to(outside / "host.conf")
    read: list[bytes] = []
    monkeypatch.setattr("stoneware.bake.seal_report.variables_of", lambda text, _: read.append(text))
    for target in (str(outside), "../../../outside", "/own"):
        (root / TEMPLATES.rstrip("/")).symlink_to(target)
        preload(root, expected=False)
        (root / TEMPLATES.rstrip("/")).unlink()
    assert read == [b"${OWN}"]


def test_units_are_told_by_whether_they_start() -> None:
    files = {"files.sum": b"0" * 64 + b" 3 40\n", "packages.tsv": b""}
    table = b"app.service\tstep\tyes\nnginx.service\tpackage\tno\nweb.service\timage\tyes\n"
    units = describe_seal({**files, "services.tsv": table}, ImageConfig(), ()).units
    assert units[1] == {"name": "nginx.service", "enabled_by": "package", "starts": False}
    assert told_units(units) == [
        "a machine starts app.service (by a step), web.service (by CMD or ENTRYPOINT)",
        "a machine does not start nginx.service: enabled by packages only, and the image has a CMD or "
        "ENTRYPOINT. To have it started: RUN systemctl enable nginx.service",
    ]
    assert told_units(()) == told_units(units[2:]) == []
