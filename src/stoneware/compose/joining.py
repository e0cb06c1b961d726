"""`include` and `extends`: other files as parts of one, and services that begin with what others have."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from stoneware.compose import schema
from stoneware.compose.canonical import sentence
from stoneware.compose.dotenv import read_env_file
from stoneware.compose.faults import Faults
from stoneware.compose.files import Source, read_sources
from stoneware.compose.merge import merge, without_resets
from stoneware.compose.model import Place
from stoneware.compose.nodes import Node, plain, rebuilt
from stoneware.compose.settings import REMOTE, absolute
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile.flags import nearest

Reader = Callable[
    [Source, Mapping[str, str]], "Node | None"
]  # a file's tree in its long forms, all documents
_REMOTE = (*REMOTE, "oci://")  # Compose would fetch these, and nothing is fetched here


@dataclass(frozen=True)
class _File:
    """One file that is being put together: where its relative paths begin, and the way that led to it."""

    source: Source
    base: Path
    variables: Mapping[str, str]
    trail: tuple[Path, ...] = ()


_LONGEST_CHAIN = 50  # of files and services that name each other: what reads them calls itself


class Joiner:
    """Puts other files and services into a file's tree. `directory` is what messages call files from."""

    def __init__(self, directory: Path, faults: Faults, read: Reader) -> None:
        self._directory = directory
        self._faults = faults
        self._read = read

    def whole(
        self, tree: Node, source: Source, base: Path, variables: Mapping[str, str], known: Node | None
    ) -> Node:
        """Return a tree without `include` and `extends`: what they name is in it.

        `known` are the files before it, whose services may be extended too.
        """
        return self._whole(tree, _File(source, base, variables, (source.path,)), known)

    def _whole(self, tree: Node, file: _File, known: Node | None) -> Node:
        services = tree.get("services")
        if services is not None and isinstance(services.value, dict):
            extended = {name: self._service(name, tree, file, known, ()) for name in services.value}
            whole = {name: node for name, node in extended.items() if node is not None}
            tree = rebuilt(tree, {**tree.mapping, "services": rebuilt(services, whole)})
        include = tree.get("include")
        if include is None:
            return tree
        tree = rebuilt(tree, {key: each for key, each in tree.mapping.items() if key != "include"})
        if not isinstance(include.value, list):
            shown = f"include: [{include.text}]" if isinstance(include.value, str) else "include: [FILE]"
            self._faults.add(include.place, "include: expected a list of files", f"Write {shown}.")
            return tree
        for item in include.items:
            part = self._included(item, file)
            if part is not None:
                tree = self._with_part(tree, part)
        return tree

    # -- extends -------------------------------------------------------------------------------------------

    def _service(
        self, name: str, tree: Node, file: _File, known: Node | None, trail: tuple[tuple[Path, str], ...]
    ) -> Node | None:
        """Return a service with what it extends below it, None where there is no such service."""
        node = tree.get("services", name)
        extends = node.get("extends") if node else None
        if node is None or extends is None:
            return node
        own = rebuilt(node, {key: each for key, each in node.mapping.items() if key != "extends"})
        if (file.source.path, name) in trail:  # with its file: two files may each have a service of that name
            chain = " → ".join([*(each for _, each in trail), name])
            self._faults.add(
                extends.place, f"extends has a cycle: {chain}", "Let one of them extend nothing."
            )
            return own
        trail = (*trail, (file.source.path, name))
        if len(trail) > _LONGEST_CHAIN:
            self._faults.add(extends.place, f"extends goes through more than {_LONGEST_CHAIN} services")
            return own
        base = self._extended(extends, tree, file, known, trail)
        if base is not None:
            return merge(base, own, self._faults, ("services", name))
        # That its image is missing would be said as well, and is not what is wrong.
        missing = {"image": Node("unknown", extends.place, "unknown")}
        return own if {"image", "build"} & set(own.mapping) else rebuilt(own, {**own.mapping, **missing})

    def _extended(
        self,
        extends: Node,
        tree: Node,
        file: _File,
        known: Node | None,
        trail: tuple[tuple[Path, str], ...],
    ) -> Node | None:
        given = {"service": extends} if isinstance(extends.value, str) else extends.mapping
        service, other = given.get("service"), given.get("file")
        for key in set(given) - {"service", "file"}:
            self._faults.add(
                extends.key_place(key), f"extends: there is no {key!r}", "It has service and file."
            )
        if service is None or not isinstance(service.value, str):
            self._faults.add(extends.place, "extends: expected a service's name", "extends: {service: NAME}")
            return None
        found: Node | None
        if other is None:
            found = self._service(service.value, tree, file, known, trail)
            if found is None and known is not None:
                found = known.get("services", service.value)
            named = [*self._names(tree), *(self._names(known) if known else [])]
        else:
            there = self._file(other, file)
            if there is None:
                return None
            part, place = there
            # Paths of the other file are relative to it, and the service moves into ours.
            found = self._service(service.value, part, place, None, trail)
            found = None if found is None else _rebased_service(found, place.base)
            named = self._names(part)
        if found is None:
            similar = nearest(service.value, named)
            hint = f"Did you mean {similar!r}?" if similar else f"There are {', '.join(named) or 'none'}."
            self._faults.add(service.place, f"extends: there is no service {service.value!r}", hint)
        return found

    @staticmethod
    def _names(tree: Node) -> list[str]:
        services = tree.get("services")
        return sorted(services.mapping) if services else []

    # -- files ---------------------------------------------------------------------------------------------

    def _file(self, node: Node, file: _File) -> tuple[Node, _File] | None:
        """Return the tree of a file that a node names, and where its paths begin."""
        if not isinstance(node.value, str) or not node.value:
            self._faults.add(node.place, "expected the name of a file")
            return None
        return self._open(node.value, node.place, file, None, file.variables)

    def _open(
        self, name: str, place: Place, file: _File, base: Path | None, variables: Mapping[str, str]
    ) -> tuple[Node, _File] | None:
        if name.startswith(_REMOTE):
            self._faults.add(
                place, f"{name!r} is not a file of this computer", "Download it and name the file."
            )
            return None
        path = absolute(name, file.base)
        try:
            [source] = read_sources([path], self._directory)
        except InputError as error:
            self._faults.add(place, sentence(error), "Relative paths begin at the directory of the file.")
            return None
        self._faults.file(source.shown)
        tree = self._read(source, variables)
        if tree is None:
            return None
        return tree, _File(source, base or path.parent, variables, (*file.trail, path))

    # -- include -------------------------------------------------------------------------------------------

    def _included(self, item: Node, file: _File) -> Node | None:
        """Return one included project, its paths absolute."""
        given = {"path": item} if isinstance(item.value, str) else item.mapping
        for key in set(given) - {"path", "project_directory", "env_file"}:
            known = "It has path, project_directory and env_file."
            self._faults.add(item.key_place(key), f"include: there is no {key!r}", known)
        path = given.get("path")
        paths = (path.items or [path]) if path else []
        if not paths or not all(isinstance(each.value, str) and each.value for each in paths):
            self._faults.add(item.place, "include: expected the name of a file, or path: FILE")
            return None
        directory = given.get("project_directory")
        if directory is not None and isinstance(directory.value, str):
            base = absolute(directory.value, file.base)
        else:
            base = absolute(paths[0].text, file.base).parent
        variables = self._variables(given.get("env_file"), base, file)
        root: Node | None = None
        for each in paths:
            opened = self._open(each.text, each.place, file, base, variables)
            if opened is None:
                continue
            tree, there = opened
            if len(there.trail) > _LONGEST_CHAIN:
                self._faults.add(each.place, f"include goes through more than {_LONGEST_CHAIN} files")
                continue
            if there.source.path in file.trail:
                self._faults.add(each.place, f"include has a cycle: {there.source.shown}", "Leave it out.")
                continue
            tree = self._whole(tree, there, root)
            root = without_resets(tree) if root is None else merge(root, tree, self._faults)
        return None if root is None else _rebased(root, base)

    def _variables(self, node: Node | None, base: Path, file: _File) -> Mapping[str, str]:
        """Return the variables of an included project: those of ours win over those of its own files."""
        found: dict[str, str] = {}
        named = (
            [] if node is None else [each for each in (node.items or [node]) if isinstance(each.value, str)]
        )
        paths = [(absolute(each.text, file.base), each.place) for each in named]
        # As for a project of its own, unless `env_file` names others.
        if node is None and (base / ".env").is_file():
            paths = [(base / ".env", Place(str(base / ".env"), 1, 1))]
        for path, place in paths:
            try:
                unset = functools.partial(self._faults.unset, place=str(path))
                found |= read_env_file(path, ChainMap(dict(file.variables), found), unset, str(path))
            except InputError as error:
                self._faults.add(place, sentence(error))
        return {**found, **file.variables}

    def _with_part(self, tree: Node, part: Node) -> Node:
        """Put an included project into a tree. What both have has to be the same."""
        entries, keys = dict(tree.mapping), dict(tree.keys)
        for section in schema.SECTIONS:
            theirs = part.get(section)
            if theirs is None or not isinstance(theirs.value, dict):
                continue
            ours = entries.get(section) or replace(theirs, value={}, keys={})
            keys.setdefault(section, part.key_place(section))
            merged, places = dict(ours.mapping), dict(ours.keys)
            for name, node in theirs.value.items():
                # The same file may be included twice by different ways: equal entries are no conflict.
                if name in merged and plain(merged[name]) != plain(node):
                    self._faults.add(
                        ours.key_place(name),
                        f"{section}.{name} is in an included file too: {theirs.key_place(name)}",
                        "Rename one, or lay a file over the included one: include: [{path: [A, B]}].",
                    )
                    continue
                merged[name] = node
                places.setdefault(name, theirs.key_place(name))
            entries[section] = rebuilt(ours, merged, places)
        return rebuilt(tree, entries, keys)


