"""The sources of a COPY or ADD, found as BuildKit finds them."""

from __future__ import annotations

import os
import posixpath
import stat as stat_module
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import sha256_hex
from stoneware.machinefile import gopath
from stoneware.machinefile.copying import is_url, url_filename
from stoneware.machinefile.digests import DigestCache
from stoneware.machinefile.flags import nearest
from stoneware.machinefile.ignore import Matcher, ParentMatch, compile_patterns
from stoneware.machinefile.recipe import CopyStep, Heredoc, Mount
from stoneware.machinefile.tree import Entry, Tree, content_digest, relative

_UNNAMED = "__unnamed__"  # as BuildKit calls it: in a directory that the destination does not show to be one


@dataclass(frozen=True)
class Source:
    """One thing to copy. A wildcard gives one of these for each match.

    `kind` is file (one entry, named `name`), directory (its content, without itself), archive (a file that
    ADD unpacks), url (no entries: the driver downloads it as `name`), or heredoc (one entry with `data`).
    `digest` covers content only where the tree is hashed.
    """

    text: str  # as the Machinefile has it
    kind: str
    name: str
    entries: tuple[Entry, ...]
    digest: str
    path: str = ""  # from the root of the context or stage; "" is the root itself


def context_tree(root: Path, ignore: Matcher | None = None, cache: DigestCache | None = None) -> Tree:
    """Return the build context as a tree: ignore rules apply, owners do not count."""
    return Tree(os.fspath(root), ignore or Matcher(), cache or DigestCache())


def stage_tree(rootfs: Path) -> Tree:
    """Return a stage's root file system as a tree: links stay inside it, owners are kept."""
    return Tree(os.fspath(rootfs), owners=True, hashed=False)


def resolve_sources(step: CopyStep, tree: Tree, *, location: str = "") -> tuple[Source, ...]:
    """Return what a COPY or ADD copies. Raises InputError for a missing source or one outside the context."""
    found: list[Source] = []
    excludes = compile_patterns(step.excludes, location.partition(":")[0])
    for text in step.sources:
        if is_url(text):
            found.append(Source(text, "url", url_filename(text) or _UNNAMED, (), ""))
            continue
        fault = _Fault(tree, step, text, location)
        fault.check_inside()
        try:
            if step.parents:
                found.extend(_with_parents(fault, excludes))
            else:
                found.extend(_plain(fault, excludes))
        except OSError as error:
            raise fault.unreadable(error) from error
    found.extend(_heredoc(document) for document in step.heredocs)
    return tuple(found)


def resolve_mount(mount: Mount, tree: Tree, *, location: str = "") -> Source:
    """Return what a bind mount shows: the file or directory its source names."""
    # A mount has COPY's rules for its source, so the errors are worded from a COPY of it.
    step = CopyStep(0, "", 0, "", sources=(mount.source or "/",), from_stage=mount.from_stage)
    fault = _Fault(tree, step, mount.source or "/", location)
    fault.check_inside()
    try:
        return next(_named(fault, relative(mount.source), Matcher()))
    except OSError as error:
        raise fault.unreadable(error) from error


def _plain(fault: _Fault, excludes: Matcher) -> Iterator[Source]:
    tree, text = fault.tree, fault.text
    base, pattern = gopath.split_wildcards("/" + relative(text))
    if not pattern:
        yield from _named(fault, relative(text), excludes)
        return
    # Only the part before the first wildcard goes through links, as in BuildKit.
    real = tree.real(relative(base))
    status = tree.stat(real)
    if status is None:
        raise fault.missing(relative(base))
    if stat_module.S_ISDIR(status.st_mode):
        for path in _matches(tree, real, pattern):
            yield from _named(fault, path, excludes)


def _matches(tree: Tree, base: str, pattern: str) -> Iterator[str]:
    """Yield what a wildcard matches; a matched directory is not searched further."""
    inside = ""
    prefix = f"{base}/" if base else ""
    depth = pattern.count("/")
    for path, _ in tree.children(base):
        # What is below a match comes with that match.
        if inside and path.startswith(inside):
            continue
        below = path[len(prefix) :]
        try:
            matched = below.count("/") == depth and gopath.match(pattern, below)
        except gopath.BadPattern:
            return  # BuildKit takes it for a wildcard without a match
        if matched:
            inside = path + "/"
            yield path


