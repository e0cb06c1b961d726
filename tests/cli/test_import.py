"""What `import` refuses before it reads an archive, which may have gigabytes."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the image has no name"),
        (("-t", "Bad Name"), "Bad Name"),
        (("-t", "x", "--label", "=v"), "=v"),
        (("-t", "x", "-c", "BOGUS x"), "--change:2: unknown instruction: BOGUS"),
        (("-t", "x", "-c", 'CMD ["a"]', "-c", "ENV"), "--change:3: ENV requires at least one argument"),
    ],
)
def test_what_is_wrong_without_the_archive(cli: Cli, words: tuple[str, ...], said: str) -> None:
    done = cli("import", "no-such-archive.tar", *words)
    assert done.code == 2
    assert said in done.err
    assert "no-such-archive.tar" not in done.err.partition("\n")[0]
