"""Bake once with timers around Terraform and the platform: `python -m bench.traced CONTEXT TAG NAME=VALUE`.

Prints seconds as JSON: whole, terraform (everything Terraform makes us wait for), platform (our own work
within that), loading (the imports, part of terraform).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Stopwatch:
    """Adds up the time in the outermost of the calls it wraps, on whatever thread they run."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._since = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time counted."""

        def timed(*args: Any, **options: Any) -> Any:
            if self._depth == 0:
                self._since = time.perf_counter()
            self._depth += 1
            try:
                return function(*args, **options)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - self._since

        return timed


def main(context: str, tag: str, argument: str) -> None:
    started = time.perf_counter()
    from stoneware.bake import api
    from stoneware.bake.events import Silent
    from stoneware.bake.options import BakeOptions
    from stoneware.bake.place import Place
    from stoneware.cli.context import open_platform, open_store

    terraform, ours = Stopwatch(), Stopwatch()
    loading = _load(terraform)
    store: Any = open_store()
    place = Place(open_platform(store), store)
    within = _within(terraform, ours)
    for name in ("create", "observe", "stop", "destroy"):
        setattr(place.platform, name, within(getattr(place.platform, name)))
    key, _, value = argument.partition("=")
    api.bake(BakeOptions(context=Path(context), tags=(tag,), build_args={key: value}), place, Silent())
    whole = time.perf_counter() - started
    spent = {"whole": whole, "terraform": terraform.seconds, "platform": ours.seconds, "loading": loading}
    print(json.dumps(spent))


def _load(terraform: Stopwatch) -> float:
    """Import what a bake needs of Terraform, and put the timers around it; return the imports' seconds."""
    started = time.perf_counter()
    from stoneware.provider.server import ProviderServer
    from stoneware.terraform.runner import Terraform

    loading = time.perf_counter() - started
    from stoneware.terraform import builders

    terraform.seconds += loading
    for name in ("prepare", "plan", "apply", "destroy", "state", "close"):
        setattr(Terraform, name, terraform.wrap(getattr(Terraform, name)))
    ProviderServer.serve = terraform.wrap(ProviderServer.serve)  # type: ignore[method-assign]
    builders.write_module = terraform.wrap(builders.write_module)  # type: ignore[attr-defined]
    return loading


def _within(terraform: Stopwatch, ours: Stopwatch) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a wrapper that counts our own work only while Terraform is waited for."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        counted = ours.wrap(function)

        def chosen(*args: Any, **options: Any) -> Any:
            return (counted if terraform._depth else function)(*args, **options)

        return chosen

    return wrap


if __name__ == "__main__":
    main(*sys.argv[1:])
