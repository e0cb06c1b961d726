"""What a finished bake had looked at, so that the same command need not plan again while nothing changed.

`recall` runs before anything else of Stoneware is loaded: it imports next to nothing, starts Git, compares
the status of every file that decided the plan, and knows the result. Where anything at all differs it
knows nothing, and the bake goes its usual way, which is the only one that decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stoneware import __version__
from stoneware.bake.git_worktree import Asked

if TYPE_CHECKING:
    from stoneware.bake.options import BakeResult
    from stoneware.bake.plan import BakePlan
    from stoneware.bake.planner import Planner

_HOME = "/var/lib/stoneware"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
_SETTLING_NS = 2_000_000_000  # what changed this lately may change again within the clock's grain
_KEPT = 64  # commands
_LIMIT = 20_000  # files of a context; reading about more would take longer than planning

Signature = list[int] | None


def recall(words: Sequence[str]) -> dict[str, Any] | None:
    """Return what was kept for a command where the bake would find nothing to do, else None."""
    if os.geteuid() != 0:
        return None
    home = os.path.abspath(os.environ.get("STONEWARE_HOME") or _HOME)  # noqa: PTH100
    try:
        with open(_place(home, words), "rb") as stream:  # noqa: PTH123
            memo = json.load(stream)
        if memo["words"] != _command(words) or memo["code"] != _code_stamp():
            return None
        with _shared(f"{home}/locks/builds/bakes.lock"):
            return memo if _holds(home, memo) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holds(home: str, memo: dict[str, Any]) -> bool:
    git = Asked(memo["context"])
    same = (
        all(os.environ.get(name) == value for name, value in memo["environment"].items())
        and all(os.path.realpath(path) == known for path, known in memo["real"].items())
        and all(_signature(path) == known for path, known in memo["files"].items())
        and all(os.path.exists(path) for path in memo["needed"])  # noqa: PTH110
        and all(_tagged(path) == memo["result"]["image_id"] for path in memo["tags"])
        and _walls_stand(home)
        and _nothing_left(home)
    )
    return git.answer() == memo["status"] and same


def _walls_stand(home: str) -> bool:
    """Say whether the store is as the local engine keeps it: closed, and mounted nosuid (`store_walls`)."""
    closed = not (os.stat(home).st_mode | os.stat(f"{home}/data").st_mode) & 0o077  # noqa: PTH116
    return closed and bool(os.statvfs(f"{home}/data").f_flag & os.ST_NOSUID)


class Memo:
    """Collects what decides a bake. To be made before the plan, so that later changes are noticed."""

    def __init__(self, home: str, words: Sequence[str], shown: str) -> None:
        """Look at the store's part. `shown` says how the result is shown, and is kept as it is."""
        self._home = home
        self._shown = shown
        self._words = words
        self._began = time.time_ns()
        self._store = _signatures(_entries(f"{home}/bases"))
        # What a FROM that names an image depends on.
        tags = list(_entries(f"{home}/tags"))
        self._images = _signatures([f"{home}/tags", *tags, f"{home}/data/images"])

    def keep(self, planner: Planner, made: BakePlan, result: BakeResult) -> None:
        """Keep a bake that succeeded, where the same command will have nothing to do."""
        options = planner.options
        rare = options.no_cache or options.pull or options.verbose or options.secrets or _downloads(made)
        if rare or made.recipe.warnings or made.recipe.unused_args:
            return
        bases = list(_bases(made))
        real = {path: os.path.realpath(path) for path in (str(options.context), *planner.looked_for())}
        files = {
            **self._store,
            **(self._images if any(base.kind == "image" for base in bases) else {}),
            **_signatures(real[path] for path in planner.looked_for()),
            **{path: status and _sign(status) for path, status in planner.context.seen.items()},
        }
        newest = max((max(known[3:]) for path, known in files.items() if known), default=0)
        if len(files) > _LIMIT or newest > self._began - _SETTLING_NS:
            return
        document = {
            "words": _command(self._words),
            "code": _code_stamp(),
            "context": str(options.context),
            "environment": {name: os.environ.get(name) for name in options.build_args},
            "real": real,
            "files": files,
            "needed": [
                f"{self._home}/data/images/{result.image_id.removeprefix('sha256:')}/document.json",
                *(f"{self._home}/data/checkpoints/{base.identity}" for base in bases if base.kind == "base"),
            ],
            "tags": [
                f"{self._home}/tags/{tag.replace('/', '%').replace(':', '/')}.json" for tag in result.tags
            ],
            "status": planner.status,
            "result": {**result.to_document(), "cached": result.cached + result.ran, "ran": 0},
            "shown": self._shown,
        }
        _write(_place(self._home, self._words), json.dumps(document))
        _forget_oldest(f"{self._home}/records")


