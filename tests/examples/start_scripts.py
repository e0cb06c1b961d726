"""The start script of an example, moved to a directory of its own, over programs that note their calls."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StartScript:
    """A script and its directory: programs in `bin`, the disk in `volume`, what was called in `calls`."""

    path: Path

    @property
    def root(self) -> Path:
        return self.path.parent

    @property
    def volume(self) -> Path:
        return self.root / "volume"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "CALLS": str(self.root / "calls"),
            "TMPDIR": str(self.root),
        }

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        env = {**self.environment, **extra}
        return subprocess.run([self.path, *words], env=env, capture_output=True, text=True, check=False)

    def program(self, name: str, text: str) -> None:
        """Lay a program where the script finds it first."""
        write_program(self.root / "bin" / name, text)


def start_script(source: Path, root: Path, places: Mapping[str, str]) -> StartScript:
    """Move a script into an empty directory; `places` are the directory's own, by the paths it has."""
    text = source.read_text()
    for path, here in places.items():
        assert path in text
        text = text.replace(path, str(root / here))
    script = StartScript(root / source.name)
    write_program(script.path, text)
    script.volume.mkdir()
    return script


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def lay(volume: Path, files: Mapping[str, str]) -> None:
    """Put files onto a disk; a name that ends with a slash is a directory."""
    for name, text in files.items():
        path = volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_text(text)


def files_of(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()
    }
