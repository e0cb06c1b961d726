"""Observing a cluster by its label, and what machines say of their files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.cluster.observe import observe
from stoneware.guest.reports import digests as digests_of
from stoneware.model.machine import Machine
from stoneware.platforms.infrastructure import Kind, Subject
from tests.cluster.support import observation_of, some_images, wanted_of
from tests.platforms.memory import MemoryPlatform

pytestmark = pytest.mark.pure
DIGEST = "0123456789abcdef" * 4
MINE = {"stoneware.cluster": "shop"}


class Platform(MemoryPlatform):
    """Machines in memory that notes whose reports are read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def hold(self, *machines: Machine) -> None:
        """Let these machines, and no others, be there as they are."""
        self._machines = {machine.name: machine for machine in machines}

    def guest_attributes(self, name: str) -> dict[str, str]:
        self.asked.append(name)
        return super().guest_attributes(name)


def platform_of(reports: dict[str, dict[str, str]] | None = None) -> Platform:
    machines = [found.machine for found in observation_of(wanted_of()).machines.values()]
    platform = Platform()
    platform.hold(replace(machines[0], name="alone", spec=replace(machines[0].spec, name="alone", labels={})))
    platform.hold(*platform.machines(), *machines)
    for name, report in (reports or {}).items():
        platform.report(name, **report)
    platform.create_volume("shop-data", MINE)
    platform.create_volume("mine", {})
    platform.create_network("shop-default", MINE)
    platform.create_network("other-default", {"stoneware.cluster": "other"})
    return platform


def test_what_carries_the_label_is_observed():
    platform, known = platform_of(), frozenset({Subject(Kind.MACHINE, "app-1")})
    observed = observe(platform, "shop", managed=known)
    assert list(observed.machines) == ["app-1", "app-2", "db-1", "web-1"]
    assert observed.volumes == {"shop-data"}
    assert observed.networks == {"shop-default"}
    assert observed.managed == known
    assert platform.asked == []
    assert observe(platform, "nothing").machines == {}


def test_a_machine_without_a_short_name_goes_by_its_own():
    platform = platform_of()
    platform.hold(*(replace(it, spec=replace(it.spec, labels=MINE)) for it in platform.machines()))
    assert set(observe(platform, "shop").machines) == {
        "alone",
        "shop-db-1",
        "shop-app-1",
        "shop-app-2",
        "shop-web-1",
    }


def test_commits_are_those_of_images_that_are_still_there():
    platform = platform_of()
    platform.show("alone", image_id="sha256:gone")
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
