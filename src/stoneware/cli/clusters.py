"""What the commands for clusters share: their options, the file they read, where clusters are kept."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoneware.cli import context
from stoneware.cli.output import say
from stoneware.dataclass import dataclass
from stoneware.errors import InputError, StonewareError
from stoneware.ui.hints import ClusterFlags, remember

if TYPE_CHECKING:
    from stoneware.cluster.directory import ClusterDirectory
    from stoneware.cluster.model import Desired
    from stoneware.cluster.site import Site
    from stoneware.compose.model import Cluster
    from stoneware.compose.naming import Named
    from stoneware.platforms.protocols import Images


@dataclass(frozen=True)
class Source:
    """Which cluster a command is about, as the flags say it."""

    files: tuple[Path, ...] = ()
    project: str = ""
    env_files: tuple[Path, ...] = ()
    directory: Path | None = None
    profiles: tuple[str, ...] = ()

    @property
    def has_file(self) -> bool:
        """Say whether there is a file to read, named or found here or above."""
        from stoneware.compose.files import find_files

        if self.files:
            return True
        try:
            find_files(self.directory or Path.cwd(), os.environ, self.env_files)
        except InputError:
            return False
        return True


def source(
    files: tuple[Path, ...],
    project: str,
    env_files: tuple[Path, ...] = (),
    directory: Path | None = None,
    scale: tuple[str, ...] = (),
    *,
    profiles: tuple[str, ...] = (),
) -> Source:
    """Return what the common flags say; hints repeat them from now on."""
    # Before the files are read: hints of their errors have the flags as well.
    remember(ClusterFlags(files, project, env_files, directory, scale, profiles))
    # Compose resolves -f against the current directory, also with --project-directory.
    named = [path if directory is None else path.absolute() for path in files]
    return Source(tuple(named), project, env_files, directory, profiles)


def load(found: Source, scale: Sequence[str] = (), *, making: bool = False) -> Cluster:
    """Read the cluster's files. Raises InputError with the places of all that is wrong.

    Only a command that is `making` machines, or says what would be made, needs the secrets to be there.
    """
    from stoneware.compose.load import load_cluster

    return load_cluster(
        found.files,
        directory=found.directory or Path.cwd(),
        environment=os.environ,
        env_files=found.env_files,
        project_name=found.project or None,
        scale=parse_scale(scale),
        profiles=found.profiles,
        check_secrets=making,
        check_gates=_gate_problems,
        shares_ports=lambda: context.backend().shares_ports,
    )


def named(found: Source) -> Named:
    """Return the name that the cluster's files say, for commands that need nothing else of them."""
    from stoneware.compose.naming import read_name

    return read_name(
        found.files,
        directory=found.directory or Path.cwd(),
        environment=os.environ,
        env_files=found.env_files,
        project_name=found.project or None,
    )


def whole(found: Source) -> Source:
    """Return the same with the services of all profiles, for what is about the cluster as a whole."""
    return replace(found, profiles=("*",))


