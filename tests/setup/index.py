"""A package index of a later day, in a directory: it has newer versions of everything that is locked."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LATER = "99999"


@dataclass(frozen=True)
class Package:
    """A version of a package, without any code."""

    name: str
    version: str
    requires: Sequence[str] = ()
    extras: Sequence[str] = ()


def locked(lock: Path) -> dict[str, Requirement]:
    """Return the packages of a lock file that are for this Python, by name."""
    found: dict[str, Requirement] = {}
    for line in lock.read_text().splitlines():
        if not line or line[0] in " #":
            continue
        requirement = Requirement(line.removesuffix("\\"))
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = requirement
    return found


def version_of(requirement: Requirement) -> str:
    """Return the one version that a lock file's line names."""
    (pin,) = requirement.specifier
    assert pin.operator == "==", requirement
    return pin.version


def of_the_lock() -> list[Package]:
    """Return what requirements.lock has, with what each really requires."""
    made = []
    for name, requirement in locked(ROOT / "requirements.lock").items():
        found = metadata.distribution(name)
        version = version_of(requirement)
        assert found.version == version, f"{name} {found.version} is installed: run make setup"
        made.append(
            Package(name, version, found.requires or (), found.metadata.get_all("Provides-Extra") or ())
        )
    return made


class Index:
    """An index in files, and a lock file for it: `PIP_INDEX_URL` is its address."""

    def __init__(self, where: Path) -> None:
        self._wheels = where / "wheels"
        self._simple = where / "simple"
        self._wheels.mkdir(parents=True)
        self.url = self._simple.as_uri()

    def publish(self, package: Package) -> str:
        """Add a package; return the sum of its wheel."""
        stem = f"{package.name.replace('-', '_')}-{package.version}"
        wheel = self._wheels / f"{stem}-py3-none-any.whl"
        information = f"{stem}.dist-info"
        described = [
            "Metadata-Version: 2.1",
            f"Name: {package.name}",
            f"Version: {package.version}",
            *(f"Requires-Dist: {wanted}" for wanted in package.requires),
            *(f"Provides-Extra: {extra}" for extra in package.extras),
        ]
        files = {
            f"{information}/METADATA": "\n".join(described) + "\n",
            f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = f"{information}/RECORD"
        files[record] = "".join(f"{name},,\n" for name in (*files, record))
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
        page = self._simple / package.name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a") as links:
            links.write(f'<a href="{wheel.as_uri()}#sha256={checksum}">{wheel.name}</a><br>\n')
        return checksum

    def lock(self, packages: Iterable[Package], file: Path) -> None:
        """Publish packages, lock them as uv does (without extras), and publish a later version of each."""
        lines = []
        for package in packages:
            checksum = self.publish(package)
            lines.append(f"{package.name}=={package.version} \\\n    --hash=sha256:{checksum}\n")
            self.publish(Package(package.name, LATER, package.requires, package.extras))
        file.write_text("".join(lines))
