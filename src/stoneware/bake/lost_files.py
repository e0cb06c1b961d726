"""What a step has left where nothing is kept, in /run and /dev/shm: what is told of it."""

from __future__ import annotations

from collections.abc import Sequence

from stoneware.bake.events import Note


def left_in_memory(location: str, paths: str, told: Sequence[str]) -> Note | None:
    """Return the warning about paths, blanks between them, that the step at `location` has left in memory.

    `told` are the warnings that the Machinefile's text alone has given; what they name is not told twice.
    """
    known = [text.removeprefix(f"{location}: ") for text in told if text.startswith(f"{location}: ")]
    named = [
        words[0].replace("/var/run/", "/run/").rstrip("/") + "/" for text in known if (words := text.split())
    ]
    left = [path for path in paths.split() if not any(name.startswith(f"{path}/") for name in named)]
    if not left:
        return None
    return Note(
        f"{location}: leaves {' '.join(left)} in memory: no later step and no machine has it. For the "
        "directory of a service: echo 'd /run/NAME 0755 USER GROUP' >/etc/tmpfiles.d/NAME.conf",
        warning=True,
    )
