from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from stoneware.bake.failure_shell import open_shell
from stoneware.errors import InputError
from stoneware.machinefile.recipe import CopyStep, RunStep
from stoneware.model.execution import Execution

RUN = RunStep(index=1, stage="a", line=2, text="x")
COPY = CopyStep(index=1, stage="a", line=2, text="x")


class Asked:
    """What is asked of a machine that knows no user but root, where `strict`."""

    def __init__(self, *, strict: bool = False) -> None:
        self.calls: list[dict[str, Any]] = []
        self._strict = strict

    def execute(self, name: str, argv: list[str], how: Execution) -> int:
        self.calls.append({"name": name, "argv": argv, **asdict(how)})
        if how.user and self._strict:
            raise InputError("there is no user")
        return 0


def test_it_is_the_steps() -> None:
    asked = Asked()
    step = replace(RUN, env=(("A", "b"),), unkeyed_env=(("P", "q"),), user="app:web", workdir="/srv/app")
    open_shell(asked, "b1", step)  # type: ignore[arg-type]
    [call] = asked.calls
    assert (call["user"], call["env"], call["argv"][-1]) == ("app:web", {"A": "b", "P": "q"}, "/srv/app")
    assert call["tty"]
    assert call["interactive"]


def test_root_has_it_where_there_is_no_such_user() -> None:
    asked = Asked(strict=True)
    open_shell(asked, "b1", replace(RUN, user="nobody", workdir="/x"))  # type: ignore[arg-type]
    assert [call["user"] for call in asked.calls] == ["nobody", ""]


@pytest.mark.parametrize("step", [COPY, RUN])
def test_other_steps_have_root_in_the_top_directory(step: CopyStep | RunStep) -> None:
    asked = Asked()
    open_shell(asked, "b1", step)  # type: ignore[arg-type]
    assert asked.calls[0]["argv"][-1] == "/"
