"""The metadata tree: every path, its spellings, and the rules of `recursive` and `alt`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.platforms.local.metadata import state, tree

CASES = Path(__file__).parent / "cases"
FACTS = state.Facts(**json.loads((CASES / "metadata_machine.json").read_text()))
TREE_CASES = json.loads((CASES / "metadata_tree.json").read_text())


def ask(facts: state.Facts, path: str, **parameters: str) -> tree.Reply:
    node = tree.find(state.build(facts), tree.split(path))
    assert node is not None, path
    return tree.render(node, tree.parse_query(parameters))


@pytest.mark.parametrize("case", TREE_CASES, ids=lambda case: f"{case['path']}?{case.get('query', '')}")
def test_tree(case: dict[str, Any]) -> None:
    node = tree.find(state.build(FACTS), tree.split(case["path"]))
    if case.get("absent"):
        assert node is None
        return
    assert node is not None
    if "bad_request" in case:
        with pytest.raises(tree.BadRequestError, match=case["bad_request"]):
            tree.render(node, tree.parse_query(case["query"]))
        return
    reply = tree.render(node, tree.parse_query(case.get("query", {})))
    if "json" in case:
        assert (reply.content_type, json.loads(reply.body)) == ("application/json", case["json"])
    else:
        assert (reply.content_type, reply.body.decode()) == ("application/text", case["text"])


def test_a_recursive_root_has_everything_and_no_reports() -> None:
    found = json.loads(ask(FACTS, "", recursive="true").body)
    assert set(found) == {"instance", "oslogin", "project", "universe"}
    assert found["instance"]["guestAttributes"] == {}
    assert isinstance(found["instance"]["id"], int)
    assert found["instance"]["attributes"]["greeting-text"].startswith("Grüße")
    text = ask(FACTS, "", recursive="true", alt="text").body.decode()
    assert "instance/disks/0/device-name persistent-disk-0\n" in text
    assert "guest-attributes" not in text.replace("enable-guest-attributes", "")


def test_hidden_leaves_are_served_but_not_listed_recursively() -> None:
    account = tree.Directory({"email": tree.Leaf("a@b"), "token": tree.Leaf("secret", hidden=True)})
    assert json.loads(tree.render(account, tree.Query(recursive=True)).body) == {"email": "a@b"}
    assert b"secret" not in tree.render(account, tree.Query(recursive=True, alt="text")).body
    assert tree.render(account, tree.Query()).body == b"email\ntoken\n"


@pytest.mark.parametrize("word", ["true", "TRUE", "True", "on", "yes", "1"])
def test_true_words(word: str) -> None:
    assert tree.parse_query({"recursive": word}).recursive


@pytest.mark.parametrize("word", ["false", "0", "no", "off", ""])
def test_false_words(word: str) -> None:
    assert not tree.parse_query({"recursive": word}).recursive


def test_the_etag_is_the_nodes_and_not_the_formats() -> None:
    text = ask(FACTS, "instance/name")
    assert ask(FACTS, "instance/name", alt="json").etag == text.etag
    assert len(text.etag) == 16
    assert int(text.etag, 16) >= 0
    everything = ask(FACTS, "instance/", recursive="true")
    assert ask(FACTS, "instance/", recursive="true", alt="text").etag == everything.etag
    changed = replace(FACTS, attributes={**FACTS.attributes, "new": "x"})
    assert ask(changed, "instance/", recursive="true").etag != everything.etag
    assert ask(changed, "instance/name").etag == text.etag
    reported = replace(FACTS, guest={})
    assert ask(reported, "instance/", recursive="true").etag == everything.etag


def test_a_machine_without_any_document_has_a_tree() -> None:
    found = json.loads(ask(state.Facts("bare"), "", recursive="true").body)
    assert found["instance"]["name"] == "bare"
    assert found["project"]["projectId"] == "stoneware"
    assert found["instance"]["attributes"] == {"enable-guest-attributes": "TRUE"}


@pytest.mark.parametrize(
    ("instance", "project", "enabled"),
    [
        ({}, {}, True),
        ({"enable-guest-attributes": "FALSE"}, {}, False),
        ({"enable-guest-attributes": "f"}, {"enable-guest-attributes": "TRUE"}, False),
        ({"enable-guest-attributes": "TRUE"}, {"enable-guest-attributes": "FALSE"}, True),
        ({}, {"enable-guest-attributes": "false"}, False),
        ({"enable-guest-attributes": "maybe"}, {}, True),
    ],
)
def test_guest_attributes_are_on_unless_switched_off(
    instance: dict[str, str], project: dict[str, str], enabled: bool
) -> None:
    facts = state.Facts("m", attributes=instance, project={"attributes": project})
    assert state.guest_attributes_enabled(facts) is enabled
