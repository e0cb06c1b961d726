"""The rules of guarded machines, as texts for nft."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.files import write_json
from stoneware.model.ingress import Ingress, IngressRule, document_of
from stoneware.platforms.local.network.guards import Guards, guard_of, guarding, unguarding
from stoneware.platforms.local.network.rules import Pin

pytestmark = pytest.mark.pure

ANYWHERE = ("0.0.0.0/0",)
PIN = Pin("vb-m1", "42:01:0a:40:00:09", "10.64.0.9", ("n",))
RULES: Ingress = (
    IngressRule(False, ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32"), "tcp", ((90, 100), (22, 22), (80, 90))),
    IngressRule(True, ANYWHERE, "icmp"),
    IngressRule(True, (), "all"),
    IngressRule(True, ANYWHERE, "47"),
    IngressRule(True, ("10.0.0.0/8",), "all", ((53, 53),)),
    IngressRule(True, ("10.0.0.0/8",)),
)


def lines(text: str, chain: str) -> list[str]:
    head = f"add rule {chain} "
    return [line.removeprefix(head) for line in text.splitlines() if line.startswith(head)]


def test_rules_are_looked_at_in_their_order_and_what_none_fits_is_dropped() -> None:
    assert lines(guarding(PIN, RULES), "ip stoneware guard-m1") == [
        "ip saddr { 10.0.0.0/8, 192.0.2.7/32 } ip protocol 6 th dport { 22, 80-100 } drop",
        "ip protocol 1 return",
        "ip protocol 47 return",
        *(
            f"ip saddr {{ 10.0.0.0/8 }} ip protocol {number} th dport {{ 53 }} return"
            for number in (6, 17, 132)
        ),
        "ip saddr { 10.0.0.0/8 } return",
        "drop",
    ]


def test_in_the_bridge_answers_come_first() -> None:
    found = lines(guarding(PIN, ()), "bridge stoneware guard-m1")
    assert "ip protocol tcp tcp flags & (syn | ack) != syn return" in found
    assert "ip protocol udp ip daddr . udp dport . ip saddr . udp sport @talks-m1 return" in found
    assert found[-1] == "drop"
    assert len(lines(guarding(PIN, ()), "bridge stoneware talk-m1")) == 2


def test_rules_that_change_replace_those_that_were() -> None:
    text = guarding(PIN, RULES)
    for chain in ("bridge stoneware guard-m1", "bridge stoneware talk-m1", "ip stoneware guard-m1"):
        assert text.index(f"flush chain {chain}\n") < text.index(f"add rule {chain} ")
    assert 'add element bridge stoneware guards { "vb-m1" : jump guard-m1 }' in text
    assert "add element ip stoneware guards { 10.64.0.9 : jump guard-m1 }" in text


def test_a_machine_that_is_gone_leaves_nothing() -> None:
    made = {
        line.split(" {")[0]
        for line in guarding(PIN, ()).splitlines()
        if line.startswith(("add chain", "add set"))
    }
    gone = {line for line in unguarding(PIN).splitlines() if line.startswith(("delete chain", "delete set"))}
    assert {line.replace("add ", "delete ") for line in made} == gone
    elements = [line for line in guarding(PIN, ()).splitlines() if line.startswith("add element")]
    assert len(elements) == sum(line.startswith("delete element") for line in unguarding(PIN).splitlines())


def test_rules_are_kept_while_a_machine_is_attached(tmp_path: Path) -> None:
    guards = Guards(tmp_path)
    assert guards.of("m1") is None
    assert guards.commands([PIN]) == ""
    guards.keep("m1", RULES)
    assert guards.of("m1") == RULES
    assert guards.commands([PIN]) == guarding(PIN, RULES)
    guards.keep("m1", None)
    assert guards.of("m1") is None
    guards.keep("m1", ())
    (tmp_path / "guards" / "m1").write_text("{}")
    assert guards.of("m1") == ()  # nothing is let in by a record that says nothing


@pytest.mark.parametrize(
    ("document", "rules"),
    [
        ({}, None),
        ({"ingress": None}, None),
        ({"ingress": []}, ()),
        ({"ingress": document_of(RULES)}, RULES),
        ({"ingress": "x"}, ()),
        ({"ingress": [{}]}, ()),
    ],
)
def test_a_machines_spec_says_whether_it_is_guarded(
    tmp_path: Path, document: dict[str, object], rules: Ingress | None
) -> None:
    write_json(tmp_path / "spec.json", document)
    assert guard_of(tmp_path) == rules
