"""Serving the provider from the running process, on a unix socket that Terraform is told of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoneware.errors import StonewareError
from stoneware.platforms.protocols import Platform
from stoneware.terraform.runner import SOURCE

if TYPE_CHECKING:
    from stoneware.provider.images import Baker, Images


# A call has what a resource was, is to be and is declared as: three times the largest configuration and more.
MOST_BYTES = 64 << 20


class ProviderServer:
    """The provider `stoneware` over an open platform, for `stoneware.terraform.runner.Terraform`.

    What serves is loaded when serving starts. `on_stop` is called, in another thread, when
    Terraform was interrupted while a call of ours is at work.
    """

    source = SOURCE

    def __init__(
        self,
        platform: Platform,
        *,
        images: Images | None = None,
        baker: Baker | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self._platform = platform
        self._images = images
        self._baker = baker
        self._on_stop = on_stop
        self._server: Any = None
        self._provider: Any = None

    def serve(self, socket: Path) -> None:
        """Listen on a unix socket that only its owner can reach."""
        from stoneware.provider.grpc_server import GrpcServer
        from stoneware.provider.protocol import answers
        from stoneware.provider.provider import StonewareProvider
        from stoneware.provider.servicer import Servicer

        images, baker = self._images, self._baker
        self._provider = StonewareProvider(
            lambda: self._platform,
            (lambda: images) if images is not None else None,
            (lambda: baker) if baker is not None else None,
        )
        self._server = GrpcServer(answers(Servicer(self._provider, self._on_stop)), MOST_BYTES)
        socket.unlink(missing_ok=True)  # of a command that was killed
        # Without TLS: the socket's mode keeps other users out.
        self._server.listen(socket)

    def take_failures(self) -> list[StonewareError]:
        """Return and forget the errors that were handed to Terraform since the last call."""
        taken: list[StonewareError] = self._provider.failures.take() if self._provider else []
        return taken

    def close(self) -> None:
        """Stop serving. A call that is still at work goes on in its thread, which ends with the process."""
        if self._server is not None:
            self._server.stop()
            self._server = None
