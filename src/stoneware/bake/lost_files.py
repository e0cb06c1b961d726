"""What a step has left where nothing is kept, in /run and /dev/shm: what is told of it."""

from __future__ import annotations

from collections.abc import Sequence

from stoneware.bake.events import Note


def left_in_memory(location: str, paths: str, told: Sequence[str]) -> list[Note]:
    """Return what to say of the paths, blanks between them, that the step at `location` has left in memory.

    What ends in / is a directory that is made again at each start; the rest is gone then. `told` are the
    warnings that the Machinefile's text alone has given; what they name is not told twice.
    """
    known = [text.removeprefix(f"{location}: ") for text in told if text.startswith(f"{location}: ")]
    # The Machinefile may say /var/run, which is a link to /run.
    named = [
        words[0].replace("/var/run/", "/run/").rstrip("/") + "/" for text in known if (words := text.split())
    ]
    left = [
        path for path in paths.split() if not any(name.startswith(f"{path.rstrip('/')}/") for name in named)
    ]
    notes = []
    if lost := [path for path in left if not path.endswith("/")]:
        notes.append(
            Note(
                f"{location}: leaves {' '.join(lost)} in memory: no later step and no machine has it. For a "
                "file that a service needs there: echo 'C /run/NAME 0644 USER GROUP - /usr/share/NAME' "
                ">/etc/tmpfiles.d/NAME.conf",
                warning=True,
            )
        )
    if remade := [path.rstrip("/") for path in left if path.endswith("/")]:
        notes.append(
            Note(
                f"{location}: leaves {' '.join(remade)} in memory: made again at each start, empty, with "
                "the owner and mode it has now"
            )
        )
    return notes
