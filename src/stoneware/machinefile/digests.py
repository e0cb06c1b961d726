"""SHA-256 of files, remembered by inode and times so that an unchanged context is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import stat as stat_module
import time
from dataclasses import field
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.files import write_atomic
from stoneware.untrusted.bounded import bounded_json, read_bounded

_VERSION = 1
_SETTLING_NS = 2_000_000_000  # a file changed this lately may change again within the clock's grain
_LIMIT = 200_000  # entries kept on disk
_BLOCK = 1 << 20


@dataclass
class DigestCache:
    """Digests by (device, inode, size, mtime, ctime), kept in a file the caller chooses (None: in memory).

    A torn or foreign file counts as empty. `save` writes only when something was learned.
    """

    path: Path | None = None
    hits: int = 0
    misses: int = 0
    _known: dict[str, str] | None = field(default=None, repr=False)
    _learned: dict[str, str] = field(default_factory=dict, repr=False)

    def load(self) -> None:
        """Read the file; done by itself at the first use."""
        self._known = {}
        if self.path is None:
            return
        try:
            document = bounded_json(read_bounded(self.path))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return
        if isinstance(document, dict) and document.get("version") == _VERSION:
            entries = document.get("entries")
            self._known = entries if isinstance(entries, dict) else {}

    def save(self) -> None:
        """Write what was learned, atomically; the directory must exist."""
        if self.path is None or not self._learned:
            return
        merged = {**(self._known or {}), **self._learned}
        kept = dict(list(merged.items())[-_LIMIT:])  # the newest: a dictionary keeps the order of arrival
        write_atomic(self.path, json.dumps({"version": _VERSION, "entries": kept}, separators=(",", ":")))
        self._known, self._learned = kept, {}

    def digest(self, path: str, stat: os.stat_result) -> str:
        """Return the SHA-256 of a regular file as 64 hexadecimal digits. Raises OSError."""
        if self._known is None:
            self.load()
        # The time of change is in it since no program can set that one back.
        key = f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"
        known = (self._known or {}).get(key) or self._learned.get(key)
        if known is not None:
            self.hits += 1
            return known
        self.misses += 1
        value, settled = _hash(path, stat)
        if settled:
            self._learned[key] = value
        return value


def _hash(path: str, stat: os.stat_result) -> tuple[str, bool]:
    """Return a file's digest, and whether the file has surely the content that `stat` stands for."""
    digest = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
        after = os.fstat(stream.fileno())
    same = (after.st_ino, after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (
        stat.st_ino,
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_ctime_ns,
    )
    newest = max(after.st_mtime_ns, after.st_ctime_ns)
    settled = time.time_ns() - newest > _SETTLING_NS
    return digest.hexdigest(), same and settled and stat_module.S_ISREG(after.st_mode)
