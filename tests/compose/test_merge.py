"""Merging, by its laws."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoneware.compose.canonical import canonical
from stoneware.compose.faults import Faults
from stoneware.compose.merge import merge
from stoneware.compose.nodes import Node, plain
from stoneware.compose.resolved import to_yaml
from stoneware.compose.yamlfile import build, parse

names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["1", "x", "y=z", ""])
pairs = st.one_of(
    st.dictionaries(names, st.one_of(texts, st.none())),
    st.lists(
        st.builds(lambda key, value: key + value, names, st.sampled_from(["", "=", "=1", "=x=y"])), max_size=4
    ),
)
ports = st.lists(st.sampled_from(["80:80", "81:80", 80, "80:80/udp", "1-2:3-4"]), max_size=4)
volumes = st.lists(
    st.sampled_from(["v:/a", "w:/a:ro", "v:/b", "/c", {"type": "volume", "source": "z", "target": "/b"}]),
    max_size=4,
)
services = st.fixed_dictionaries(
    {},
    optional={
        "image": texts,
        "environment": pairs,
        "labels": pairs,
        "ports": ports,
        "volumes": volumes,
        "env_file": st.one_of(names, st.lists(names, max_size=3)),
        "depends_on": st.one_of(
            st.lists(names, max_size=3),
            st.dictionaries(names, st.just({"condition": "service_healthy"})),
        ),
        "healthcheck": st.fixed_dictionaries(
            {}, optional={"test": st.lists(texts, max_size=2), "retries": texts}
        ),
        "x-list": st.lists(texts, max_size=2),
        "x-map": st.dictionaries(names, st.dictionaries(names, texts)),
    },
)
documents = st.fixed_dictionaries({"services": st.dictionaries(names, services, max_size=2)})


def tree(document: Any, faults: Faults) -> Node:
    """Return a document's tree as it is when files are merged."""
    text = to_yaml(document)
    (node,) = build(parse(text, "f"), "f", lambda raw, _: raw, faults)
    return canonical(node, faults)


@given(first=documents, second=documents, third=documents)
def test_files_merge_one_by_one_or_the_later_ones_first(first: Any, second: Any, third: Any) -> None:
    faults = Faults()
    a, b, c = (tree(each, faults) for each in (first, second, third))
    assert plain(merge(merge(a, b, faults), c, faults)) == plain(merge(a, merge(b, c, faults), faults))
    assert not faults


@given(document=documents)
def test_an_empty_file_changes_nothing(document: Any) -> None:
    faults = Faults()
    node, empty = tree(document, faults), tree({"services": {}}, faults)
    assert plain(merge(node, empty, faults)) == plain(node) == plain(merge(empty, node, faults))


def as_mapping(given_pairs: Any) -> dict[str, str | None]:
    if isinstance(given_pairs, dict):
        return given_pairs
    parts = [each.partition("=") for each in given_pairs]
    return {key: value if equals else None for key, equals, value in parts}


@given(first=pairs, second=pairs)
def test_an_environment_is_merged_by_its_keys_in_either_form(first: Any, second: Any) -> None:
    faults = Faults()
    a, b = (tree({"services": {"a": {"environment": each}}}, faults) for each in (first, second))
    merged = plain(merge(a, b, faults))["services"]["a"]["environment"]
    assert merged == {**as_mapping(first), **as_mapping(second)}


@given(first=volumes, second=volumes)
def test_a_path_has_one_volume(first: Any, second: Any) -> None:
    faults = Faults()
    a, b = (tree({"services": {"a": {"volumes": each}}}, faults) for each in (first, second))
    targets = [each["target"] for each in plain(a)["services"]["a"]["volumes"]]
    later = plain(b)["services"]["a"]["volumes"]
    merged = plain(merge(a, b, faults))["services"]["a"]["volumes"]
    assert [each["target"] for each in merged][: len(targets)] == targets
    assert {each["target"]: each for each in merged} == {
        **{each["target"]: each for each in plain(a)["services"]["a"]["volumes"]},
        **{each["target"]: each for each in later},
    }
