"""What an image's configuration says is there: its user, and the programs of its service and health check.

The seal looks for them in the finished root file system (service-user, service-program), and tells what is
not there with the line that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stoneware.machinefile.recipe import ImageConfig, Recipe, Stage

# The program a shell's command begins with; nothing where a shell has to be asked for it.
_FIRST = re.compile(r"(?:exec\s+)?(?:[A-Za-z_]\w*=[^\s$`'\"]*\s+)*([A-Za-z0-9_./+-]+)(?=[\s;&|)]|$)")

# A path where nothing is kept.
_PASSING = re.compile(r"(?<![\w./~-])/(?:tmp|var/tmp|run|var/run|dev/shm)/[\w./+@-]+")
_OWN_TO_MAKE = (".pid", ".sock", ".socket", ".lock")


def promises(recipe: Recipe, filename: str) -> str:
    """Return a line per promise for the seal: kind, name and place, tabs between.

    The kinds are user, group, program, and passing: a file that may be where nothing is kept.
    """
    config = recipe.target.config
    lines = []
    user, _, group = config.user.partition(":")
    for kind, name in (("user", user), ("group", group)):
        # A number needs no entry in /etc/passwd or /etc/group.
        if name and not name.isdecimal():
            lines.append((kind, name, _place(recipe, ("USER",), filename)))
    # The first word of ENTRYPOINT is the program; without one it is that of CMD.
    arguments = ("CMD",) if config.entrypoint else ()
    for argv, keyword in (
        (config.entrypoint, "ENTRYPOINT"),
        (config.cmd, "CMD"),
        (_health(config), "HEALTHCHECK"),
    ):
        place = _place(recipe, (keyword,), filename)
        if keyword not in arguments:
            lines += [("program", name, place) for name in dict.fromkeys(_programs(argv, config))]
        lines += [("passing", name, place) for name in dict.fromkeys(_passing(argv))]
    # A name with a tab or a newline would be read as another promise.
    return "".join("\t".join(line) + "\n" for line in lines if _printable(line))


def _health(config: ImageConfig) -> tuple[str, ...]:
    return (config.healthcheck.test or ()) if config.healthcheck is not None else ()


def _programs(argv: Sequence[str], config: ImageConfig) -> Iterator[str]:
    if not argv or not argv[0]:
        return
    yield argv[0]
    # The shell form: the program that the shell is to run.
    if len(argv) == len(config.shell) + 1 and tuple(argv[:-1]) == config.shell:
        found = _FIRST.match(argv[-1].strip())
        if found is not None:
            yield found[1]


def _passing(argv: Sequence[str]) -> Iterator[str]:
    for found in _PASSING.findall("\n".join(argv)):
        if not found.endswith(_OWN_TO_MAKE):
            yield found.rstrip("./")


def _place(recipe: Recipe, keywords: Sequence[str], filename: str) -> str:
    """Return the last line that says it, in the target or a stage it stands on; else that of its FROM."""
    stage: Stage | None = recipe.target
    while stage is not None:
        said = [(line, text) for line, text in stage.history if text.split(maxsplit=1)[0].upper() in keywords]
        if said:
            return f"{filename}:{said[-1][0]}: {keywords[0]}"
        stage = recipe.stage(stage.base.reference) if stage.base.kind == "stage" else None
    return f"{filename}:{recipe.target.line}: the base's {keywords[0]}"


def _printable(line: Sequence[str]) -> bool:
    return all(text.isprintable() for text in line)
