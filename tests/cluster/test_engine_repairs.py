"""What `up` makes of a state that is lost, damaged or behind, by the real Terraform and the real provider."""

from __future__ import annotations

import json

import pytest

from stoneware.cluster import events
from stoneware.cluster.model import Action
from stoneware.cluster.up import RolloutNeeded
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.terraform.configuration import IMPORTS_FILE
from tests.cluster.engine import ALL, EngineBench, creations

pytestmark = pytest.mark.tool


def test_a_lost_state_is_made_good_by_imports(bench: EngineBench) -> None:
    bench.up()
    before = {machine.name: machine.id for machine in bench.platform.machines()}
    managed = bench.managed()
    for path in (bench.clusters / "shop").iterdir():
        path.unlink()
    result = bench.up()
    assert {step.action for step in result.plan.steps} == {Action.ADOPT}
    assert {machine.name: machine.id for machine in bench.platform.machines()} == before
    assert bench.managed() == managed
    assert bench.up().plan.changes == ()


def test_a_machine_made_behind_terraforms_back_can_be_removed(bench: EngineBench) -> None:
    bench.up({"services": {"db": {"replicas": 2}}})
    for path in (bench.clusters / "shop").iterdir():
        path.unlink()
    bench.up()
    assert bench.machines() == ALL


def test_damaged_variables_are_written_again(bench: EngineBench) -> None:
    bench.up()
    (bench.clusters / "shop/machines.auto.tfvars.json").write_text('{"machines": {"app-1": {}}}')
    bench.platform.destroy("shop-web-1")
    damaged = bench.clusters / "shop/machines.auto.tfvars.json"
    with pytest.raises(RolloutNeeded):  # so that the rollout it advises does not send back here
        bench.up({"services": {"app": {"image": "app:2"}}})
    assert '"app-1"' in damaged.read_text()
    assert bench.site.applied("shop") is not None
    bench.up({"services": {}}, recreate=True)
    assert bench.machines() == ALL


@pytest.mark.parametrize("text", ["", '{"version": 4, "resour'])
def test_a_damaged_state_is_set_aside(bench: EngineBench, text: str) -> None:
    bench.up()
    state = bench.clusters / "shop/terraform.tfstate"
    state.write_text(text)
    bench.platform.destroy("shop-web-1")
    bench.up()
    assert bench.machines() == ALL
    assert len(bench.managed()) == 4 + 1 + len(bench.volumes())
    state.write_text(text)
    bench.down(volumes=True)
    assert (bench.machines(), bench.networks(), bench.volumes()) == ([], [], [])
    assert not (bench.clusters / "shop").exists()


def test_an_import_that_was_cut_off(bench: EngineBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.up()
    for path in (bench.clusters / "shop").iterdir():
        path.unlink()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for method in ("plan", "apply"):
        with monkeypatch.context() as cut:
            cut.setattr(f"stoneware.cluster.apply.Terraform.{method}", killed)
            with pytest.raises(KeyboardInterrupt):
                bench.up()
        assert "continues from here" in bench.recorder.of(events.Note)[-1].text
    blocks = bench.clusters / "shop" / IMPORTS_FILE
    address = bench.platform.infrastructure.address(Subject(Kind.MACHINE, "app-1"))
    blocks.write_text(json.dumps({"import": [{"to": address, "id": "no-such"}]}))  # as a kill leaves them
    assert {step.action for step in bench.up().plan.changes} == {Action.ADOPT}
    assert not blocks.exists()
    taken = [note.text for note in bench.recorder.of(events.Note) if note.text.startswith("took ")]
    assert f"took {address} into Terraform's state, which lacked it" in taken
    assert len(taken) == len(set(taken)) == len(bench.managed())
    assert creations(bench) == []
    assert bench.up().plan.changes == ()
    bench.up({"services": {"web": {"replicas": 2}}})
    assert creations(bench) == ["shop-web-2"]


def test_what_is_imported_may_be_replaced_at_once(bench: EngineBench) -> None:
    bench.up()
    for path in (bench.clusters / "shop").iterdir():
        path.unlink()
    bench.up({"services": {"app": {"image": "app:2"}}}, recreate=True)
    assert sorted(creations(bench)) == ["shop-app-1", "shop-app-2"]
    assert bench.up({"services": {"app": {"image": "app:2"}}}).plan.changes == ()
