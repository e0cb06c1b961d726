"""The provider as a process of its own that Terraform starts: the handshake and the server.

When Terraform is interrupted a call that is at work is finished, so that what is being made is in the state.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from functools import partial
from typing import TYPE_CHECKING, Any

from stoneware.provider.server import MOST_BYTES
from stoneware.scratch import scratch_directory

if TYPE_CHECKING:
    from stoneware.provider.provider import StonewareProvider

COOKIE = "TF_PLUGIN_MAGIC_COOKIE"
_CORE_PROTOCOL, _PLUGIN_PROTOCOL = 1, 6
_LOOK = 1.0  # seconds between two looks whether Terraform still lives


def serve(provider: StonewareProvider) -> None:
    """Serve the provider until Terraform says that it is done, or has died."""
    from stoneware.provider.servicer import Servicer

    serve_calls(Servicer(provider))


def serve_calls(servicer: object) -> None:
    """Serve whatever has a method for each of the protocol's calls."""
    # In a session of our own, a Ctrl-C at the terminal reaches only Terraform, which tells us in its way.
    with contextlib.suppress(OSError):
        os.setsid()
    # Children are started by posix_spawn or vfork, which need none of gRPC's handlers around a fork.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    import grpc

    from stoneware.provider.protocol import answers

    parent, done = os.getppid(), threading.Event()
    server = grpc.server(thread_pool=_Threads(), options=[("grpc.max_receive_message_length", MOST_BYTES)])
    _add_services(server, answers(servicer), done)
    with scratch_directory("stoneware-plugin-") as directory:
        socket = directory / "provider.sock"  # the directory is for its owner only
        certificate, key, der = _certificate()
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        server.add_secure_port(f"unix:{socket}", credentials)
        server.start()
        # As Terraform's plugin library reads it: base64 without padding.
        chain = base64.b64encode(der).decode().rstrip("=")
        words = (_CORE_PROTOCOL, _PLUGIN_PROTOCOL, "unix", socket, "grpc", chain)
        sys.stdout.write("|".join(map(str, words)) + "\n")
        sys.stdout.flush()
        # A Terraform that was killed says nothing, but this process then has another parent.
        while not done.wait(_LOOK) and os.getppid() == parent:
            pass
        server.stop(grace=0.5).wait()


def _add_services(
    server: Any, answers: Mapping[str, Callable[[bytes], bytes]], done: threading.Event
) -> None:
    """Add the provider, and what Terraform's plugin library wants besides."""
    import grpc

    def shutdown(_request: bytes, _context: Any) -> bytes:
        done.set()
        return b""  # a message without fields

    def stream(_request: bytes, _context: Any) -> Iterator[bytes]:
        return iter(())  # our outputs are Terraform's log already

    services: dict[str, dict[str, Any]] = {
        "plugin.GRPCController": {"Shutdown": grpc.unary_unary_rpc_method_handler(shutdown)},
        "plugin.GRPCStdio": {"StreamStdio": grpc.unary_stream_rpc_method_handler(stream)},
    }
    for path, answer in answers.items():
        service, method = path.removeprefix("/").split("/")
        handler = grpc.unary_unary_rpc_method_handler(partial(_call, answer))
        services.setdefault(service, {})[method] = handler
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())
    )


def _call(answer: Callable[[bytes], bytes], request: bytes, _context: Any) -> bytes:
    return answer(request)


class _Threads(futures.Executor):
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


def _certificate() -> tuple[bytes, bytes, bytes]:
    """Return a certificate for this process alone: as PEM, its key as PEM, and as DER.

    Terraform accepts no other. It proves itself by reaching the socket: gRPC's TLS does not know the kind of
    key (P-521) that its own certificate has.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=30))
        # Terraform takes it for the one root that it trusts.
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return pem, secret, certificate.public_bytes(serialization.Encoding.DER)
