"""No module imports one that, by whatever way, imports it: also not lazily, and not for its types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"


def modules(root: Path) -> dict[str, Path]:
    """Return all modules below a directory by their names."""
    files = {".".join(file.relative_to(root).with_suffix("").parts): file for file in root.rglob("*.py")}
    return {name.removesuffix(".__init__"): file for name, file in files.items()}


def imports(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules among `known` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in inner if name in known)
            if node.module in known and not all(name in known for name in inner):
                yield node.module


def cycle(root: Path) -> list[str]:
    """Return the modules of one cycle of imports below a directory; none where there is no cycle."""
    known = modules(root)
    graph = {name: set(imports(file, known)) for name, file in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert len(modules(SOURCES)) > 300
    assert cycle(SOURCES) == []


@pytest.mark.parametrize(
    "back",
    ["import pack.a", "from pack import a", "from pack.a import x", "def f():\n    from pack.a import x\n"],
)
def test_a_cycle_is_found(tmp_path: Path, back: str) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "__init__.py").touch()
    (pack / "a.py").write_text("from pack.b import y\nx = 1\n")
    (pack / "b.py").write_text(f"{back}\ny = 1\n")
    assert set(cycle(tmp_path)) == {"pack.a", "pack.b"}