def _named(fault: _Fault, path: str, excludes: Matcher) -> Iterator[Source]:
    """Yield the source at a path; a link that is named itself is followed."""
    tree, step, text = fault.tree, fault.step, fault.text
    real = tree.real(path)
    status = tree.stat(real)
    if status is None:
        raise fault.missing(path)
    if stat_module.S_ISDIR(status.st_mode):
        entries = tuple(_inside(tree, real, excludes))
        yield Source(text, "directory", posixpath.basename(path), entries, content_digest(entries), path)
        return
    entry = tree.entry(posixpath.basename(path), real, status)
    unpack = step.add if step.unpack is None else step.unpack
    kind = "archive" if unpack and entry.kind == "file" and _is_archive(entry.path) else "file"
    yield Source(text, kind, entry.name, (entry,), content_digest((entry,)), path)


def _is_archive(path: str) -> bool:
    # Loads tarfile, lzma and bz2, which only an ADD may need.
    from stoneware.machinefile.archives import is_archive

    return is_archive(path)


def _inside(tree: Tree, directory: str, excludes: Matcher) -> Iterator[Entry]:
    """Yield what is in a directory, named from there on, without what --exclude leaves out."""
    skip = len(directory) + 1 if directory else 0
    for path, status in _without(tree, directory, excludes, skip):
        yield tree.entry(path[skip:], path, status)


def _without(
    tree: Tree, directory: str, excludes: Matcher, skip: int
) -> Iterator[tuple[str, os.stat_result]]:
    if not excludes.patterns:
        yield from tree.children(directory)
        return
    answers: dict[str, ParentMatch] = {"": ()}
    waiting: list[tuple[str, os.stat_result]] = []  # excluded directories an exception may take back
    for path, status in tree.children(directory):
        name = path[skip:]
        excluded, answer = excludes.match(name, answers.get(posixpath.dirname(name), ()))
        is_directory = stat_module.S_ISDIR(status.st_mode)
        if is_directory:
            answers[name] = answer
        # The walk has left the others: nothing can take them back any more.
        waiting = [each for each in waiting if path.startswith(each[0] + "/")]
        if not excluded:
            yield from waiting  # a file that is kept brings its directories along
            waiting = []
            yield path, status
        elif is_directory:
            waiting.append((path, status))


def _with_parents(fault: _Fault, excludes: Matcher) -> Iterator[Source]:
    """Yield the source of a --parents copy: what matches, with its directories from the `/./` on."""
    tree, text = fault.tree, fault.text
    base, pivot, pattern = text.partition("/./")
    if not pivot:
        base, pattern = "/", text
    wanted = gopath.clean("/" + pattern)[1:]
    # As in a plain COPY: a missing name is an error, a wildcard without a match is none.
    if not gopath.has_wildcards(base) and not gopath.has_wildcards(wanted):
        required = relative(f"{base}/{wanted}")
        parent = tree.real(posixpath.dirname(required))
        if tree.stat(posixpath.join(parent, posixpath.basename(required))) is None:
            raise fault.missing(required)
    includes = compile_patterns((wanted,)) if wanted else None
    head, glob = gopath.split_wildcards("/" + relative(base))
    bases = [relative(head)] if not glob else list(_matches(tree, tree.real(relative(head)), glob))
    for each in bases:
        real = tree.real(each)
        status = tree.stat(real)
        if status is None:
            raise fault.missing(each)
        entries = tuple(_including(tree, real, includes, excludes))
        yield Source(text, "directory", posixpath.basename(each), entries, content_digest(entries), each)