def _gate_problems(
    own: Mapping[str, Any], machines: AbstractSet[str], services: AbstractSet[str]
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    from stoneware.rollout.policies import gate_problems  # with the gates, which few files have

    return gate_problems(own, machines, services)


def parse_scale(texts: Sequence[str]) -> dict[str, int]:
    """Parse `--scale SERVICE=N`. Raises InputError."""
    found = {}
    for text in texts:
        service, equals, number = text.partition("=")
        # As many digits as no cluster needs: Python refuses thousands of them.
        if not (service and equals and re.fullmatch("[0-9]{1,9}", number)):
            raise InputError(f"invalid --scale {text!r}", resolution="for example: --scale web=3")
        found[service] = int(number)
    return found


def wanted_images(store: Images) -> dict[str, str]:
    """Return the ids of images that clusters and their rollouts need, each with the reason."""
    kept = context.backend().clusters(store)
    if not kept.names():
        return {}
    # Loaded only for those who have clusters.
    from stoneware.rollout.image_retention import wanted_images as found

    return found(kept)


def open_site() -> Site:
    """Open the store and the platform, and return the place where clusters are."""
    from stoneware.cluster.site import Site

    store = context.open_store()
    context.tell_left(store)  # these commands look at the project anyway
    return Site(context.open_platform(store), store, context.backend().clusters(store), context.leave_bake)


def name_and_desired(found: Source, site: Site) -> tuple[str, Desired]:
    """Return a cluster's name and what is wanted of it: by its file, or by the last `up`.

    `-p NAME` without -f means the last `up` of that cluster, wherever its file is.
    """
    if found.project and not found.files:
        applied = site.applied(found.project)
        if applied is not None:
            return found.project, applied
        # Without a file to read, the name itself is what is wrong.
        if not found.has_file:
            raise unknown_cluster(found.project, site)
    cluster = load(found)
    note_origin(cluster, site)
    return cluster.name, desired_of(cluster, site)


def name_of(found: Source, site: Site | None = None) -> str:
    """Return the name of the cluster that is meant; one that is named need not have a file.

    With a `site`, for commands that change it: raises InputError where it came from another file.
    """
    if found.project and not found.files:
        return found.project
    cluster = load(whole(found))
    if site is not None:
        check_origin(cluster, site)
    return cluster.name


def desired_of(cluster: Cluster, site: Site) -> Desired:
    """Return what the file wants of the cluster, with the images there are; for looking, not for making.

    Secrets are those of the file as well: one that cannot be read here has no version, so it is not known
    whether the machines have it.
    """
    from stoneware.cluster.desired import desire
    from stoneware.cluster.secrets import declared_versions

    versions = declared_versions(site.platform, cluster, os.environ)
    own = site.platform.infrastructure.extension
    return desire(cluster, site.store, {}, versions, check=False, extension=own)


def confirm_origin(cluster: Cluster | Named, directory: ClusterDirectory, *, yes: bool) -> None:
    """Ask before a cluster is changed that was brought up from another file: it has the same name, perhaps.

    Raises click.Abort for no, InputError without a terminal.
    """
    if not (other := directory.other_file(cluster.files)):
        return
    why = _other_words(cluster, other)
    ask(f"{why}. Continue with this cluster?", yes=yes, why=why)
    # It is asked once: from now on the cluster is this file's.
    directory.keep_origin({**directory.known_origin(), "file": str(cluster.files[0])})


def check_origin(cluster: Cluster, site: Site) -> None:
    """Raise InputError for a cluster that was brought up from another file, which `-p` would name."""
    if other := site.directory(cluster.name).other_file(cluster.files):
        raise InputError(
            _other_words(cluster, other),
            details="It may be another cluster with the same name. Nothing was done.",
            resolution=f"name it, if it is meant: -p {cluster.name}, without -f",
        )


def note_origin(cluster: Cluster, site: Site) -> None:
    """Warn of the same, for commands that only look."""
    if other := site.directory(cluster.name).other_file(cluster.files):
        say(f"warning: {_other_words(cluster, other)}: another one with the same name?")


def _other_words(cluster: Cluster | Named, other: str) -> str:
    return f"the cluster {cluster.name} was brought up from {other}, not from {cluster.files[0]}"


def unknown_cluster(name: str, site: Site) -> InputError:
    """Return the error for a name that no cluster has."""
    known = site.clusters.names()
    return InputError(
        f"there is no cluster {name!r}",
        details=f"There are: {', '.join(known)}." if known else "",
        resolution="stoneware up    # in the directory of its machines.yaml",
    )


def cluster_here() -> str:
    """Return the name of the cluster whose file is in the current directory; empty without a good one."""
    here = Source()
    if not here.has_file:
        return ""
    try:
        return load(here).name
    except StonewareError:  # a file that is wrong is no fault of a command about one machine
        return ""


def ask(question: str, *, yes: bool, why: str) -> None:
    """Ask on the terminal unless `yes`. Raises click.Abort for no, InputError without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(
            why,
            details="The question cannot be asked: the input is not a terminal. Nothing was done.",
            resolution="add --yes",
        )
    click.confirm(question, abort=True, err=True)  # standard output is for results
