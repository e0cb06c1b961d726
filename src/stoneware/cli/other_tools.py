"""What people type who come from Docker, Terraform or Vagrant, and what it is called here."""

from __future__ import annotations

from collections.abc import Sequence

from stoneware.cli import catalog
from stoneware.machinefile.flags import nearest

# Docker's commands on one kind of thing, and the plugins that it has commands from: `docker image ls`.
_PREFIXES = ("builder", "buildx", "compose", "container", "docker", "image", "machine", "stoneware")

# Without a comment, what follows is what was asked for; with one, the nearest that there is.
WORDS = {
    "apply": "stoneware up",
    "attach": "stoneware logs -f MACHINE    # or: stoneware exec -it MACHINE bash",
    "commit": "stoneware bake -t NAME .    # an image is made from a Machinefile, never of a machine",
    "create": "stoneware run -d IMAGE",
    "delete": "stoneware rm MACHINE    # or: stoneware rmi IMAGE, stoneware down",
    "deploy": "stoneware up    # or, machine by machine: stoneware rollout",
    "destroy": "stoneware down    # --volumes removes the disks too",
    "df": "stoneware system df",
    "diff": "stoneware plan    # or: stoneware drift",
    "image history": "stoneware history --help",
    "image import": "stoneware import --help",
    "image inspect": "stoneware inspect --type image IMAGE",
    "image list": "stoneware images",
    "image load": "stoneware import --help",
    "image ls": "stoneware images",
    "image rm": "stoneware rmi IMAGE",
    "image save": "stoneware export --help",
    "info": "stoneware doctor    # or: stoneware version",
    "kill": "stoneware stop -t 0 MACHINE",
    "list": "stoneware ps    # machines; others: stoneware images, stoneware volume ls",
    "load": "stoneware import FILE -t NAME",
    "login": "stoneware doctor --platform google    # there is no registry; a cloud has its credentials",
    "logout": "stoneware doctor --platform google    # there is no registry; a cloud has its credentials",
    "ls": "stoneware ps    # machines; others: stoneware images, stoneware volume ls",
    "network": "stoneware config    # networks are those of machines.yaml",
    "pause": "stoneware stop MACHINE    # of a rollout: stoneware rollout pause",
    "port": "stoneware ps",
    "pull": "stoneware bake -t NAME .    # there is no registry: `bake` makes bases itself",
    "rename": "stoneware tag IMAGE NEWNAME    # a machine's name stays",
    "save": "stoneware export IMAGE -o FILE",
    "search": "stoneware images",
    "shell": "stoneware exec -it MACHINE bash",
    "show": "stoneware status    # or: stoneware inspect NAME",
    "ssh": "stoneware exec -it MACHINE bash",
    "stats": "stoneware ps    # of a cluster: stoneware status --watch",
    "system info": "stoneware doctor",
    "system prune": "stoneware prune",
    "top": "stoneware exec -it MACHINE top",
    "unpause": "stoneware start MACHINE    # of a rollout: stoneware rollout resume",
    "validate": "stoneware config -q    # of a Machinefile: stoneware bake --plan",
}


def suggestion(words: Sequence[str]) -> str:
    """Return what to type instead of words that begin with no command, for the end of an error."""
    first, second = words[0], next((word for word in words[1:2] if not word.startswith("-")), "")
    if first == "help":
        return f"stoneware {second} --help" if catalog.find(second) else "stoneware --help"
    if known := WORDS.get(f"{first} {second}") or WORDS.get(first):
        return known
    if first in _PREFIXES and second:
        return f"stoneware {second} --help" if catalog.find(second) else suggestion(words[1:])
    names = [word for entry in catalog.COMMANDS for word in (entry.name, *entry.aliases)]
    near = next((word for word in names if word.startswith(first)), "") or nearest(first, names)
    return f"stoneware {near} --help" if near else "stoneware --help    # lists the commands"
