"""Observing a cluster by its label, and what machines say of their files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.cluster.observe import observe
from stoneware.guest.reports import digests as digests_of
from stoneware.model.capability import Capability
from stoneware.model.machine import Machine
from stoneware.model.resources import Network, Volume
from stoneware.platforms.infrastructure import Kind, Subject
from tests.cluster.support import NOW, observation_of, some_images, wanted_of

pytestmark = pytest.mark.pure
DIGEST = "0123456789abcdef" * 4
MINE = {"stoneware.cluster": "shop"}


@dataclass
class FakePlatform:
    found: list[Machine]
    reports: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    capabilities: frozenset[Capability] = frozenset()
    at_once = 1

    def machines(self) -> list[Machine]:
        return self.found

    def volumes(self) -> list[Volume]:
        return [Volume("shop-data", NOW, MINE, ()), Volume("mine", NOW, {}, ())]

    def networks(self) -> list[Network]:
        others = {"stoneware.cluster": "other"}
        return [Network("shop-default", NOW, MINE, ()), Network("other-default", NOW, others, ())]

    def guest_attributes(self, name: str) -> dict[str, str]:
        self.asked.append(name)
        return self.reports.get(name, {})


def platform_of(reports: dict[str, dict[str, str]] | None = None) -> Any:
    machines = [found.machine for found in observation_of(wanted_of()).machines.values()]
    stranger = replace(machines[0], name="alone", spec=replace(machines[0].spec, name="alone", labels={}))
    return FakePlatform([stranger, *machines], reports or {})


def test_what_carries_the_label_is_observed():
    platform, known = platform_of(), frozenset({Subject(Kind.MACHINE, "app-1")})
    observed = observe(platform, "shop", managed=known)
    assert list(observed.machines) == ["db-1", "app-1", "app-2", "web-1"]
    assert observed.volumes == {"shop-data"}
    assert observed.networks == {"shop-default"}
    assert observed.managed == known
    assert platform.asked == []
    assert observe(platform, "nothing").machines == {}


def test_a_machine_without_a_short_name_goes_by_its_own():
    platform = platform_of()
    platform.found = [replace(it, spec=replace(it.spec, labels=MINE)) for it in platform.found]
    assert set(observe(platform, "shop").machines) == {
        "alone",
        "shop-db-1",
        "shop-app-1",
        "shop-app-2",
        "shop-web-1",
    }


def test_commits_are_those_of_images_that_are_still_there():
    platform = platform_of()
    platform.found = [
        replace(it, image_id="sha256:gone") if it.name == "alone" else it for it in platform.found
    ]
    commits = observe(platform, "shop", images=some_images()).commits
    assert commits == {
        "sha256:" + "d" * 64: "dddddddddddd",
        "sha256:" + "1" * 64: "1111111111111",
        "sha256:" + "e" * 64: "eeeeeeee",
    }


def test_files_count_only_with_the_nonce_that_was_asked():
    lines = f"{DIGEST}  /etc/app.conf\nmissing  /etc/gone\n"
    reports = {"stoneware/files": f"{DIGEST}  /etc/app.conf\n", "stoneware/inspection": f"n1\n{lines}"}
    platform = platform_of(dict.fromkeys(("shop-app-1", "shop-app-2", "shop-db-1"), reports))
    machines = observe(platform, "shop", nonces={"app-1": "n1", "app-2": "n2"}).machines
    assert machines["app-1"].written == {"/etc/app.conf": DIGEST}
    assert machines["app-1"].found == {"/etc/app.conf": DIGEST, "/etc/gone": ""}
    assert machines["app-2"].found is None
    assert machines["db-1"].written == {"/etc/app.conf": DIGEST}
    assert machines["db-1"].found is None
    assert machines["web-1"].written == {}
    assert machines["web-1"].found is None


@pytest.mark.parametrize(
    ("text", "digests"),
    [
        ("", {}),
        (f"{DIGEST}  /a b\n{DIGEST}  /c\n", {"/a b": DIGEST, "/c": DIGEST}),
        (f"\\{DIGEST}  /a\\nb\\\\c\\rd\n", {"/a\nb\\c\rd": DIGEST}),
        ("\\missing  /a\\nb\n", {"/a\nb": ""}),
        (f"{DIGEST} /one-blank\n{DIGEST[1:]}  /short\n{DIGEST.upper()}  /upper\nmissing  relative\n", {}),
        ("\0\x1b[2J\nmissing\n  /x\n", {}),
    ],
)
def test_lines_of_digests(text, digests):
    assert digests_of(text) == digests


@given(st.text())
def test_whatever_a_guest_writes_is_read_without_a_fault(text):
    assert all(path.startswith("/") for path in digests_of(text))


def test_an_endless_report_is_cut():
    assert len(digests_of("".join(f"missing  /{n}\n" for n in range(20_000)))) == 10_000