def _rebased(tree: Node, base: Path) -> Node:
    """Return a tree whose relative paths are absolute."""
    entries = dict(tree.mapping)
    services = entries.get("services")
    if services is not None and isinstance(services.value, dict):
        moved = {name: _rebased_service(node, base) for name, node in services.value.items()}
        entries["services"] = rebuilt(services, dict(moved))
    for section in ("secrets", "configs"):
        node = entries.get(section)
        if node is not None and isinstance(node.value, dict):
            entries[section] = rebuilt(
                node, {name: _moved(each, "file", base) for name, each in node.value.items()}
            )
    return rebuilt(tree, entries)


def _rebased_service(service: Node, base: Path) -> Node:
    if not isinstance(service.value, dict):
        return service
    entries = dict(service.value)
    if (build := entries.get("build")) is not None and isinstance(build.value, dict):
        # The context is `.` by default: of the included file's directory, not of ours.
        if "context" not in build.value:
            here = Node(".", build.place, ".")
            build = rebuilt(build, {"context": here, **build.value}, {"context": build.place, **build.keys})
        entries["build"] = _moved(build, "context", base)
    if (files := entries.get("env_file")) is not None:
        entries["env_file"] = rebuilt(files, [_moved(each, "path", base) for each in files.items])
    return rebuilt(service, entries)


def _moved(node: Node, key: str, base: Path) -> Node:
    found = node.get(key)
    if found is None or not isinstance(found.value, str) or not found.value or found.value.startswith(REMOTE):
        return node
    return rebuilt(node, {**node.mapping, key: rebuilt(found, str(absolute(found.value, base)))})
