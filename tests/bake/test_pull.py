"""--pull, over a store that holds no files: the base is made again, once, also where all is cached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stoneware.bake.api import bake
from stoneware.bake.events import Silent
from stoneware.bake.options import BakeOptions
from stoneware.bake.place import Place
from stoneware.bake.planner import Planner
from tests.bake.bake_store import BakeStore

TEXT = "FROM debian:12 AS a\nRUN one\nFROM debian:12\nCOPY --from=a /one /\n"


class PullingStore(BakeStore):
    def ensure_base(self, reference: str, *, refresh: bool, progress: Callable[[str], None]) -> str:
        self.references[f"pulled:{len(self.references)}"] = f"{reference} {refresh}"
        return "base-1"


def test_a_pull_makes_each_base_anew_once(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Machinefile").write_text(TEXT)
    store = PullingStore(tmp_path)
    options = BakeOptions(tmp_path / "context", tags=("app",), pull=True)
    made = Planner(options, store, "app").plan()
    store.checkpoints = {step.key for stage in made.stages for step in stage.steps}
    image = store.add_image("app", made.image.key, made.target.stage.config)
    result = bake(options, Place(None, store), Silent())  # type: ignore[arg-type]  # nothing is built
    assert (result.image_id, result.ran) == (image, 0)
    assert [name for tag, name in store.references.items() if tag.startswith("pulled")] == ["debian:12 True"]
