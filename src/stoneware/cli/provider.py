"""`terraform-provider-stoneware`: the provider as an executable, over the local store and platform."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from stoneware.provider.plugin import COOKIE

if TYPE_CHECKING:
    from stoneware.bake.events import Event
    from stoneware.bake.options import BakeOptions
    from stoneware.bake.place import Place
    from stoneware.provider.images import Baked, BakeRequest


class LocalBaker:
    """Bakes in the local store; what a bake prints goes to standard error, which is Terraform's log."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def plan(self, request: BakeRequest) -> Baked:
        """Say what a bake would give. Raises InputError."""
        from stoneware.bake.api import references_of, tags_of_bake
        from stoneware.bake.planner import Planner
        from stoneware.provider.images import Baked

        options = _options(request)
        references = references_of(options)
        planner = Planner(options, self._place.store, references[0].name, offline=True)
        # Without the cache each bake makes another.
        image_id = None if options.no_cache else planner.plan().image.image_id
        origin = planner.origin
        return Baked(image_id, tags_of_bake(references, origin), origin.commit, origin.dirty)

    def bake(self, request: BakeRequest) -> Baked:
        """Bake. Raises InputError or BuildError."""
        from stoneware.bake import api
        from stoneware.provider.images import Baked

        reporter = _Warnings()
        with reporter.display:
            result = api.bake(_options(request), self._place, reporter)
        return Baked(result.image_id, result.tags, result.commit, result.dirty, tuple(reporter.warnings))


class _Warnings:
    """Shows a bake's events as plain lines and keeps its warnings, which Terraform shows."""

    def __init__(self) -> None:
        from stoneware.ui.progress import Style, make_display

        self.display = make_display(Style.PLAIN, sys.stderr)  # plain lines are visible by themselves
        self.warnings: list[str] = []

    def emit(self, event: Event) -> None:
        """Show an event."""
        from stoneware.bake.events import Note

        if isinstance(event, Note) and event.warning:
            self.warnings.append(event.text)
        self.display.emit(event)


def _options(request: BakeRequest) -> BakeOptions:
    from stoneware.bake.options import BakeOptions, SecretSource

    return BakeOptions(
        context=request.context,
        file=request.file,
        tags=request.names,
        target=request.target,
        build_args=request.build_args,
        labels=request.labels,
        secrets={name: SecretSource(path=path) for name, path in request.secrets.items()},
        no_cache=request.no_cache,
    )


def main() -> None:
    """Serve the provider until Terraform ends it."""
    if COOKIE not in os.environ:
        sys.stderr.write(
            "This is a provider for Terraform, which starts it. To use it in a configuration:\n"
            "    stoneware terraform install\n"
        )
        raise SystemExit(2)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # as `stoneware.cli.main` does

    from functools import cache

    from stoneware.bake.place import Place
    from stoneware.cli.context import leave_bake, open_platform, open_store
    from stoneware.provider.plugin import serve
    from stoneware.provider.provider import StonewareProvider

    # Opened by the first call that needs them: Terraform starts the provider for its schema alone, too.
    store = cache(open_store)
    platform = cache(lambda: open_platform(store()))
    serve(StonewareProvider(platform, store, lambda: LocalBaker(Place(platform(), store(), leave_bake))))


if __name__ == "__main__":
    main()
