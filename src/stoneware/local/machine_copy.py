"""Copying files between this computer and machines, as `docker cp` does.

A running machine's own tar reads and writes, in all its namespaces, so volumes and mounts are seen. Of a
stopped machine the root file system is used, with links read as inside of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stoneware import process
from stoneware.errors import InputError, MachineError
from stoneware.local.machine_exec import enter, machine_environment
from stoneware.local.machine_record import Paths, shown_processes
from stoneware.local.machine_users import resolve_in

_WRITE = ("--create", "--file=-", "--numeric-owner", "--xattrs")
_READ = ("--extract", "--file=-", "--numeric-owner", "--preserve-permissions", "--xattrs")
# $1 is a path in the machine; prints what it is: d (directory), f (anything else there is) or - (nothing).
_KIND = 'if [ -d "$1" ]; then echo d; elif [ -e "$1" ] || [ -L "$1" ]; then echo f; else echo -; fi'


def _absolute(path: str) -> PurePosixPath:
    return PurePosixPath("/", path)


class _View:
    """A machine's file system: as the machine sees it while it runs, else its root directory."""

    def __init__(self, paths: Paths) -> None:
        self._leader = shown_processes(paths).leader
        self._rootfs = paths.rootfs

    def kind(self, path: str) -> str:
        if self._leader is None:
            found = resolve_in(self._rootfs, path)
            return "d" if found.is_dir() else "f" if found.exists() or found.is_symlink() else "-"
        argv = enter(self._leader, ["/bin/sh", "-c", _KIND, "sh", path])
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, check=True, env=machine_environment()
        )
        return done.stdout.decode().strip()

    def tar(self, directory: str, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs tar in a directory of the machine."""
        if self._leader is None:
            return ["tar", "-C", str(resolve_in(self._rootfs, directory)), *arguments]
        return enter(self._leader, ["/bin/tar", "-C", directory, *arguments])

    def environment(self) -> dict[str, str]:
        return process.tool_environment() if self._leader is None else machine_environment()


def copy_out(paths: Paths, path: str, destination: Path) -> None:
    """Copy a file or directory of a machine to this computer.

    An existing directory as destination takes it under its own name; `PATH/.` means a directory's content.
    """
    view = _View(paths)
    source = _absolute(path)
    kind = view.kind(str(source))
    if kind == "-":
        raise InputError(
            f"there is no {path} in the machine {paths.name!r}", resolution=f"stoneware exec {paths.name} ls"
        )
    content_only = path.endswith("/.") or str(source) == "/"
    target = destination if content_only or not destination.is_dir() else destination / source.name
    if not target.parent.is_dir():
        raise InputError(f"there is no directory {target.parent}", resolution=f"mkdir -p {target.parent}")
    if kind == "d" and target.exists() and not target.is_dir():
        raise InputError(f"{target} is not a directory", resolution="copy a directory to a directory")
    # Unpacked beside its place: a kill leaves no half file under the name that was asked for.
    with tempfile.TemporaryDirectory(prefix=".stoneware-cp-", dir=target.parent) as staging:
        if kind == "d":
            _pipe(view.tar(str(source), [*_WRITE, "."]), view.environment(), _host_tar(Path(staging)), None)
            shutil.copytree(staging, target, symlinks=True, dirs_exist_ok=True)
        else:
            # The parent is given to tar, so that a link is copied as a link and its name may be anything.
            words = [*_WRITE, "--", source.name]
            _pipe(view.tar(str(source.parent), words), view.environment(), _host_tar(Path(staging)), None)
            Path(staging, source.name).replace(target)


def _host_tar(directory: Path) -> list[str]:
    return ["tar", "-C", str(directory), *_READ, "--no-same-owner"]


def copy_in(origin: str | Path, paths: Paths, path: str) -> None:
    """Copy a file or directory of this computer into a machine, owned by its root.

    An existing directory as destination takes it under its own name; a text that ends
    in `/.` means a directory's content.
    """
    source = Path(origin)
    if not os.path.lexists(source):
        raise InputError(f"there is no {source}", resolution="give a file or a directory of this computer")
    view = _View(paths)
    target = _absolute(path)
    kind = view.kind(str(target))
    content_only = str(origin).endswith("/.") or source.name in ("", "..")
    if kind == "d" and not (source.is_dir() and content_only):
        target = target / source.resolve().name
    elif kind != "d" and path.endswith("/"):
        raise InputError(f"there is no directory {path} in the machine", resolution="leave the last / out")
    if view.kind(str(target.parent)) != "d":
        raise InputError(
            f"there is no directory {target.parent} in the machine {paths.name!r}", resolution="make it first"
        )
    if source.is_dir() and view.kind(str(target)) == "f":
        raise InputError(f"{target} is not a directory", resolution="copy a directory to a directory")
    name = target.name
    with tempfile.TemporaryDirectory(prefix="stoneware-cp-") as staging:
        # A link of the wanted name in front of the source gives the archive's entry its name.
        archive = _archive(source, name, Path(staging))
        _pipe(archive, process.tool_environment(), view.tar(str(target.parent), [*_READ]), view.environment())


def _archive(source: Path, name: str, staging: Path) -> list[str]:
    if not name:  # the content of a directory over the machine's root
        return ["tar", "-C", str(source), *_WRITE, "--owner=0", "--group=0", "."]
    (staging / name).symlink_to(source.resolve())
    # Only the link on the command line is followed (-h would follow all): named with a slash for directories.
    if source.is_dir():
        flags = ["--transform", f"flags=r;s,^\\./,{_sed(name)}/,;s,^\\.$,{_sed(name)},"]
        return ["tar", "-C", str(source.resolve()), *_WRITE, "--owner=0", "--group=0", *flags, "."]
    return ["tar", "-C", str(staging), *_WRITE, "--dereference", "--owner=0", "--group=0", "--", name]


def _sed(name: str) -> str:
    return "".join(f"\\{char}" if char in "\\,&\n" else char for char in name)


def _pipe(
    writer: Sequence[str],
    writer_env: dict[str, str],
    reader: Sequence[str],
    reader_env: dict[str, str] | None,
) -> None:
    """Run `writer | reader`; raise MachineError with their words when either fails."""
    with tempfile.TemporaryFile() as errors:
        first = subprocess.Popen(
            list(writer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=writer_env,
            cwd="/",
        )
        try:
            env = reader_env or process.tool_environment()
            second = subprocess.run(
                list(reader),
                stdin=first.stdout,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=env,
                check=False,
                cwd="/",
            )
        finally:
            if first.stdout is not None:
                first.stdout.close()
            first.wait()
        if first.returncode or second.returncode:
            errors.seek(0)
            raise MachineError(
                "the files could not be copied", details=errors.read().decode(errors="replace").strip()
            )
