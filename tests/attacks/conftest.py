"""What the attacks share: machines to attack from, and programs compiled for the attacker.

One file per line of the threat model (docs/security.md): `test_h02_….py` attacks what H2 describes. The base
has Perl (perl-base), with sockets, ioctl and syscall. What needs more is C, compiled here, linked statically.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local.engine_lab import Bench, bench


@pytest.fixture
def lab(machine_home: Path) -> Iterator[Bench]:
    with bench(machine_home) as made:
        yield made


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], Path]:
    """Compile a C program and return its path: static, so that it runs in any machine."""

    def build(source: str, name: str = "attack") -> Path:
        code, program = tmp_path / f"{name}.c", tmp_path / name
        code.write_text(source)
        subprocess.run(["gcc", "-O1", "-static", "-o", program, code], check=True, stdin=subprocess.DEVNULL)
        return program

    return build
