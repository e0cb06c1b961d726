"""What a service's keys mean, each by itself: pure conversions from the schema's models."""

from __future__ import annotations

import os
from pathlib import Path

from stoneware.compose import schema
from stoneware.compose.faults import Faults
from stoneware.compose.model import Build, FailureAction, HealthCheck, Inline, Place, UpdateConfig
from stoneware.compose.nodes import Node, place_of
from stoneware.compose.schema_parts import Pairs

REMOTE = ("http://", "https://", "git://", "ssh://", "git@", "oci-layout://", "docker-image://")


def build_of(
    model: schema.Build, directory: Path, variables: dict[str, str], node: Node, faults: Faults
) -> Build:
    """Return where an image is baked from; arguments without a value have that of our environment."""
    if model.context.startswith(REMOTE):
        place = place_of(node, ("build", "context"))
        faults.add(
            place, f"the context {model.context!r} is not a directory", "Clone it and name the directory."
        )
    context = absolute(model.context, directory)
    given = {key: variables.get(key) if value is None else value for key, value in (model.args or {}).items()}
    return Build(
        context=context,
        # Relative to the context, as in Compose.
        dockerfile=absolute(model.dockerfile, context) if model.dockerfile else None,
        inline=_inline(model, node, faults),
        target=model.target,
        # Without a value here or there the Machinefile's own default counts.
        args={key: value for key, value in given.items() if value is not None},
        labels=filled(model.labels),
    )


def _inline(model: schema.Build, node: Node, faults: Faults) -> Inline | None:
    if model.dockerfile_inline is None:
        return None
    place = place_of(node, ("build", "dockerfile_inline"))
    if model.dockerfile:
        faults.add(
            place, "dockerfile_inline is the Machinefile, and so is dockerfile", "Leave one of them out."
        )
    return Inline(model.dockerfile_inline, place.file)


def absolute(path: str, directory: Path) -> Path:
    """Return a path of the file as an absolute one; `~` is the user's home."""
    return Path(os.path.normpath(directory / Path(path).expanduser()))


def filled(pairs: Pairs | None) -> dict[str, str]:
    """Return labels, those without a value as empty ones."""
    return {key: value or "" for key, value in (pairs or {}).items()}


def health_of(model: schema.Health | None, place: Place, faults: Faults) -> HealthCheck | None:
    """Return the health check that takes the place of the image's, or None."""
    if model is None:
        return None
    test = model.test or []
    kind = test[0] if test else ""
    argv: tuple[str, ...] = ()
    if kind == "CMD" and len(test) > 1:
        argv = tuple(test[1:])
    elif kind == "CMD-SHELL" and len(test) > 1:
        argv = ("/bin/sh", "-c", *test[1:])
        if test[1].strip().upper() == "NONE":
            faults.warn(
                f"{place}: healthcheck.test: as in Compose, a text is for the shell, which runs a program "
                f'{test[1].strip()!r}: write ["NONE"], or disable: true, for no health check'
            )
        if len(test) > 2:
            faults.warn(
                f"{place}: healthcheck.test: the shell runs {test[1]!r} only: the rest is its $0, $1, …; "
                'write one text, or ["CMD", "program", "argument"]'
            )
    elif test and test != ["NONE"]:
        faults.add(
            place,
            f"a health check's test is CMD or CMD-SHELL with a command, or NONE, and this is {list(test)}",
            'Write ["CMD", "program", "argument"], or one text for the shell.',
        )
    return HealthCheck(
        test=argv,
        interval=model.interval,
        timeout=model.timeout,
        start_period=model.start_period,
        start_interval=model.start_interval,
        retries=model.retries,
        disabled=model.disable or kind == "NONE",
    )


def rollout_of(model: schema.Rollout | None) -> UpdateConfig:
    """Return how machines are replaced."""
    if model is None:
        return UpdateConfig()
    return UpdateConfig(
        parallelism=model.parallelism,
        delay=model.delay,
        monitor=model.monitor,
        max_failure_ratio=model.max_failure_ratio,
        failure_action=FailureAction(model.failure_action),
        order=model.order,
    )
