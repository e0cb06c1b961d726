"""What is read ahead of the seal, from the root file system that a builder booted from."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.bake.sealed import TEMPLATES, preload
from stoneware.config.render import expressions_of, variables_of

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