def _including(tree: Tree, directory: str, includes: Matcher | None, excludes: Matcher) -> Iterator[Entry]:
    if includes is None:
        yield from _inside(tree, directory, excludes)
        return
    skip = len(directory) + 1 if directory else 0
    waiting: list[tuple[str, os.stat_result]] = []  # directories that a match below brings along
    answers: dict[str, ParentMatch] = {"": ()}
    for path, status in _without(tree, directory, excludes, skip):
        name = path[skip:]
        included, answer = includes.match(name, answers.get(posixpath.dirname(name), ()))
        waiting = [each for each in waiting if path.startswith(each[0] + "/")]
        if stat_module.S_ISDIR(status.st_mode):
            answers[name] = answer
        if included:
            for parent, its_status in waiting:
                yield tree.entry(parent[skip:], parent, its_status)
            waiting = []
            yield tree.entry(name, path, status)
        elif stat_module.S_ISDIR(status.st_mode):
            waiting.append((path, status))


def _heredoc(document: Heredoc) -> Source:
    data = document.content.encode("utf-8", "surrogateescape")
    entry = Entry(document.name, "file", 0o644, len(data), digest=sha256_hex(data), data=data)
    return Source(f"<<{document.name}", "heredoc", document.name, (entry,), content_digest((entry,)))


@dataclass(frozen=True)
class _Fault:
    """Words the errors about one source."""

    tree: Tree
    step: CopyStep
    text: str
    location: str

    @property
    def place(self) -> str:
        return f"stage {self.step.from_stage}" if self.step.from_stage else "the build context"

    def check_inside(self) -> None:
        """Refuse `../x`, which BuildKit would silently read as `x`."""
        # A stage's root has nothing above it, so `..` leads nowhere there.
        if self.step.from_stage or gopath.clean(self.text.lstrip("/")).split("/")[0] != "..":
            return
        raise InputError(
            f"the source {self.text} is outside the build context",
            details=f"the context is {self.tree.root}",
            resolution="Bake with a directory above both as the context and name the Machinefile with -f.",
            location=self.location,
        )

    def missing(self, path: str) -> InputError:
        """Return the error for a path that is not there, or that is ignored."""
        ignored = self._ignored(path)
        if ignored is not None:
            return InputError(
                f"the source {self.text} is excluded from {self.place} by an ignore file",
                details=ignored,
                resolution=f"Add a line !{path} below that pattern, or take the pattern out.",
                location=self.location,
            )
        dangling = self._dangling(path)
        if dangling is not None:
            return dangling
        close = self._nearest(path)
        hint = f"Did you mean {close}? " if close else ""
        return InputError(
            f"the source {self.text} is not in {self.place}",
            details=f"there is no {path or '/'} in {self.tree.root}" if not self.step.from_stage else "",
            resolution=f"{hint}Paths are counted from the root of {self.place}.",
            location=self.location,
        )

    def _ignored(self, path: str) -> str | None:
        try:
            real = self.tree.real(path)
            os.lstat(self.tree.host(real))  # only what is there can be missing because of a pattern
        except OSError:
            return None
        pattern = self.tree.ignore.culprit(real)
        if pattern is None:
            return None
        return f"{self.tree.ignore.filename}:{pattern.line}: {pattern.text}"

    def _dangling(self, path: str) -> InputError | None:
        target = self.tree.link(path)
        if target is None:
            return None
        return InputError(
            f"the source {self.text} is a symbolic link to {target}, which is not in {self.place}",
            details="a link that is named as a source is followed, inside its root",
            resolution="Name the file itself, or copy the directory that holds the link.",
            location=self.location,
        )

    def _nearest(self, path: str) -> str:
        directory = posixpath.dirname(path)
        try:
            names = self.tree.names(self.tree.real(directory))
        except OSError:
            return ""
        close = nearest(posixpath.basename(path), names)
        return posixpath.join(directory, close) if close else ""

    def unreadable(self, error: OSError) -> InputError:
        """Return the error for a file that this user may not read, or a loop of links."""
        return InputError(
            f"the source {self.text} cannot be read: {error.strerror}",
            details=str(error.filename or ""),
            resolution="Give read permission, or exclude it in .machineignore.",
            location=self.location,
        )
