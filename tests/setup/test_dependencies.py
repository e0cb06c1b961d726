"""pyproject.toml says what is imported, and the lock files say the same as it."""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.setup.index import ROOT, locked, version_of

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(text) for text in texts]
    for name, texts in PROJECT["project"]["optional-dependencies"].items()
}
ALL = [*RUNTIME, *(requirement for extra in EXTRAS.values() for requirement in extra)]
# In one lock only: what an extra wants that excludes the oldest version of another library.
NEWEST_ONLY = [*EXTRAS["emulator"], *EXTRAS["google"]]
# Which packages hold a module; what is in one lock only is not installed from the other.
HOLDERS = {
    "googleapiclient": ["google-api-python-client"],
    "google_crc32c": ["google-crc32c"],
    "requests": ["requests"],
    **metadata.packages_distributions(),
}
OURS = {"stoneware", "tests", "bench"}


@functools.cache
def imports_of(file: Path) -> frozenset[str]:
    """Return the modules that a file imports, by the first part of their names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module)
    return frozenset(name.split(".")[0] for name in names)


def imported(files: Iterable[Path]) -> dict[str, Path]:
    """Return the outside modules that files import, each with a file that does."""
    found: dict[str, Path] = {}
    for file in files:
        for name in imports_of(file):
            found[name] = file
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names | OURS}


def undeclared(folders: Iterable[str], declared: Iterable[Requirement]) -> list[str]:
    """Return a line for each module that folders import and no declared package holds."""
    names = {canonicalize_name(requirement.name) for requirement in declared}
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert files
    return [
        f"{file.relative_to(ROOT)} imports {module}"
        for module, file in imported(files).items()
        if not names & {canonicalize_name(name) for name in HOLDERS.get(module, ())}
    ]


def test_what_the_program_imports_is_declared() -> None:
    optional = [requirement for name, extra in EXTRAS.items() if name != "dev" for requirement in extra]
    assert undeclared(["src"], [*RUNTIME, *optional]) == []


def test_what_tests_and_tools_import_is_declared() -> None:
    assert undeclared(["tests", "bench", "scripts", "examples"], ALL) == []


def test_an_import_that_is_not_declared_is_found() -> None:
    rest = [requirement for requirement in ALL if requirement.name != "msgpack"]
    assert {text.partition(" ")[2] for text in undeclared(["src"], rest)} == {"imports msgpack"}


@pytest.mark.parametrize(
    ("lock", "but"), [("requirements.lock", []), ("requirements-lowest.lock", NEWEST_ONLY)]
)
def test_the_locks_hold_what_is_declared(lock: str, but: list[Requirement]) -> None:
    found = locked(ROOT / lock)
    build = [Requirement(text) for text in PROJECT["build-system"]["requires"]]
    wrong = [
        str(wanted)
        for wanted in [*ALL, *build]
        if wanted not in but
        if (name := canonicalize_name(wanted.name)) not in found
        or not wanted.specifier.contains(version_of(found[name]), prereleases=True)
    ]
    assert wrong == [], "run: make lock"


def test_each_lower_bound_is_the_version_that_is_tried() -> None:
    """What `make test-lowest` runs with is what pyproject.toml promises, to the digits it has."""
    lowest = locked(ROOT / "requirements-lowest.lock")
    newest = locked(ROOT / "requirements.lock")
    wrong = []
    for wanted in ALL:
        found = newest if wanted in NEWEST_ONLY else lowest
        bounds = [bound.version for bound in wanted.specifier if bound.operator == ">="]
        tried = version_of(found[canonicalize_name(wanted.name)])
        if len(bounds) != 1 or not SpecifierSet(f"=={bounds[0]}.*").contains(tried):
            wrong.append(f"{wanted}: {tried} is tried")
    assert wrong == [], "raise the bound in pyproject.toml to the version that is tried, or run: make lock"
