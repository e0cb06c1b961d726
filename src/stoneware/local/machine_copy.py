"""Copying files between this computer and machines, as `docker cp` does.

A running machine's own tar reads and writes, so volumes and mounts are seen. Of a stopped machine the root
file system is used, with links read as inside of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stoneware import process
from stoneware.errors import InputError
from stoneware.local.machine_record import Paths
from stoneware.local.machine_view import View, failed

_WRITE = ("--create", "--file=-", "--numeric-owner", "--xattrs")
_READ = ("--extract", "--file=-", "--numeric-owner", "--preserve-permissions", "--xattrs")


def _absolute(path: str) -> PurePosixPath:
    return PurePosixPath("/", path)


def copy_out(paths: Paths, path: str, destination: Path) -> None:
    """Copy a file or directory of a machine to this computer.

    An existing directory as destination takes it under its own name; `PATH/.` means a directory's content.
    """
    view = View(paths)
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
            _unpack(view, str(source), ["."], Path(staging))
            shutil.copytree(staging, target, symlinks=True, dirs_exist_ok=True)
        else:
            # The parent is given to tar, so that a link is copied as a link and its name may be anything.
            _unpack(view, str(source.parent), ["--", source.name], Path(staging))
            Path(staging, source.name).replace(target)


def _unpack(view: View, directory: str, names: Sequence[str], target: Path) -> None:
    argv = ["tar", "-C", str(target), *_READ, "--no-same-owner"]
    with view.reading(directory, [*_WRITE, *names]) as stream:
        environment = process.tool_environment()
        done = subprocess.run(argv, stdin=stream, capture_output=True, env=environment, cwd="/", check=False)
    if done.returncode:
        raise failed(done.stderr.decode(errors="replace").strip())


def copy_in(origin: str | Path, paths: Paths, path: str) -> None:
    """Copy a file or directory of this computer into a machine, owned by its root.

    An existing directory as destination takes it under its own name; a text that ends
    in `/.` means a directory's content.
    """
    source = Path(origin)
    if not os.path.lexists(source):
        raise InputError(f"there is no {source}", resolution="give a file or a directory of this computer")
    view = View(paths)
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
        _pack(_archive(source, name, Path(staging)), view, str(target.parent))


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


def _pack(archive: Sequence[str], view: View, directory: str) -> None:
    """Have the machine's tar read what a command of ours writes."""
    with tempfile.TemporaryFile() as errors:
        ours = subprocess.Popen(
            list(archive),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=process.tool_environment(),
            cwd="/",
        )
        with ours:
            if ours.stdout is not None:
                view.write(directory, _READ, ours.stdout.fileno())
        if ours.returncode:
            errors.seek(0)
            raise failed(errors.read().decode(errors="replace").strip())
