"""Copying files between this computer and machines, as `docker cp` does.

A running machine's own tar reads and writes, so volumes and mounts are seen. Of a stopped machine the root
file system is used, with links read as inside of it.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stoneware import process
from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.machines.copy_staging import staging
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.view import View, failed
from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.extraction import Skipped, extract, room
from stoneware.untrusted.placing import place
from stoneware.untrusted.tarstream import TornError

# Numbers, since users of the same name have other ones here and in the machine.
_WRITE = ("--create", "--file=-", "--numeric-owner", "--xattrs")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BUFFER = 1 << 20
_WORDS = 1 << 14  # bytes of what tar complains that are shown
_READ = ("--extract", "--file=-", "--numeric-owner", "--preserve-permissions", "--xattrs")


def _absolute(path: str) -> PurePosixPath:
    return PurePosixPath("/", path)


def copy_out(home: Path, paths: Paths, path: str, destination: Path) -> list[str]:
    """Copy a file or directory of a machine to this computer; return sentences about what was left out.

    An existing directory as destination takes it under its own name; `PATH/.` means a directory's content.
    `home` is the store's. What comes is unpacked as `stoneware.untrusted.extraction` says, next to its place,
    and then renamed into it: before that, nothing has changed. Raises InputError and MachineError.
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
    # Unpacked next to its place: a kill leaves no half file under the name that was asked for.
    with staging(home, target.parent) as staged:
        if kind == "d":
            skipped = _unpack(view, str(source), ["."], staged, "content")
            name = "content"
        else:
            # The parent is given to tar, so that a link is copied as a link and its name may be anything.
            skipped = _unpack(view, str(source.parent), ["--", source.name], staged, "content")
            name = f"content/{source.name}"
            _check_single(staged, name, path, skipped)
        _put(staged, name, target)
    return _told(skipped)


def _unpack(view: View, directory: str, names: Sequence[str], staged: int, place: str) -> Skipped:
    """Unpack what the machine's tar writes, below a new directory of the staging."""
    os.mkdir(place, 0o755, dir_fd=staged)
    inside = os.open(place, _DIRECTORY, dir_fd=staged)
    torn: TornError | None = None
    skipped = Skipped()
    try:
        with view.reading(directory, [*_WRITE, *names]) as descriptor:
            try:
                with open(descriptor, "rb", buffering=_BUFFER, closefd=False) as stream:
                    skipped = extract(stream, inside, room(inside))
            except TornError as error:
                torn = error  # what tar itself says about that comes first
        if torn is not None:
            raise torn
    except BoundsError as error:
        raise _refused(error) from error
    except OSError as error:
        raise failed(f"what the machine has sent cannot be kept here: {error}") from error
    finally:
        os.close(inside)
    return skipped


def _refused(error: BoundsError) -> MachineError:
    return MachineError(
        "the files could not be copied",
        details=f"The archive that the machine sent {error}. Nothing has been changed here.",
        resolution="copy a part of it; a machine whose tar sends such things may be in other hands",
    )


def _check_single(staged: int, name: str, path: str, skipped: Skipped) -> None:
    """Raise MachineError unless the one thing that was asked for has come, as a file or a link."""
    try:
        mode = os.stat(name, dir_fd=staged, follow_symlinks=False).st_mode
    except FileNotFoundError:
        mode = 0
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        what = skipped.told[0] if skipped.told else "the machine sent something else"
        raise MachineError(
            f"{path} cannot be copied: {what}",
            details="Files, directories and links that stay inside what is copied can be.",
            resolution="copy what the link leads to" if "link" in what else "copy another file",
        )


def _put(staged: int, name: str, target: Path) -> None:
    directory, last = os.path.split(name)
    source = os.open(directory or ".", _DIRECTORY, dir_fd=staged)
    try:
        goal = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            place(source, last, goal, target.name)
        except OSError as error:
            raise failed(str(error)) from error
        finally:
            os.close(goal)
    finally:
        os.close(source)


def _told(skipped: Skipped) -> list[str]:
    if not skipped.count:
        return []
    more = skipped.count - len(skipped.told)
    shown = ", ".join(skipped.told) + (f" and {more} more" if more else "")
    return [f"left out what is no file, directory or link inside what was copied: {shown}"]


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
    _pack(_archive(source, target.name), view, str(target.parent))


def _archive(source: Path, name: str) -> list[str]:
    """Return the command that writes a file or directory as an archive, under a name of its own."""
    # flags=r below: names of members alone are changed, not where links lead.
    argv = ["tar", *_WRITE, "--owner=0", "--group=0"]
    if not name:  # the content of a directory over the machine's root
        return [*argv, "-C", str(source), "."]
    real = source.resolve() if source.exists() else source.absolute()  # a link to nothing is copied as one
    if source.is_dir():
        rename = f"flags=r;s,^\\./,{_sed(name)}/,;s,^\\.$,{_sed(name)},"
        return [*argv, "-C", str(real), "--transform", rename, "."]
    return [*argv, "-C", str(real.parent), "--transform", f"flags=r;s,^.*$,{_sed(name)},", "--", real.name]


def _sed(name: str) -> str:
    # In the replacement of sed's s, & is the whole match, and the comma is our delimiter.
    return "".join(f"\\{char}" if char in "\\,&\n" else char for char in name)


def _pack(archive: Sequence[str], view: View, directory: str) -> None:
    """Have the machine's tar read what a command of ours writes."""
    # A file, not a pipe: nothing reads it before the end, and a full pipe would stop the copy.
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
            raise failed(errors.read(_WORDS).decode(errors="replace").strip())
