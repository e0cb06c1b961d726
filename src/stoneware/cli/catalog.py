"""Every command there is: where its function lives, its one-line summary, its section of the help."""

from __future__ import annotations

from stoneware.dataclass import dataclass

_PACKAGE = "stoneware.cli.commands"


@dataclass(frozen=True)
class Entry:
    """One command. `target` is `module:command` below stoneware.cli.commands."""

    name: str
    target: str
    summary: str
    section: str
    aliases: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """Return the full name of the module to import."""
        return f"{_PACKAGE}.{self.target.partition(':')[0]}"

    @property
    def attribute(self) -> str:
        """Return the name of the command in that module."""
        return self.target.partition(":")[2]


_BUILD = "Build"
_IMAGES = "Images"
_MACHINES = "Machines"
_CLUSTERS = "Clusters"
_OTHER = "Other"

COMMANDS: tuple[Entry, ...] = (
    Entry("init", "init:init", "Write a Machinefile and the files next to it, as a start.", _BUILD),
    # `build` is Docker's name of it.
    Entry("bake", "bake:bake", "Bake an image from a Machinefile.", _BUILD, aliases=("build",)),
    Entry("import", "import_image:import_image", "Make an image of a foreign root file system.", _BUILD),
    Entry("render", "render:render", "Show the final configuration files without booting anything.", _BUILD),
    Entry("images", "images:images", "List images.", _IMAGES),
    Entry("inspect", "inspect:inspect", "Show everything about an image or a machine, as JSON.", _IMAGES),
    Entry("history", "images:history", "Show the instructions an image was baked from.", _IMAGES),
    Entry("tag", "images:tag", "Give an image another name.", _IMAGES),
    Entry("rmi", "images:rmi", "Remove tags, and images that have no tag left.", _IMAGES),
    Entry("export", "export:export", "Write an image to a file for other computers.", _IMAGES),
    Entry("push", "push:push", "Make an image of this computer one of a cloud's.", _IMAGES),
    Entry("prune", "prune:prune", "Remove what nothing uses any more.", _IMAGES),
    Entry("run", "run:run", "Boot a machine from an image.", _MACHINES),
    Entry("ps", "machines:ps", "List machines.", _MACHINES),
    Entry("logs", "logs:logs", "Show a machine's console.", _MACHINES),
    Entry("exec", "execute:execute", "Run a command in a running machine.", _MACHINES),
    Entry("cp", "cp:cp", "Copy files between a machine and this computer.", _MACHINES),
    Entry("update", "update:update", "Change the runtime config of a machine.", _MACHINES),
    Entry("stop", "machines:stop", "Stop machines, or all of a service; their disks are kept.", _MACHINES),
    Entry("start", "machines:start", "Start stopped machines, or all of a service.", _MACHINES),
    Entry("restart", "machines:restart", "Stop machines and start them again.", _MACHINES),
    Entry("wait", "machines:wait", "Wait until machines have stopped, or are healthy.", _MACHINES),
    Entry("rm", "machines:rm", "Remove machines; their volumes are kept.", _MACHINES),
    Entry("volume", "volume:volume", "Manage volumes.", _MACHINES),
    Entry("config", "cluster_config:config", "Print machines.yaml as Stoneware reads it.", _CLUSTERS),
    Entry("plan", "cluster_plan:plan", "Show what up would do, machine by machine, and why.", _CLUSTERS),
    Entry("up", "cluster_up:up", "Change the cluster to what machines.yaml declares.", _CLUSTERS),
    Entry("rollout", "rollout:rollout", "Replace the machines of a running cluster, one by one.", _CLUSTERS),
    Entry("rollback", "rollback:rollback", "Return a cluster to the release it had.", _CLUSTERS),
    Entry(
        "status",
        "cluster_status:status",
        "Show the machines, and whether each is as declared.",
        _CLUSTERS,
    ),
    Entry("drift", "cluster_status:drift", "Compare the machines with what was declared.", _CLUSTERS),
    Entry("eject", "cluster_eject:eject", "Write a cluster's configuration as plain Terraform.", _CLUSTERS),
    Entry("down", "cluster_down:down", "Take the cluster down; its volumes are kept.", _CLUSTERS),
    Entry("system", "disk_usage:system", "Look at the store.", _OTHER),
    Entry("doctor", "doctor:doctor", "Show what this computer lacks and how to install that.", _OTHER),
    Entry(
        "terraform", "terraform:terraform", "Use Stoneware from your own Terraform configurations.", _OTHER
    ),
    Entry("emulate", "emulate:emulate", "Serve a cloud's API on this computer.", _OTHER),
    Entry("completion", "system:completion", "Print the completion script of a shell.", _OTHER),
    Entry("version", "system:version", "Print the version.", _OTHER),
)


def find(name: str) -> Entry | None:
    """Return the command of a name or an alias, or None."""
    return next((entry for entry in COMMANDS if name == entry.name or name in entry.aliases), None)


def sections() -> dict[str, list[Entry]]:
    """Return the commands by section of the help, in order."""
    found: dict[str, list[Entry]] = {}
    for entry in COMMANDS:
        found.setdefault(entry.section, []).append(entry)
    return found
