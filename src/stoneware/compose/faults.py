"""What is wrong with a cluster file: every fault with its place, all of them shown at once."""

from __future__ import annotations

from collections.abc import Sequence

from stoneware.compose.model import Place
from stoneware.dataclass import dataclass
from stoneware.errors import InputError

_CHECK = "correct the file, then: stoneware config --quiet"


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a file, and what to write instead (empty where nothing is to be said)."""

    place: Place
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" + (f"\n  → {self.hint}" if self.hint else "")


class ClusterFileError(InputError):
    """A cluster file is wrong; `faults` holds every reason, in the order of the files."""

    def __init__(self, faults: Sequence[Fault], warnings: Sequence[str] = ()) -> None:
        first, alone = faults[0], len(faults) == 1
        notes = [f"warning: {text}" for text in warnings]
        super().__init__(
            first.reason if alone else f"the cluster has {len(faults)} faults",
            details="\n".join(notes if alone else [*map(str, faults), *notes]),
            resolution=(first.hint if alone else "") or _CHECK,
            location=str(first.place),
        )
        self.faults = tuple(faults)


class Faults:
    """Collects faults and warnings while files are read."""

    def __init__(self) -> None:
        self._faults: dict[tuple[Place, str], Fault] = {}
        self._places: set[Place] = set()
        self._broken: set[Place] = set()
        self._unset: set[str] = set()
        self._files: dict[str, int] = {}
        self.warnings: list[str] = []

    def __bool__(self) -> bool:
        """Say whether anything is wrong."""
        return bool(self._faults)

    def file(self, name: str) -> None:
        """Note a file; faults are shown in the order of the files."""
        self._files.setdefault(name, len(self._files))

    def add(self, place: Place, reason: str, hint: str = "", *, once: bool = False) -> None:
        """Note a fault. `once`: only where that place has none, as for what each replica would say again."""
        if place in self._broken or (once and place in self._places):
            return
        self._faults.setdefault((place, reason), Fault(place, reason, hint))  # each replica finds it again
        self._places.add(place)

    def broken(self, place: Place, reason: str, hint: str = "") -> None:
        """Note that a value is not known: whatever else is said of it is not worth hearing."""
        self.add(place, reason, hint)
        self._broken.add(place)

    def warn(self, text: str) -> None:
        """Note a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def unset(self, name: str, place: object) -> None:
        """Note a variable that is taken as blank; the first use of it is enough."""
        if name not in self._unset:
            self._unset.add(name)
            self.warn(f"{place}: the variable {name} is not set; a blank string is used")

    def check(self) -> None:
        """Raise ClusterFileError with all that was found, if anything was."""
        if self._faults:
            last = len(self._files)
            ordered = sorted(
                self._faults.values(),
                key=lambda each: (self._files.get(each.place.file, last), each.place),
            )
            raise ClusterFileError(ordered, self.warnings)
