"""What the commands for rollouts share: the session they act in, what they say in the end, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stoneware.cli import clusters
from stoneware.cli.output import print_json, say
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.ui.progress import Style

if TYPE_CHECKING:
    from stoneware.cluster.site import Site
    from stoneware.model.machine import Machine
    from stoneware.rollout.session import Session
    from stoneware.rollout.state import RolloutState
    from stoneware.ui.rollout import RolloutDisplay

FAILED = 1
ROLLED_BACK = 4
DIFFERENT = 5
INTERRUPTED = 130


def name_of(context: click.Context, files: tuple[Path, ...], project: str, site: Site | None = None) -> str:
    """Return the name of the cluster that is meant: by a subcommand's flags, or by those before it.

    With a `site`, for commands that change the cluster: it must have come from that file.
    """
    given: clusters.Source = context.obj or clusters.Source()
    own = clusters.source(files or given.files, project or given.project, given.env_files, given.directory)
    return clusters.name_of(own, site)


def chosen(rollout: str, known: Sequence[str], cluster: str) -> str:
    """Return the id of the rollout that is meant, the last one by default. Raises InputError."""
    # `3` is taken for `r3`, which plans and messages call it.
    wanted = rollout if rollout.startswith("r") or not rollout else f"r{rollout}"
    if known and (not wanted or wanted in known):
        return wanted or known[-1]
    raise InputError(
        f"the cluster {cluster} had no rollout{f' {rollout!r}' if rollout else ''}",
        details=f"It had: {', '.join(known)}." if known else "",
        resolution="stoneware rollout --plan    # shows what one would do",
    )


@contextmanager
def session_of(
    site: Site,
    cluster: str,
    command: str,
    display: RolloutDisplay,
    *,
    yes: bool = False,
    verbose: bool = False,
    lock_timeout: float = 0.0,
) -> Iterator[Session]:
    """Give the session of one command; an interrupt is told with what to type next."""
    from stoneware.rollout.session import Session

    def ask(machines: Sequence[str]) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():  # it holds then, until `rollout resume`
            return False
        with display.aside():
            return click.confirm(
                f"{', '.join(machines)}: healthy. Continue with the other machines?", err=True
            )

    try:
        yield Session(
            site,
            cluster,
            command,
            display,
            reporter=display,
            ask=ask,
            notice=say,
            verbose=verbose,
            lock_timeout=lock_timeout,
        )
    except (KeyboardInterrupt, click.Abort):
        from stoneware.rollout.prepare import unfinished
        from stoneware.rollout.session import latest

        # The interrupt may have come before anything was begun, and only the journal knows.
        begun = unfinished(latest(site.directory(cluster)))
        words = "`stoneware rollout resume` continues, `stoneware rollback` returns what was changed"
        say(f"interrupted: {words if begun else 'no rollout is under way'}")
        raise


def finish(
    state: RolloutState, site: Site, cluster: str, *, json_output: bool, quiet: bool, returning: bool = False
) -> None:
    """Say how a rollout has ended, and exit with the code for it. `returning`: going back was asked for.

    `quiet` leaves out what went well, never what did not.
    """
    if json_output:
        show_document(site, cluster, state.id)
    code = _code(state, returning=returning)
    if code or not quiet:
        for line in _words(state, site, cluster):
            say(line)
    if code:
        raise click.exceptions.Exit(code)


def show_document(site: Site, cluster: str, rollout: str) -> None:
    """Print a rollout as JSON."""
    import time

    from stoneware.rollout.documents import status_document
    from stoneware.rollout.history import history
    from stoneware.rollout.journal import journal_of
    from stoneware.rollout.lock import read_lock

    directory = site.directory(cluster)
    rows = [row for row in history(journal_of(directory).read(), time.time()) if row.id == rollout]
    print_json(status_document(cluster, rows[0] if rows else None, read_lock(directory)))


def _code(state: RolloutState, *, returning: bool) -> int:
    if state.outcome is not None:
        # Going back by itself is a failed rollout (exit code 4); going back when asked is a success.
        codes = {"completed": 0, "rolled back": 0 if returning else ROLLED_BACK}
        return codes.get(str(state.outcome), FAILED)
    return INTERRUPTED if state.reason == "interrupted" else FAILED


def _is_down(state: RolloutState, site: Site, cluster: str) -> bool:
    """Say whether a machine that has to be there is gone or stopped, other than by what the rollout is at."""
    from stoneware.cluster.observe import observe
    from stoneware.model.machine import Phase

    there = observe(site.platform, cluster).machines
    # Machines of the batch may be down because the rollout was paused between stop and apply.
    names = state.expected - set(state.batch)
    return any(name not in there or there[name].machine.phase is Phase.STOPPED for name in names)


def _words(state: RolloutState, site: Site, cluster: str) -> list[str]:
    from stoneware.rollout.state import Mode, Outcome
    from stoneware.rollout.timeline import lasted
    from stoneware.ui.text import duration

    count = len(state.finished)
    machines = f"{count} machine{'' if count == 1 else 's'}"
    last = max((item.since for item in state.machines.values()), default=state.started)
    if state.outcome is Outcome.COMPLETED:
        kept = f"; failed: {', '.join(state.failures)}" if state.failures else ""
        return [f"{state.id}: completed, {machines}, {duration(lasted(state.started, last))}{kept}"]
    if state.outcome is not None:
        stays = [
            f"{name} was created by this rollout and has no earlier release: the machine stays"
            for name in state.created
        ]
        ended = f"{state.id}: {state.outcome}{f': {state.reason}' if state.reason else ''}"
        return [ended, *(stays if state.outcome is Outcome.ROLLED_BACK else ())]
    if state.mode is Mode.HOLDING:
        return [
            f"{state.id}: holds after the canary {', '.join(state.plan.canary)}",
            "stoneware rollout resume    # continues with the others; "
            "`stoneware rollback` returns the canary",
        ]
    down = _is_down(state, site, cluster)
    return [
        f"{state.id}: paused: {state.reason}",
        *(["stoneware up --restore    # brings back what is down or gone, as it was"] if down else []),
        "stoneware rollout resume    # continues; `stoneware rollback` returns what was changed",
    ]


@dataclass(frozen=True)
class UnfinishedRollout:
    """A rollout that has not ended, as `status` shows it."""

    document: dict[str, Any]
    sentence: str


def unfinished_rollout(site: Site, cluster: str) -> UnfinishedRollout | None:
    """Return the rollout of a cluster that has not ended, None where all have."""
    from stoneware.platforms.cluster_records import Document
    from stoneware.rollout.lock import read_lock

    if not site.directory(cluster).records.version(Document.DRIVER):
        return None  # before the rest is loaded: it stays until a rollout has ended
    from stoneware.rollout.prepare import unfinished
    from stoneware.rollout.session import latest

    state = latest(site.directory(cluster))
    if state is None or not unfinished(state):
        return None
    lock = read_lock(site.directory(cluster))
    alive = lock is not None and lock.alive
    document = {
        "id": state.id,
        "state": str(state.mode),
        "reason": state.reason,
        "who": state.who,
        "driver_alive": alive,
    }
    return UnfinishedRollout(
        document, f"rollout {state.id} by {state.who} {_unfinished_words(state, alive=alive)}"
    )


def warn_unfinished(machines: Sequence[Machine]) -> None:
    """Say which clusters of these machines have a rollout that has not ended: it counts on their state."""
    names = {machine.spec.labels.get(CLUSTER_LABEL, "") for machine in machines} - {""}
    if not names:
        return
    site = clusters.open_site()
    for name in sorted(names):
        if going := unfinished_rollout(site, name):
            say(f"warning: the cluster {name} has a rollout that has not ended: {going.sentence}")


def _unfinished_words(state: RolloutState, *, alive: bool) -> str:
    from stoneware.rollout.state import Mode

    ways = "`stoneware rollout resume` continues, `stoneware rollback` returns what was changed"
    if state.mode is Mode.HOLDING:
        canary = ", ".join(state.plan.canary)
        return f"holds after the canary {canary}: {'it asks whether to continue' if alive else ways}"
    if state.mode is Mode.PAUSED:
        return f"is paused: {state.reason}: {ways}"
    if alive:
        return "is under way: `stoneware rollout status` shows its progress"
    return f"was interrupted: {ways}"


def quiet(style: Style) -> bool:
    """Say whether nothing is to be said."""
    return style is Style.QUIET
