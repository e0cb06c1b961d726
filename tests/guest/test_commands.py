"""Commands that an image declares, run when the metadata asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.guest.support import FakeMetadata, Root, finish

pytestmark = pytest.mark.tool
COMMANDS = "etc/stoneware/commands"


@pytest.fixture
def watched(root: Root, metadata: FakeMetadata) -> Iterator[Root]:
    root.put(f"{COMMANDS}/say", '#!/bin/sh\nprintf "%s|" "$GATE" "$@"; echo; echo err >&2; exit 7\n', 0o755)
    root.put(f"{COMMANDS}/slow", "#!/bin/sh\necho begun; sleep 600\n", 0o755)
    held = f"until [ -e {root.path}/go ]; do sleep 0.05; done; exit 9"
    root.put(f"{COMMANDS}/held", f"#!/bin/sh\n{held}\n", 0o755)
    root.put(f"{COMMANDS}/much", "#!/bin/sh\nseq 100000; printf 'end\\n\\377'\n", 0o755)
    root.put(f"{COMMANDS}/once", f"#!/bin/sh\necho x >>{root.path}/count\n", 0o755)
    root.put(f"{COMMANDS}/plain", "no program", 0o644)
    root.put("etc/secret", "#!/bin/sh\necho reached\n", 0o755)
    metadata.set(stoneware_command="from before the boot\n5\nonce\n")
    assert root.run("stoneware-boot").returncode == 0
    process = root.start("stoneware-watch")
    yield root
    finish(process)


def answer(metadata: FakeMetadata, nonce: str, *lines: str) -> tuple[str, str]:
    """Ask for a command, and return the code and what it said."""
    metadata.set(stoneware_command="".join(f"{line}\n" for line in (nonce, *lines)))
    text = metadata.wait_text("stoneware/command", lambda text: text.startswith(f"{nonce} "))
    first, _, said = text.partition("\n")
    return first.split(" ")[1], said


def test_a_declared_command_is_run_with_its_words(watched: Root, metadata: FakeMetadata) -> None:
    words = ("e GATE=before $(id)", "a one  two", "a ", "a $HOME;*")
    assert answer(metadata, "n1", "300", "say", *words) == ("7", "before $(id)|one  two||$HOME;*|\nerr\n")
    code, said = answer(metadata, "n2", "300", "much")
    assert (code, said[-5:], len(said) <= 4000) == ("0", "\nend\n", True)
    for seconds in ("1", "10", "60"):  # as a busy computer needs to begin with it
        code, said = answer(metadata, f"n3-{seconds}", seconds, "slow")
        assert code == "124"
        if said:
            break
    assert said == "begun\n"
    assert answer(metadata, "n4", "300", "once")[0] == "0"
    assert (watched.path / "count").read_text() == "x\n"  # not for what was asked before the boot


@pytest.mark.parametrize("name", ["none", "plain", "../secret", "../../../etc/secret", "", ".", "a b", "-x"])
def test_nothing_else_is_run(watched: Root, metadata: FakeMetadata, name: str) -> None:
    code, said = answer(metadata, "n1", "5", name)
    assert (code, "reached" in said) == ("127", False)
    assert "declares no command" in said


def test_one_command_at_a_time(watched: Root, metadata: FakeMetadata) -> None:
    metadata.set(stoneware_command="n1\n300\nheld\n")
    answering = watched.path / "run/stoneware/answering/output"
    deadline = time.monotonic() + 300
    while not answering.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert answer(metadata, "n2", "300", "say")[0] == "75"
    (watched.path / "go").touch()
    metadata.wait_text("stoneware/command", lambda text: text.startswith("n1 9"))
    assert answer(metadata, "n3", "300", "say")[0] == "7"
