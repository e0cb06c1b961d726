"""Unpacking a hostile tar archive: nothing outside the directory that is given, and nothing but plain things.

Regular files, directories, and links that stay inside are made; devices, FIFOs and links that lead out are
left out and told. This process's user owns all of it. Of the modes, reading, writing and executing are kept:
no setuid, setgid or sticky bit; of the rest, the times of modification. Extended attributes are not read.

The root file system of a machine keeps more (`extract_root`): owners, all of the modes, links to wherever
they lead in the machine, and those extended attributes that mean the same in every machine.

Every directory is opened by its parent's descriptor without following links, so that an archive cannot go
through a link that it has made before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import field

from stoneware.dataclass import dataclass
from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.rooted_paths import Parts, is_directory_at, mode_at
from stoneware.untrusted.tarstream import Limits, Member, Stream, TarReader, parts_of

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 0o777
_ATTRIBUTES = ("security.capability", "system.posix_acl_", "user.")
_LAST_USER = 65535
_LONGEST_TARGET = 4095  # bytes that a link can hold
_TOLD = 10  # of what is left out, that many are named
_RESERVE = 64 << 20  # bytes that are always left free
_RESERVE_PART = 50  # and at least this part of the file system: 1/50


@dataclass
class Skipped:
    """What was left out: how many entries, and the first of them in words."""

    count: int = 0
    told: list[str] = field(default_factory=list)

    def add(self, member: Member, why: str) -> None:
        """Note an entry."""
        self.count += 1
        if len(self.told) < _TOLD:
            self.told.append(f"{member.name} ({why})")


def room(directory: int) -> Limits:
    """Return limits that fit what is free on a directory's file system, with a reserve."""
    return Limits(total=free_room(directory))