def _bases(made: BakePlan) -> Iterator[Any]:
    yield from (stage.stage.base for stage in made.stages)
    yield from (base for _, base in made.recipe.images)


def _downloads(made: BakePlan) -> bool:
    """Say whether a step takes something from a server, which has to be asked each time."""
    steps = [planned.step for stage in made.stages for planned in stage.steps]
    return any("://" in source for step in steps for source in getattr(step, "sources", ()))


def _place(home: str, words: Sequence[str]) -> str:
    # The name need not be unique: the words are in the file.
    return f"{home}/records/memo-{zlib.crc32(repr(_command(words)).encode()):08x}.json"


def _command(words: Sequence[str]) -> list[str]:
    return [os.getcwd(), *words]  # noqa: PTH109


def _sign(status: os.stat_result) -> list[int]:
    return [status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _signature(path: str) -> Signature:
    try:
        return _sign(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _signatures(paths: Iterable[str]) -> dict[str, Signature]:
    return {path: _signature(path) for path in paths}


def _entries(directory: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as found:
        yield from (entry.path for entry in found if not entry.name.startswith("."))


def _code_stamp() -> list[Any]:
    """Return what changes whenever a file of Stoneware itself does: its guest files are part of an image."""
    stamp: list[Any] = [__version__, 0, 0, 0]
    waiting = [_PACKAGE]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for entry in found:
                if entry.name == "__pycache__":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                status = entry.stat()
                stamp[1] += 1
                stamp[2] += status.st_size
                stamp[3] = max(stamp[3], status.st_mtime_ns, status.st_ctime_ns)
    return stamp


def _tagged(path: str) -> Any:
    with open(path, "rb") as stream:  # noqa: PTH123
        return json.load(stream)["image"]


def _nothing_left(home: str) -> bool:
    """Say whether no killed command has left anything that the next one has to remove."""
    for directory in _entries(f"{home}/data"):
        with os.scandir(directory) as found:
            if any(entry.name.startswith((".staged-", "bake-")) for entry in found):
                return False
    return all(_settled(machine) for machine in _entries(f"{home}/data/machines"))


def _settled(machine: str) -> bool:
    """Say whether a machine is one that runs, and no builder: any other is looked at by `recover`."""
    with open(f"{machine}/spec.json", "rb") as stream:  # noqa: PTH123
        if json.load(stream)["kind"] == "builder":
            return False
    with open(f"{machine}/run/shim") as text:  # noqa: PTH123
        pid, start = text.read().split()
    with open(f"/proc/{int(pid)}/stat") as text:  # noqa: PTH123
        state, *_, began = text.read().rpartition(")")[2].split()[:20]
    return state not in "ZX" and began == start


@contextlib.contextmanager
def _shared(path: str) -> Iterator[None]:
    """Hold the lock that living bakes share, without waiting for it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _write(path: str, text: str) -> None:
    """Replace a file; a torn one would count as none."""
    staged = f"{path}.{os.getpid()}"
    with open(staged, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        stream.write(text)
    os.replace(staged, path)  # noqa: PTH105


def _forget_oldest(directory: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # another bake does the same
        memos = [path for path in _entries(directory) if "/memo-" in path]
        for path in sorted(memos, key=os.path.getmtime)[:-_KEPT]:
            os.unlink(path)  # noqa: PTH108
