"""What the router records and tells the kernel, over a kernel that only notes what it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stoneware.model.ingress import Ingress, IngressRule
from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.machines.record import spec_document
from stoneware.platforms.local.network import servers as router_servers
from stoneware.platforms.local.network import setup
from stoneware.platforms.local.network.addresses import Lease, Plan
from stoneware.platforms.local.network.dns import Attached
from stoneware.platforms.local.network.layout import Layout, layout_of
from stoneware.platforms.local.network.router import Router
from stoneware.platforms.local.network.state import State
from stoneware.platforms.local.network.views import Views
from stoneware.platforms.local.store.store import Store
from stoneware.process import ProcessError

ROUTER = "stoneware.platforms.local.network.router"


@dataclass
class Kernel:
    """What stands for nftables and the helpers."""

    told: list[str] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    refuses: bool = False

    def apply(self, _layout: Layout, rules: str, settings: Sequence[str] = ()) -> None:
        del settings
        if self.refuses:
            self.refuses = False
            raise ProcessError(["nft"], 1, "No such file or directory")
        self.told.append(rules)

    def start(self, _layout: Layout, servers: Sequence[object], _namespace: int) -> None:
        self.servers += ["started"] * len(servers)


class Helper:
    """A DNS server that notes that it was told."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel, self.name = kernel, name

    def reload(self) -> None:
        self.kernel.servers.append(f"reload {self.name}")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    found = Kernel()
    monkeypatch.setattr("stoneware.platforms.local.network.layout.RUNTIME", tmp_path / "run")
    monkeypatch.setattr(f"{ROUTER}.is_up", lambda _: True)
    monkeypatch.setattr(setup, "nft_inside", found.apply)
    monkeypatch.setattr(router_servers, "start", found.start)
    monkeypatch.setattr(router_servers, "of_view", lambda _layout, _plan, view: view)
    monkeypatch.setattr(router_servers, "resolver", lambda _, key: Helper(found, key))
    monkeypatch.setattr(router_servers, "dnsmasq", lambda _: Helper(found, "dnsmasq"))
    monkeypatch.setattr(router_servers, "resolvers", lambda _: [])
    return found


@pytest.fixture
def router(tmp_path: Path, kernel: Kernel) -> Router:
    store = Store(tmp_path / "store")
    (store.data / "machines").mkdir(parents=True)
    for name in ("front", "back"):
        (store.data / "networks" / name).mkdir(parents=True)
        (store.data / "networks" / name / "document.json").write_text('{"created": 1.0, "labels": {}}')
    plan = Plan(IPv4Network("10.77.0.0/22"), ())
    return Router(store, layout_of(store), State(plan, 1500, (1, 2), "", 0, 0, {}))


def attach(router: Router, name: str, *networks: str, ingress: Ingress | None = None) -> Lease:
    directory = router.store.data / "machines" / name
    directory.mkdir(exist_ok=True)
    spec = MachineSpec(name, "image:x", networks=networks, ingress=ingress)
    (directory / "spec.json").write_text(json.dumps(spec_document(spec)))
    return router.attach(directory, id=f"m-{name}", name=name, hostname=name, networks=networks)


def views(router: Router) -> list[tuple[str, ...]]:
    return sorted(view.networks for view in Views(router.layout.runtime).all())


def test_a_machine_on_no_network_is_a_few_elements(router: Router, kernel: Kernel) -> None:
    lease = attach(router, "web")
    [rules] = kernel.told
    assert lease.ip in rules
    assert "vb-m-web" in rules
    assert "flush" not in rules  # no rule of another machine is written again
    assert (views(router), kernel.servers) == ([], [])
    assert [pin.ip for pin in Attached(router.layout.runtime).pins()] == [lease.ip]
    found = json.loads((router.store.data / "machines/web/network.json").read_text())
    assert (found["ip"], found["mac"], found["id"]) == (lease.ip, lease.mac, "m-web")


