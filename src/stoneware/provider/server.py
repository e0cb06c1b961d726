"""Serving the provider from the running process, on a unix socket that Terraform is told of."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoneware.errors import StonewareError
from stoneware.platforms.protocols import Platform
from stoneware.terraform.runner import SOURCE

if TYPE_CHECKING:
    from stoneware.provider.images import Baker, Images


class ProviderServer:
    """The provider `stoneware` over an open platform, for `stoneware.terraform.runner.Terraform`.

    gRPC is loaded when serving starts. `on_stop` is called, in another thread, when
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
        # Children are started by posix_spawn or vfork, which need none of gRPC's handlers around a fork.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
        import grpc

        from stoneware.provider.protocol import serve_on
        from stoneware.provider.provider import StonewareProvider
        from stoneware.provider.servicer import Servicer

        images, baker = self._images, self._baker
        self._provider = StonewareProvider(
            lambda: self._platform,
            (lambda: images) if images is not None else None,
            (lambda: baker) if baker is not None else None,
        )
        self._server = grpc.server(thread_pool=Threads(), options=MESSAGES)
        serve_on(self._server, Servicer(self._provider, self._on_stop))
        # gRPC does not listen on a path that exists, which a killed command leaves.
        socket.unlink(missing_ok=True)
        # Without TLS: the socket's mode keeps other users out.
        self._server.add_insecure_port(f"unix:{socket}")
        socket.chmod(0o600)
        self._server.start()

    def take_failures(self) -> list[StonewareError]:
        """Return and forget the errors that were handed to Terraform since the last call."""
        taken: list[StonewareError] = self._provider.failures.take() if self._provider else []
        return taken

    def close(self) -> None:
        """Stop serving. A call that is still at work goes on in its thread, which ends with the process."""
        if self._server is not None:
            self._server.stop(grace=None)
            self._server = None


# A call has what a resource was, is to be and is declared as: three times the largest configuration and more.
MESSAGES = [("grpc.max_receive_message_length", 64 << 20)]


class Threads(futures.Executor):
    """A daemon thread per call: a create that hangs must not keep the process from ending."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Start a call."""
        future: futures.Future[Any] = futures.Future()
        threading.Thread(target=_work, args=(future, fn, args, kwargs), daemon=True).start()
        return future


def _work(
    future: futures.Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    future.set_running_or_notify_cancel()
    try:
        future.set_result(fn(*args, **kwargs))
    except BaseException as error:  # it is handed on, as every executor does
        future.set_exception(error)
