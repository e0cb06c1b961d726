"""Writing the steps of a stage into a bundle: the files of COPY and ADD, and what RUN mounts."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from stoneware.bake.bundle import BundleWriter
from stoneware.bake.downloads import Downloads
from stoneware.errors import InputError
from stoneware.machinefile.archives import write_tar, write_unpacked
from stoneware.machinefile.context import Source, resolve_mount, resolve_sources
from stoneware.machinefile.recipe import CopyStep, RunStep, Step
from stoneware.machinefile.tree import Entry, Tree


class StepWriter:
    """Writes steps. `trees` gives the files of every stage or image that --from names."""

    def __init__(
        self,
        bundle: BundleWriter,
        context: Tree,
        trees: Mapping[str, Tree],
        *,
        downloads: Downloads,
        secrets: Mapping[str, Path],
    ) -> None:
        self._bundle = bundle
        self._context = context
        self._trees = trees
        self._downloads = downloads
        self._secrets = secrets
        self._binds = 0

    def write(self, step: Step, location: str) -> None:
        """Write one step with all its files. Raises InputError for what --from does not hold."""
        place = self._bundle.add_step(step)
        if isinstance(step, CopyStep):
            self._write_copy(step, place, location)
        elif isinstance(step, RunStep) and step.mounts:
            binds = {
                mount.target: self._write_bind(
                    resolve_mount(mount, self._tree(mount.from_stage), location=location), location
                )
                for mount in step.mounts
                if mount.type == "bind"
            }
            self._bundle.add_mounts(step, binds, self._secrets)

    def _tree(self, from_stage: str) -> Tree:
        return self._trees[from_stage] if from_stage else self._context

    def _write_copy(self, step: CopyStep, place: Path, location: str) -> None:
        sources = resolve_sources(step, self._tree(step.from_stage), location=location)
        plain = [source for source in sources if source.kind != "archive"]
        # Docker's rule: several sources, or a directory, want a directory as the target.
        to_directory = len(sources) > 1 or any(source.kind == "directory" for source in sources)
        (place / "into").write_text("dir" if to_directory else "auto")
        entries = [entry for source in plain for entry in self._entries(source)]
        if entries:
            _write_names(entries, place, step, location)
            with (place / "data.tar").open("wb") as stream:
                write_tar(entries, stream)
        # Written again, not handed on: a foreign tar has devices, links and names of any kind.
        for number, source in enumerate(source for source in sources if source.kind == "archive"):
            archives = place / "archives"
            archives.mkdir(exist_ok=True)
            with (archives / str(number)).open("wb") as stream:
                write_unpacked(source.entries[0].path, stream)

    def _entries(self, source: Source) -> Iterable[Entry]:
        if source.kind != "url":
            return source.entries
        path = self._downloads.path(source.text)
        # BuildKit gives a downloaded file mode 0600.
        return (Entry(source.name, "file", 0o600, path.stat().st_size, path=str(path)),)

    def _write_bind(self, source: Source, location: str) -> str:
        """Lay a bind mount's files out below binds/ and return its place in the bundle."""
        place = f"binds/{self._binds}"
        self._binds += 1
        directory = self._bundle.root / place
        directory.mkdir(parents=True)
        try:
            _lay_out(source.entries, directory)
        except OSError as error:
            # The files are unpacked by their paths, of which Linux takes 4096 bytes.
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise InputError(
                f"the source {source.text} of a bind mount has paths that are too long",
                details=str(error.filename or "")[:200],
                resolution="COPY what is needed of it",
                location=location,
            ) from error
        return place if source.kind == "directory" else f"{place}/{source.name}"


def _write_names(entries: Iterable[Entry], place: Path, step: CopyStep, location: str) -> None:
    """Write the names, which the agent holds against what is there. Raises InputError for two that clash."""
    kinds: dict[str, bool] = {}
    for entry in entries:
        if kinds.setdefault(entry.name, entry.kind == "directory") is not (entry.kind == "directory"):
            raise InputError(
                f"of the sources one has a directory {entry.name}, and another has a file there",
                details=step.text,
                resolution="COPY them to different directories",
                location=location,
            )
    # Apart by NUL: any other byte may be part of a name.
    for name, wanted in (("directories", True), ("others", False)):
        names = (os.fsencode(key) + b"\0" for key, directory in kinds.items() if directory is wanted)
        (place / name).write_bytes(b"".join(names))


def _lay_out(entries: Iterable[Entry], directory: Path) -> None:
    """Make the files of a tree below a directory, owners and modes kept; devices are left out."""
    # A bake without work loads neither.
    import tarfile
    import tempfile

    with tempfile.TemporaryFile() as stream:
        write_tar((entry for entry in entries if not entry.device), stream)
        stream.seek(0)
        with tarfile.open(fileobj=stream) as archive:
            archive.extraction_filter = lambda member, _: member  # Debian 12's Python knows no `filter=`
            archive.extractall(directory)  # noqa: S202 -- written by ourselves just now
