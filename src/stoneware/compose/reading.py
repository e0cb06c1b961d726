"""From cluster files to one tree of nodes: parsed, interpolated, joined with what they name, merged."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stoneware.compose.canonical import canonical
from stoneware.compose.faults import Faults
from stoneware.compose.files import Source, directory_name
from stoneware.compose.interpolation import InterpolationError, interpolate
from stoneware.compose.joining import Joiner
from stoneware.compose.merge import merge, without_resets
from stoneware.compose.model import Place
from stoneware.compose.naming import named, parsed_files
from stoneware.compose.nodes import Node
from stoneware.compose.yamlfile import YamlError, build, parse


def read_tree(
    sources: Sequence[Source],
    where: tuple[Path, Path],
    variables: dict[str, str],
    name: str,
    faults: Faults,
) -> tuple[Node, str]:
    """Return the merged tree in its long forms, and the cluster's name, which expressions may use.

    `where` are the directories that relative paths begin at, and that messages call files from.
    """
    parsed = parsed_files(sources, faults)
    name = name or named(parsed, variables, faults) or directory_name(sources[0].path.parent)
    # Before the files are interpolated: expressions may use it, as in Compose.
    variables["COMPOSE_PROJECT_NAME"] = name
    joiner = Joiner(where[1], faults, functools.partial(_file_tree, faults=faults))
    root: Node | None = None
    for source, events in parsed:
        for document in _documents(source, events, variables, faults):
            tree = joiner.whole(document, source, where[0], variables, root)
            root = without_resets(tree) if root is None else merge(root, tree, faults)
    if root is None:
        faults.check()
    assert root is not None  # noqa: S101 -- without a tree there is a fault
    return root, name


def _documents(
    source: Source, events: list[yaml.Event], variables: Mapping[str, str], faults: Faults
) -> list[Node]:
    """Return the documents of a file in their long forms."""
    try:
        documents = build(events, source.shown, _interpolation(variables, faults), faults)
    except YamlError as error:
        faults.add(error.place, error.reason)
        return []
    if not documents or all(each.value is None for each in documents):
        faults.add(Place(source.shown, 1, 1), "the file is empty", "Write services: with at least one in it.")
    return [canonical(each, faults) for each in documents if each.value is not None]


def _file_tree(source: Source, variables: Mapping[str, str], faults: Faults) -> Node | None:
    """Return the tree of a file that another one names."""
    try:
        events = parse(source.text, source.shown)
    except YamlError as error:
        faults.add(error.place, error.reason)
        return None
    root: Node | None = None
    for document in _documents(source, events, variables, faults):
        root = without_resets(document) if root is None else merge(root, document, faults)
    return root


def _interpolation(variables: Mapping[str, str], faults: Faults) -> Any:
    def text(raw: str, place: Place) -> str:
        try:
            return interpolate(raw, variables, functools.partial(faults.unset, place=place))
        except InterpolationError as error:
            hint = "" if "required" in str(error) else "Write $$ for a plain dollar sign."
            faults.broken(place, str(error), hint)
            return raw

    return text
