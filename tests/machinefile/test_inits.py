"""A CMD or ENTRYPOINT that is an init system is left out: the machine has one."""

from __future__ import annotations

import pytest

from stoneware.machinefile.inits import starts_init
from stoneware.machinefile.load import load_recipe
from tests.machinefile.support import resolve

INITS = [
    'CMD ["/sbin/init"]',
    'CMD ["/usr/sbin/init", "--log-target=journal"]',
    'CMD ["/lib/systemd/systemd", "--system", "--unit=multi-user.target"]',
    'ENTRYPOINT ["/usr/lib/systemd/systemd"]\nCMD ["--show-status=no"]',
    'ENTRYPOINT ["/usr/bin/tini", "-g", "--"]\nCMD ["init"]',
    "CMD /sbin/init",
    "CMD exec /lib/systemd/systemd --system",
    'CMD ["/bin/bash", "-c", "exec /sbin/init --log-target=journal 3>&1"]',
    'ENTRYPOINT ["/bin/systemd"]',
    "CMD container=docker exec /sbin/init",
    'SHELL ["/bin/bash", "-o", "pipefail", "-c"]\nCMD /sbin/init',
]
OTHERS = [
    'CMD ["/init"]',
    'CMD ["app", "/sbin/init"]',
    'CMD ["/opt/app/bin/init"]',
    "CMD prepare && /sbin/init",
    "CMD /sbin/init; true",
    'CMD ["systemd", "--user"]',
    'CMD ["sh"]',
    'CMD ["tini"]',
    "CMD echo '",
]


def load(text: str, head: str = "FROM debian:12") -> tuple[tuple[str, ...], tuple[str, ...]]:
    recipe = load_recipe(f"{head}\n{text}\n", resolve_base=resolve)
    config = recipe.stages[-1].config
    return (*config.entrypoint, *config.cmd), recipe.warnings


@pytest.mark.parametrize("text", INITS)
def test_an_init_is_left_out_with_its_line(text: str) -> None:
    argv, warnings = load(text)
    assert argv == ()
    (warning,) = warnings
    assert warning.startswith(f"Machinefile:{text.count(chr(10)) + 2}: ")
    assert "is left out: a machine has its init" in warning


@pytest.mark.parametrize("text", OTHERS)
def test_what_only_looks_like_one_stays(text: str) -> None:
    argv, warnings = load(text)
    assert argv != ()
    assert warnings == ()


def test_an_init_behind_a_script_is_warned_about() -> None:
    argv, warnings = load('ENTRYPOINT ["/entry.sh"]\nCMD ["/sbin/init"]')
    assert argv == ("/entry.sh", "/sbin/init")
    assert warnings[0].startswith("Machinefile:3: CMD /sbin/init would be started by ENTRYPOINT /entry.sh")


def test_a_stage_may_still_replace_it() -> None:
    assert load('CMD ["/sbin/init"]\nFROM one\nCMD ["app"]', "FROM debian:12 AS one")[0] == ("app",)
    assert load('CMD ["/sbin/init"]\nFROM one', "FROM debian:12 AS one")[0] == ()


def test_nothing_starts_no_init() -> None:
    assert not starts_init(())
