"""The machine that a word on the command line means."""

from __future__ import annotations

from stoneware.cli.clusters import cluster_here
from stoneware.launch import watch
from stoneware.platform import Machine, Platform


def find_machine(platform: Platform, name: str) -> Machine:
    """Return the machine of a name, an id, or a short name; of several the one of the cluster here."""
    return watch.find_machine(platform, name, prefer=cluster_here)
