"""What an image's configuration says is there, with the line that says it."""

from __future__ import annotations

import pytest

from stoneware.bake.image_checks import promises
from stoneware.machinefile.load import load_recipe
from tests.machinefile.support import resolve

CASES = {
    'USER app:staff\nCMD ["nginx", "-g", "daemon off;"]': [
        "user app Machinefile:2: USER", "group staff Machinefile:2: USER", "program nginx Machinefile:3: CMD",
    ],
    "USER 1000:0\nCMD exec ./run --port=1": [
        "program /bin/sh Machinefile:3: CMD", "program ./run Machinefile:3: CMD",
    ],
    "CMD A=1 B=2 java -jar x": ["program /bin/sh Machinefile:2: CMD", "program java Machinefile:2: CMD"],
    "CMD $APP run": ["program /bin/sh Machinefile:2: CMD"],
    'ENTRYPOINT ["/entry.sh"]\nCMD ["serve"]': ["program /entry.sh Machinefile:2: ENTRYPOINT"],
    "HEALTHCHECK CMD curl -f localhost || exit 1": [
        "program /bin/sh Machinefile:2: HEALTHCHECK", "program curl Machinefile:2: HEALTHCHECK",
    ],
    'SHELL ["/bin/bash", "-c"]\nCMD (a; b)': ["program /bin/bash Machinefile:3: CMD"],
    'CMD ["one"]\nCMD ["two"]': ["program two Machinefile:3: CMD"],
    'ENTRYPOINT ["a", "/tmp/a.sh"]\nCMD ["/run/a.conf", "/tmp", "/run/a.pid", "/o/tmp/x", "/run/s.sock"]': [
        "program a Machinefile:2: ENTRYPOINT", "passing /tmp/a.sh Machinefile:2: ENTRYPOINT",
        "passing /run/a.conf Machinefile:3: CMD",
    ],
    "HEALTHCHECK CMD test -e /tmp/up/x && /var/tmp/check.": [
        "program /bin/sh Machinefile:2: HEALTHCHECK", "program test Machinefile:2: HEALTHCHECK",
        "passing /tmp/up/x Machinefile:2: HEALTHCHECK", "passing /var/tmp/check Machinefile:2: HEALTHCHECK",
    ],
    'CMD ["a"] AS x': ["program /bin/sh Machinefile:2: CMD"],
}  # fmt: skip


@pytest.mark.parametrize("text", CASES)
def test_promises(text: str) -> None:
    recipe = load_recipe(f"FROM debian:12\n{text}\n", filename="Machinefile", resolve_base=resolve)
    assert promises(recipe, "Machinefile").replace("\t", " ").splitlines() == CASES[text]


def test_what_is_inherited_is_told_with_the_line_it_comes_from() -> None:
    text = 'FROM debian:12 AS a\nUSER app\nFROM a\nCMD ["x"]\n'
    lines = promises(load_recipe(text, resolve_base=resolve), "M").splitlines()
    assert lines == ["user\tapp\tM:2: USER", "program\tx\tM:4: CMD"]
    lines = promises(load_recipe("FROM configured\n", resolve_base=resolve), "M").splitlines()
    assert lines == [
        "user\tsvc\tM:1: the base's USER",
        "program\tbase-cmd\tM:1: the base's CMD",
        "program\tprobe\tM:1: the base's HEALTHCHECK",
    ]
