"""Change the code in one place at a time and run the tests: a change that no test notices is printed.

    python scripts/mutants.py [--count N] [--seed TEXT] [--since COMMIT | MODULE...]

The modules are those that differ from COMMIT (default: main). Each changed copy is in a directory of its own,
before the real one on Python's path. The tests are pure ones: those that import the module, then its part's.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
LIMIT = 600.0  # seconds; a change that makes the tests hang has been noticed
# Where the tests of a part are, if not in a directory of its name.
TESTS = {
    "platforms/google": ["google"],
    "platforms/local": ["local"],
    "launch": ["cli"],
    "untrusted": ["attacks"],
    "platforms": ["platforms", "local"],
}
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Mutant:
    """A module with one expression or statement replaced."""

    module: Path
    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.module.relative_to(ROOT)}:{self.line}: {self.before}  →  {self.after}"


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of a node; each means something else."""
    match node:
        case ast.Compare(left, [op], right) if type(op) in COMPARED:
            yield ast.Compare(left, [COMPARED[type(op)]()], right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            yield ast.BinOp(left, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), right)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Return(value) if value is not None:
            yield ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call()) | ast.Raise() | ast.AugAssign():
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()


def mutants(module: Path) -> list[Mutant]:
    """Return all changes of a module that are one of `replacements`, outside of annotations."""
    text = module.read_text()
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(text)
    hints = {
        id(inner)
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if (hint := getattr(node, field, None)) is not None
        for inner in ast.walk(hint)
    }
    found = []
    for node in ast.walk(tree):
        for new in () if id(node) in hints else replacements(node):
            if not isinstance(node, ast.expr | ast.stmt):
                continue
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
            raw = text.encode()
            shown = ast.unparse(ast.fix_missing_locations(new))
            wrapped = f"({shown})" if isinstance(new, ast.expr) else shown
            whole = (raw[:begin] + wrapped.encode() + raw[end:]).decode()
            found.append(Mutant(module, node.lineno, _short(raw[begin:end].decode()), _short(shown), whole))
    return found


def _short(text: str) -> str:
    return " ".join(text.split())[:100]


def tests_of(module: Path) -> list[str]:
    """Return the files and directories of tests for a module, those that import it first."""
    inner = module.relative_to(SOURCE)
    dotted = ".".join(inner.with_suffix("").parts)
    package, _, name = dotted.rpartition(".")
    words = (dotted, f"from {package} import {name}")
    files = [
        path
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if any(w in path.read_text() for w in words)
    ]
    parts = "/".join(inner.parts[1:-1])
    part = next((part for part in TESTS if parts.startswith(part)), "")
    folders = TESTS.get(part, [parts.split("/", maxsplit=1)[0]])
    return [str(p) for p in [*files, *(ROOT / "tests" / f for f in folders)] if p.exists()]


def is_noticed(mutant: Mutant) -> bool:
    """Say whether a test fails, or hangs, with the change."""
    with tempfile.TemporaryDirectory(prefix="stoneware-mutant-") as directory:
        shutil.copytree(SOURCE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        (Path(directory) / mutant.module.relative_to(SOURCE)).write_text(mutant.text)
        words = [
            "-q",
            "-x",
            "-m",
            "pure",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            *tests_of(mutant.module),
        ]
        environment = {**os.environ, "PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *words],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
    return done.returncode not in {0, 5}  # 5: there was no test to run


def changed_since(commit: str) -> list[Path]:
    """Return the modules that differ from a commit."""
    command = ["git", "diff", "--name-only", "--diff-filter=d", commit, "--", "src/*.py"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in names]


def main() -> None:
    """Try some changes, and say which were not noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", type=Path)
    parser.add_argument("--since", default="main", metavar="COMMIT")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", default="1")
    given = parser.parse_args()
    modules = [path.resolve() for path in given.modules] or changed_since(given.since)
    candidates = [mutant for module in modules for mutant in mutants(module)]
    chance = random.Random(given.seed)  # noqa: S311
    chosen = chance.sample(candidates, min(given.count, len(candidates)))
    survived = 0
    for mutant in chosen:
        noticed = is_noticed(mutant)
        survived += not noticed
        print("noticed " if noticed else "SURVIVED", mutant, flush=True)
    print(f"{len(chosen)} of {len(candidates)} changes in {len(modules)} modules: {survived} survived")


if __name__ == "__main__":
    main()