def free_room(descriptor: int) -> int:
    """Return how many bytes foreign content may take on the file system of a file: free, less a reserve."""
    status = os.fstatvfs(descriptor)
    reserve = max(_RESERVE, status.f_blocks * status.f_frsize // _RESERVE_PART)
    return max(0, status.f_bavail * status.f_frsize - reserve)


def extract(stream: Stream, directory: int, limits: Limits) -> Skipped:
    """Unpack an archive into an open, empty directory that only we write to; return what was left out.

    Raises BoundsError, whose text completes “the archive …”, and OSError; the directory is half filled then.
    """
    return _unpack(_Unpacking(TarReader(stream, limits), directory))


def extract_root(stream: Stream, directory: int, limits: Limits) -> Skipped:
    """Unpack the root file system of a machine as `extract` does, keeping what only a machine may have.

    Nobody but us may be able to enter the directory: there are setuid programs in it. Raises BoundsError as
    well for an owner that no machine has.
    """
    return _unpack(_UnpackingRoot(TarReader(stream, limits), directory))


def _unpack(unpacking: _Unpacking) -> Skipped:
    try:
        unpacking.run()
    finally:
        unpacking.close()
    return unpacking.skipped


class _Unpacking:
    """One archive on its way: `_here` is the directory that was used last, at `_at`."""

    def __init__(self, reader: TarReader, root: int) -> None:
        self.skipped = Skipped()
        self._reader = reader
        self._root = root
        self._at: Parts = ()
        self._here = os.dup(root)
        # The directories above the present entry whose times are set when all in them is there.
        self._open: list[tuple[Parts, int]] = []

    def close(self) -> None:
        os.close(self._here)

    def run(self) -> None:
        for member in self._reader:
            self.add(member)
        self._leave(())

    def add(self, member: Member) -> None:
        self._leave(member.parts)
        match member.kind:
            case "file":
                self._file(member)
            case "directory":
                self._directory(member)
            case "link":
                self._link(member)
            case "hard link":
                self._hard_link(member)
            case other:
                self.skipped.add(member, other)

    # -- kinds ---------------------------------------------------------------------------------------------

    def _file(self, member: Member) -> None:
        parent, name = self._place(member)
        descriptor = os.open(name, _NEW, 0o600, dir_fd=parent)  # no one else's until its content is there
        try:
            for piece in self._reader.content():
                left = memoryview(piece)
                while left:
                    left = left[os.write(descriptor, left) :]
            self._dress(descriptor, member)
            os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(descriptor)

    def _directory(self, member: Member) -> None:
        if member.parts:
            parent = self._enter(member.parts[:-1])
            name = member.parts[-1]
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                if not is_directory_at(parent, name):
                    os.unlink(name, dir_fd=parent)
                    os.mkdir(name, 0o700, dir_fd=parent)
        self._dress(self._enter(member.parts), member)
        self._open.append((member.parts, member.mtime_ns))

    def _link(self, member: Member) -> None:
        if not self._may_lead(member):
            self.skipped.add(member, f"a link to {member.target[:200]}")
            return
        parent, name = self._place(member)
        os.symlink(member.target, name, dir_fd=parent)
        self._dress_link(parent, name, member)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _hard_link(self, member: Member) -> None:
        """Make a further name of a regular file that this archive has brought."""
        try:
            origin = parts_of(member.target)
            source = os.dup(self._enter(origin[:-1], make=False))
        except (FileNotFoundError, BoundsError):
            self.skipped.add(member, "a hard link to what is not there")
            return
        try:
            if origin == member.parts:
                return
            if not origin or not _is_regular(source, origin[-1]):
                self.skipped.add(member, "a hard link to what is not there")
                return
            parent, name = self._place(member)
            if _is_regular(source, origin[-1]):  # it may be what had to make way
                os.link(origin[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    # -- what is kept --------------------------------------------------------------------------------------

    def _dress(self, descriptor: int, member: Member) -> None:
        """Give a file or directory its mode."""
        os.fchmod(descriptor, member.mode & _KEPT)

    def _may_lead(self, member: Member) -> bool:
        return stays_inside(member.parts, member.target)

    def _dress_link(self, parent: int, name: str, member: Member) -> None:
        """Leave a link as it is."""

    # -- places --------------------------------------------------------------------------------------------

    def _place(self, member: Member) -> tuple[int, str]:
        """Return where an entry goes, with nothing there any more: the last of a name's entries counts."""
        parent, name = self._enter(member.parts[:-1]), member.parts[-1]
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            # Linux says the one of a directory, POSIX the other.
            if error.errno not in (errno.EISDIR, errno.EPERM):
                raise
            raise BoundsError(f"has both a directory and something else called {member.name}") from None
        return parent, name

    def _enter(self, parts: Parts, *, make: bool = True) -> int:
        """Return the descriptor of a directory; those on the way are made where they are missing."""
        if parts[: len(self._at)] != self._at:
            self._go(os.dup(self._root), ())
        for part in parts[len(self._at) :]:
            try:
                inner = self._inner(part, make=make)
            except OSError as error:
                # A link, which O_NOFOLLOW refuses, or a file.
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                raise BoundsError(f"has something below {part}, which is no directory") from None
            self._go(inner, (*self._at, part))
        return self._here

    def _inner(self, part: str, *, make: bool) -> int:
        try:
            return os.open(part, _DIRECTORY, dir_fd=self._here)
        except FileNotFoundError:
            if not make:
                raise
        os.mkdir(part, 0o755, dir_fd=self._here)
        return os.open(part, _DIRECTORY, dir_fd=self._here)

    def _go(self, descriptor: int, parts: Parts) -> None:
        os.close(self._here)
        self._here, self._at = descriptor, parts

    def _leave(self, parts: Parts) -> None:
        """Set the times of the directories that the next entry is not in."""
        keep = 0
        for directory, _ in self._open:
            if len(directory) >= len(parts) or parts[: len(directory)] != directory:
                break
            keep += 1
        self._set_times(len(self._open) - keep)

    def _set_times(self, count: int) -> None:
        for _ in range(count):
            directory, mtime = self._open.pop()
            with contextlib.suppress(FileNotFoundError, BoundsError):  # replaced by a later entry
                os.utime(self._enter(directory, make=False), ns=(mtime, mtime))


class _UnpackingRoot(_Unpacking):
    """The root file system of a machine."""

    def _dress(self, descriptor: int, member: Member) -> None:
        os.fchown(descriptor, *_owner(member))
        os.fchmod(descriptor, member.mode)  # behind the owner, with which setuid bits go
        for name, value in member.attributes:
            if not name.startswith(_ATTRIBUTES):
                continue
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:
                # Malformed or too long: the archive's fault, unlike a full disk.
                if error.errno not in (errno.EINVAL, errno.ERANGE, errno.E2BIG):
                    raise
                self.skipped.add(member, f"its attribute {name[:100]}")

    def _may_lead(self, member: Member) -> bool:
        return 0 < len(os.fsencode(member.target)) <= _LONGEST_TARGET

    def _dress_link(self, parent: int, name: str, member: Member) -> None:
        os.chown(name, *_owner(member), dir_fd=parent, follow_symlinks=False)


def _owner(member: Member) -> tuple[int, int]:
    for number in (member.uid, member.gid):
        if not 0 <= number <= _LAST_USER:
            raise BoundsError(
                f"has a file of the user or group {number}, and machines have 0 to {_LAST_USER}: "
                f"{member.name[:200]}"
            )
    return member.uid, member.gid


def stays_inside(parts: Parts, target: str) -> bool:
    """Say whether a link at `parts` leads to a place inside the root, whatever else is a link there.

    `..` may only come first, and not more often than the link is deep: behind the name of another link it
    would count from wherever that one leads.
    """
    if not target or target.startswith("/") or len(os.fsencode(target)) > _LONGEST_TARGET:
        return False
    words = [part for part in target.split("/") if part not in ("", ".")]
    up = 0
    while up < len(words) and words[up] == "..":
        up += 1
    return up < len(parts) and ".." not in words[up:]


def _is_regular(parent: int, name: str) -> bool:
    return stat.S_ISREG(mode_at(parent, name))
