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
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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

    from stoneware.provider.protocol import serve_on
    from stoneware.provider.server import MESSAGES, Threads

    parent, done = os.getppid(), threading.Event()
    server = grpc.server(thread_pool=Threads(), options=MESSAGES)
    serve_on(server, servicer)
    _add_plugin_services(server, done)
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


def _add_plugin_services(server: Any, done: threading.Event) -> None:
    """Add what Terraform's plugin library wants besides the provider itself."""
    import grpc

    def shutdown(_request: bytes, _context: Any) -> bytes:
        done.set()
        return b""  # a message without fields

    def stream(_request: bytes, _context: Any) -> Iterator[bytes]:
        return iter(())  # our outputs are Terraform's log already

    services = {
        "plugin.GRPCController": {"Shutdown": grpc.unary_unary_rpc_method_handler(shutdown)},
        "plugin.GRPCStdio": {"StreamStdio": grpc.unary_stream_rpc_method_handler(stream)},
    }
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())
    )


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