def test_the_first_machine_of_a_view_makes_it_and_the_next_joins(router: Router, kernel: Kernel) -> None:
    first = attach(router, "db", "back")
    assert (views(router), kernel.servers) == ([("back",)], ["started"])
    whole = kernel.told[-1]
    second = attach(router, "web", "front", "back")
    assert (views(router), kernel.servers) == ([("back",), ("back", "front")], ["started", "started"])
    attach(router, "api", "back")
    assert len(kernel.told[-1]) < len(whole)  # its view was there
    assert kernel.servers == ["started", "started"]
    [back] = [view for view in Views(router.layout.runtime).all() if view.networks == ("back",)]
    hosts = {path.name: path.read_text() for path in Views(router.layout.runtime).hosts(back.key).iterdir()}
    assert hosts["m-db"].startswith(f"{first.ip} db ")
    assert hosts["m-web"].startswith(f"{second.ip} web ")
    assert sorted(hosts) == ["m-api", "m-db", "m-web"]


def test_who_leaves_has_no_names_and_the_last_takes_the_view_along(router: Router, kernel: Kernel) -> None:
    lease = attach(router, "db", "back")
    attach(router, "web", "back")
    kernel.servers.clear()
    router.detach("m-db", "db")
    [view] = Views(router.layout.runtime).all()
    assert kernel.servers == [f"reload {view.key}", "reload dnsmasq"]
    assert "delete" in kernel.told[-1]
    assert "m-db" not in [path.name for path in Views(router.layout.runtime).hosts(view.key).iterdir()]
    router.detach("m-web", "web")
    assert views(router) == []
    before = list(kernel.told)
    router.detach("m-web", "web")  # it has nothing any more
    assert kernel.told == before
    assert attach(router, "db", "back") == lease


def test_rules_that_are_not_what_they_should_be_are_all_written_again(router: Router, kernel: Kernel) -> None:
    attach(router, "db", "back")
    lease = attach(router, "web")
    whole = kernel.told[0]
    kernel.refuses = True
    api = attach(router, "api", "back")
    assert len(kernel.told[-1]) > len(whole)
    assert all(ip in kernel.told[-1] for ip in (lease.ip, api.ip))


def test_a_guarded_machine_has_rules_of_its_own_until_it_leaves(router: Router, kernel: Kernel) -> None:
    attach(router, "web", ingress=(IngressRule(True, ("10.0.0.0/8",), "tcp", ((80, 81),)),))
    assert "10.0.0.0/8" in kernel.told[-1]
    assert "80-81" in kernel.told[-1]
    directory = router.store.data / "machines/web"
    spec = json.loads((directory / "spec.json").read_text())
    (directory / "spec.json").write_text(json.dumps({**spec, "ingress": None}))
    router.guard(directory, "m-web")
    assert "delete chain bridge stoneware guard-m-web" in kernel.told[-1]
    told = len(kernel.told)
    router.guard(directory, "m-web")  # nothing of it has changed
    assert len(kernel.told) == told
    (directory / "spec.json").write_text("[")
    router.guard(directory, "m-web")  # one that cannot be read lets nothing in
    assert "10.0.0.0/8" not in kernel.told[-1]
    assert "guard-m-web drop" in kernel.told[-1]
    router.detach("m-web", "web")
    assert "delete chain bridge stoneware guard-m-web" in kernel.told[-1]
    told = len(kernel.told)
    router.guard(directory, "m-web")  # not attached
    assert len(kernel.told) == told


def test_a_changed_network_is_told_to_the_kernel_and_to_servers(
    router: Router, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded: list[object] = []
    monkeypatch.setattr(setup, "forward", lambda _, publications: forwarded.append(list(publications)))
    monkeypatch.setattr(router_servers, "end", lambda helper: kernel.servers.append(f"end {helper.name}"))
    monkeypatch.setattr(f"{ROUTER}.RUNTIME", router.layout.home)
    monkeypatch.setattr(setup, "resolver", lambda _, key: Helper(kernel, key), raising=False)
    attach(router, "db", "back")
    kernel.servers.clear()
    document = router.store.data / "networks/back/document.json"
    document.write_text('{"created": 1.0, "labels": {}, "internal": true}')
    router.renew()
    [view] = Views(router.layout.runtime).all()
    assert view.sealed
    assert kernel.servers == [f"end {view.key}", "started"]
    assert forwarded == [[]]
