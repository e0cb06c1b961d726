"""The plan of a cluster: what is done with each machine, disk and network, and why."""

from __future__ import annotations

import itertools
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoneware.cluster.documents import plan_document
from stoneware.cluster.drift import find_drift
from stoneware.cluster.model import Action, Desired, Observed, ObservedMachine
from stoneware.cluster.plan import make_plan, needs_rollout, waves_of
from stoneware.cluster.status import status, status_rows
from stoneware.cluster.tfvars import to_tfvars
from stoneware.compose.model import Condition
from stoneware.model.limits import Ulimit
from stoneware.model.machine import Phase
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from tests.cluster.observation_documents import RESOURCES
from tests.cluster.support import NOW, VERSIONS, observation_of, there, wanted_of

pytestmark = pytest.mark.pure
CASES = json.loads((Path(__file__).parent / "cases/plan.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_steps_and_reasons(case):
    desired = wanted_of(
        case.get("file"),
        pending=frozenset(case.get("pending", ())),
        versions=case.get("versions", VERSIONS),
    )
    observed = there(case.get("there", {}))
    plan = make_plan(desired, observed, recreate=case.get("recreate", False))
    changes = [f"{step.kind} {step.name}: {step.action}: {'; '.join(step.reasons)}" for step in plan.changes]
    assert changes == case["steps"]
    if "rollout" in case:
        assert [step.name for step in needs_rollout(plan, desired, observed)] == case["rollout"]
    names = {step.name for step in plan.steps if step.kind == "machine" and step.action is not Action.REMOVE}
    assert names == set(desired.machines)


def test_a_kept_disk_is_told_and_left_alone():
    desired = wanted_of({"services": {"db": {"image": "web:1", "volumes": {"/var/lib/db": None}}}})
    plan = make_plan(desired, observation_of(wanted_of()))
    kept = [step for step in plan.steps if step.kind == "volume"]
    assert [(step.name, step.action) for step in kept] == [
        ("shop-db-1-3e5e45da", Action.NONE),
        ("shop-db-1-data", Action.NONE),
    ]
    assert all(step.reasons == ("is kept, though no machine wants it any more",) for step in kept)


def test_networks_come_first_and_go_last_and_machines_are_removed_before_others_are_made():
    desired = wanted_of({"services": {"web": None, "more": {"image": "web:1"}}})
    before = replace(observation_of(wanted_of()), networks=frozenset({"shop-old"}))
    plan = make_plan(desired, before)
    assert [(step.kind, step.name, str(step.action)) for step in plan.changes] == [
        ("network", "shop-default", "create"),
        ("machine", "web-1", "remove"),
        ("machine", "more-1", "create"),
        ("network", "shop-old", "remove"),
    ]


@pytest.mark.parametrize(
    ("depends_on", "waves"),
    [
        ({"a": (), "b": (), "c": ()}, [["a-1", "b-1", "c-1"]]),
        ({"c": ("b",), "b": ("a",), "a": ()}, [["a-1"], ["b-1"], ["c-1"]]),
        ({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c", "a")}, [["a-1"], ["b-1", "c-1"], ["d-1"]]),
        ({"a": ("gone",), "b": ("a",)}, [["a-1"], ["b-1"]]),
    ],
)
def test_waves_follow_the_dependencies(depends_on, waves):
    needs = {name: dict.fromkeys(others, Condition.STARTED) for name, others in depends_on.items()}
    template = wanted_of().machines["web-1"]
    machines = {f"{name}-1": replace(template, name=f"{name}-1", service=name) for name in depends_on}
    found = waves_of(Desired("x", machines, needs, {}, {}))
    assert [sorted(wave) for wave in found] == waves


def test_a_long_chain_has_as_many_waves_as_links():
    services = [f"s{number}" for number in range(3000)]
    needs = {one: {before: Condition.HEALTHY} for before, one in itertools.pairwise(services)}
    template = wanted_of().machines["web-1"]
    machines = {name: replace(template, name=name, service=name) for name in services}
    found = waves_of(Desired("x", machines, {services[0]: {}, **needs}, {}, {}))
    assert [wave[0] for wave in found] == services


# Each makes a machine differ from what is wanted of it.
SPEC_CHANGES = {
    "image": lambda machine: replace(machine, image_id="sha256:" + "9" * 64),
    "hostname": lambda machine: _spec(machine, hostname="elsewhere"),
    "config": lambda machine: _spec(
        machine, metadata={**machine.spec.metadata, "stoneware-config": "ODD=1\n"}
    ),
    "health check": lambda machine: _spec(
        machine, metadata={**machine.spec.metadata, "stoneware-healthcheck": "none\n"}
    ),
    "memory": lambda machine: _spec(machine, memory=1),
    "cpus": lambda machine: _spec(machine, cpus=0.25),
    "pids_limit": lambda machine: _spec(machine, pids_limit=-1),
    "ulimits": lambda machine: _spec(machine, ulimits=(Ulimit("nofile", 1, 2),)),
    "disk": lambda machine: _spec(machine, disk=1 << 30),
    "log_max_size": lambda machine: _spec(machine, log_max_size=1024),
    "log_max_file": lambda machine: _spec(machine, log_max_file=1),
    "read_only": lambda machine: _spec(machine, read_only=not machine.spec.read_only),
    "restart": lambda machine: _spec(machine, restart="on-failure:3"),
    "stop_timeout": lambda machine: _spec(machine, stop_timeout=77.0),
    "ports": lambda machine: _spec(machine, ports=(*machine.spec.ports, PortMapping("127.0.0.1", 1, 1))),
    "volumes": lambda machine: _spec(machine, volumes=(VolumeMount("odd", "/odd"),)),
    "networks": lambda machine: _spec(machine, networks=("odd",)),
    "names": lambda machine: _spec(machine, names=(*machine.spec.names, "odd")),
    "secrets": lambda machine: _spec(machine, secrets=(SecretMount("odd", "odd", "1"),)),
    "labels": lambda machine: _spec(machine, labels={**machine.spec.labels, "odd": "1"}),
    "stopped": lambda machine: replace(machine, phase=Phase.STOPPED, exit_code=1),
    "failed": lambda machine: replace(machine, phase=Phase.FAILED),
}


def _spec(machine, **changes):
    return replace(machine, spec=replace(machine.spec, **changes))


@st.composite
def files(draw):
    services = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1, max_size=6))
    entries = {}
    for number, name in enumerate(services):
        needs = draw(st.lists(st.sampled_from(services[:number]), unique=True)) if number else []
        entries[name] = {
            "image": draw(st.sampled_from(["db:1", "web:1"])),
            "replicas": draw(st.integers(0, 4)),
            "depends_on": dict.fromkeys(needs, "service_started"),
            "environment": draw(
                st.dictionaries(st.sampled_from(["A", "B", "C"]), st.text("xyz\n\\=$ä", max_size=5))
            ),
            "volumes": draw(st.dictionaries(st.sampled_from(["/a", "/var/lib/db"]), st.just("data"))),
            "secrets": draw(st.lists(st.sampled_from(["s", "t"]), unique=True)),
        }
    return {"services": {"db": None, "app": None, "web": None, **entries}}


@settings(deadline=None)
@given(files(), st.booleans())
def test_what_is_as_wanted_needs_nothing(changes, managed):
    desired = wanted_of(changes, versions={"s": "1", "t": "1"})
    observed = observation_of(desired, managed=managed)
    plan = make_plan(desired, observed)
    assert plan.changes == ()
    assert sorted(name for wave in plan.waves for name in wave) == sorted(desired.machines)


@settings(deadline=None)
@given(files(), st.data())
def test_each_machine_that_differs_has_a_step_and_no_other_has(changes, data):
    desired = wanted_of(changes, versions={"s": "1", "t": "1"})
    observed = observation_of(desired)
    picked = data.draw(
        st.dictionaries(st.sampled_from(sorted(desired.machines)), st.sampled_from(sorted(SPEC_CHANGES)))
        if desired.machines
        else st.just({})
    )
    machines = {
        name: ObservedMachine(SPEC_CHANGES[picked[name]](found.machine)) if name in picked else found
        for name, found in observed.machines.items()
    }
    plan = make_plan(desired, replace(observed, machines=machines))
    assert {step.name for step in plan.changes} == set(picked)
    assert all(step.reasons for step in plan.changes)


@settings(deadline=None)
@given(files(), files())
def test_what_depends_on_another_is_in_a_later_wave(changes, more):
    desired = wanted_of(changes)
    waves = waves_of(desired)
    level = {desired.machines[name].service: number for number, wave in enumerate(waves) for name in wave}
    for service, needs in desired.depends_on.items():
        for other in needs:
            if service in level and other in level:
                assert level[other] < level[service]
    plan = make_plan(desired, observation_of(wanted_of(more)))
    assert len({(step.kind, step.name) for step in plan.steps}) == len(plan.steps)


def test_the_order_of_what_was_observed_does_not_matter():
    desired = wanted_of({"services": {"app": {"image": "app:2"}}})
    observed = observation_of(wanted_of())
    names = list(observed.machines)
    random.Random(1).shuffle(names)  # noqa: S311  # a seed, no secret
    shuffled = Observed(
        observed.name,
        {name: observed.machines[name] for name in names},
        observed.volumes,
        observed.networks,
        observed.managed,
        observed.commits,
    )
    assert make_plan(desired, shuffled) == make_plan(desired, observed)


def test_the_work_grows_with_the_machines_and_no_faster():
    def calls(replicas):
        desired = wanted_of({"services": {"app": {"replicas": replicas}}})
        changed = wanted_of({"services": {"app": {"replicas": replicas, "memory": 1}}})
        observed = observation_of(changed)
        count = 0

        def called(frame, event, argument):
            nonlocal count
            count += event == "call"

        sys.setprofile(called)
        try:
            plan_document(make_plan(desired, observed), desired)
            to_tfvars(desired, observed, list(desired.machines), applied=desired)
            status_rows(status(desired, observed, NOW))
            find_drift(desired, observed, (), RESOURCES)
        finally:
            sys.setprofile(None)
        return count

    assert calls(400) < 4.2 * calls(100)
