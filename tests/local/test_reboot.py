"""Machines whose computer was rebooted: which of them the next command starts again."""

from __future__ import annotations

import pytest

from stoneware.errors import HostError
from stoneware.model.machine import Phase
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.recover import recover
from tests.local.engine_lab import Bench
from tests.local.kills import lose_power

pytestmark = pytest.mark.machine


def test_policies_after_a_reboot(lab: Bench) -> None:
    running = {policy: f"{lab.name}-{policy}" for policy in ("no", "always", "unless-stopped", "on-failure")}
    stopped = {policy: f"{lab.name}-{policy}-stopped" for policy in ("always", "unless-stopped")}
    for policy, name in [*running.items(), *stopped.items()]:
        lab.boot(name=name, restart=policy)
    for name in stopped.values():
        lab.platform.stop(name)
    for name in [*running.values(), *stopped.values()]:
        lose_power(lab.paths(name))
    told = [sentence for sentence in recover(lab.store) if lab.name in sentence]
    again = [running["always"], stopped["always"], running["on-failure"], running["unless-stopped"]]
    assert told == [f"started the machine {name} again after the reboot of this computer" for name in again]
    for name in again:
        lab.booted(name)
    for name in (running["no"], stopped["unless-stopped"]):
        machine = lab.platform.observe(name)
        assert machine is not None
        assert machine.phase is Phase.STOPPED
    assert not [sentence for sentence in recover(lab.store) if lab.name in sentence]


def test_a_machine_that_cannot_start_again_is_told_once(lab: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.boot(restart="always")
    lose_power(lab.paths())

    def refuse(*_: object) -> None:
        raise HostError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(LocalPlatform, "start_locked", refuse)
        told = [sentence for sentence in recover(lab.store) if lab.name in sentence]
    assert told == [f"cannot start the machine {lab.name} again after the reboot: the disk is gone"]
    assert not [sentence for sentence in recover(lab.store) if lab.name in sentence]
    failed = lab.platform.observe(lab.name)
    assert failed is not None
    assert (failed.phase, failed.error) == (Phase.FAILED, "it did not start after a reboot: the disk is gone")
    lab.platform.start(lab.name)
    lab.booted()
