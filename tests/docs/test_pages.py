"""Runs what the pages show: console blocks as commands, the others through the parser of their language."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.blocks import Block, blocks_of, commands_of, matches
from tests.docs.shell import Shell

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TIERS = ("pure", "tool", "machine")


def console_blocks(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language == "console"]


def tier_of(blocks: list[Block]) -> str:
    """Return the highest tier of a page's blocks: they share one shell, so they run together."""
    return max((tier for block in blocks for tier in block.info or {"pure"}), key=TIERS.index)


def console_pages(*, machine: bool) -> Iterator[Any]:
    for page in PAGES:
        blocks = console_blocks(page)
        if blocks and (tier_of(blocks) == "machine") is machine:
            tier = getattr(pytest.mark, tier_of(blocks))
            yield pytest.param(page, marks=tier, id=page.name)


@pytest.fixture
def reader(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Give what a reader of the page has: a checkout with a commit, and stoneware on the PATH."""
    checkout = tmp_path / "stoneware"
    shutil.copytree(ROOT / "examples", checkout / "examples")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "STONEWARE_HOME": str(tmp_path / "nothing-here"),
        **{
            f"GIT_{who}_{what}": "reader@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *words], cwd=checkout, env=environment, check=True)
    return checkout, environment


def follow(page: Path, directory: Path, environment: dict[str, str]) -> None:
    """Run a page's console blocks and compare; stop at the first difference."""
    with Shell(directory, environment) as shell:
        for block in console_blocks(page):
            for command in commands_of(block):
                output, code = shell.run(command.text)
                where = f"{page.name}:{command.line}: $ {command.text}"
                assert code == command.exit_code, f"{where}\nexit code {code}:\n{output}"
                assert matches(command.output, output), f"{where}\nprinted:\n{output}\nnot:\n{command.output}"


@pytest.mark.parametrize("page", list(console_pages(machine=False)))
def test_commands(page: Path, reader: tuple[Path, dict[str, str]]) -> None:
    follow(page, *reader)


@pytest.fixture
def tidy_home(machine_home: Path) -> Iterator[Path]:
    """Give the store of the machine tests; what a page leaves behind in it is removed."""
    from stoneware.platforms.local.platform import LocalPlatform
    from stoneware.platforms.local.store.images import LocalImageStore

    store = LocalImageStore.open(machine_home)
    platform = LocalPlatform(store)
    machines = {machine.name for machine in platform.machines()}
    volumes = {volume.name for volume in store.volumes()}
    images = set(store.image_ids())
    networks = {network.name for network in platform.networks()}
    clusters = set(machine_home.glob("clusters/*"))
    yield machine_home
    for name in {machine.name for machine in platform.machines()} - machines:
        platform.destroy(name)
    for name in {volume.name for volume in store.volumes()} - volumes:
        store.remove_volume(name)
    for name in {network.name for network in platform.networks()} - networks:
        platform.destroy_network(name)
    for cluster in set(machine_home.glob("clusters/*")) - clusters:
        shutil.rmtree(cluster)
    for image in set(store.image_ids()) - images:
        store.remove_image(image)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", list(console_pages(machine=True)))
def test_machines(page: Path, reader: tuple[Path, dict[str, str]], tidy_home: Path) -> None:
    directory, environment = reader
    follow(page, directory, environment | {"STONEWARE_HOME": str(tidy_home)})


def parse_dockerfile(text: str) -> None:
    import dockerfile

    assert dockerfile.parse_string(text)


def parse_shell(text: str) -> None:
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def parse_yaml(text: str) -> None:
    assert list(yaml.parse(text))  # events only: Compose has tags of its own


def parse_toml(text: str) -> None:
    """Read a stoneware.toml: the settings that it shows are right."""
    from stoneware.platforms.google.settings import read_settings
    from stoneware.platforms.local.bases.sources import own_bases
    from stoneware.platforms.project_file import ProjectFile

    file = ProjectFile(Path("stoneware.toml"), text, tomllib.loads(text))
    assert "google" in file.values or own_bases(file)
    if "google" in file.values:
        read_settings(file, {})


PARSERS: dict[str, Callable[[str], object]] = {
    "dockerfile": parse_dockerfile,
    "json": json.loads,
    "sh": parse_shell,
    "toml": parse_toml,
    "yaml": parse_yaml,
}
UNCHECKED = {"", "text", "console", "terraform", "hcl", "nginx", "properties", "python", "abnf"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_other_blocks_are_what_they_say(page: Path) -> None:
    for block in blocks_of(page):
        language = block.language.lower()
        assert language in PARSERS or language in UNCHECKED, f"{page.name}:{block.line}: {block.language}?"
        if language in PARSERS:
            PARSERS[language](block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    import re

    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target or target.startswith(("#", "mailto:")):
            continue
        assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"
