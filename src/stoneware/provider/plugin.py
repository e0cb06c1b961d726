"""The provider as a process of its own that Terraform starts: the handshake and the server.

The framework's own runner ends the process in the middle of a call when Terraform is interrupted, so that
what was being made is lost to the state. Here a call that is at work is finished.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

COOKIE = "TF_PLUGIN_MAGIC_COOKIE"
_CORE_PROTOCOL, _PLUGIN_PROTOCOL = 1, 6
_LOOK = 1.0  # seconds between two looks whether Terraform still lives


def serve(provider: Any) -> None:
    """Serve until Terraform says that it is done, or has died."""
    # In a session of our own, a Ctrl-C at the terminal reaches only Terraform, which tells us in its way.
    with contextlib.suppress(OSError):
        os.setsid()
    # Children are started by posix_spawn or vfork, which need none of gRPC's handlers around a fork.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    import grpc
    from tf.gen import tfplugin_pb2_grpc

    from stoneware.provider.server import MESSAGES, Threads
    from stoneware.provider.servicer import Servicer

    parent, done = os.getppid(), threading.Event()
    server = grpc.server(thread_pool=Threads(), options=MESSAGES)
    tfplugin_pb2_grpc.add_ProviderServicer_to_server(Servicer(provider), server)
    _add_plugin_services(server, done)
    with tempfile.TemporaryDirectory(prefix="stoneware-provider-") as directory:
        socket = Path(directory, "provider.sock")  # the directory is for its owner only
        certificate, key, der = _certificate()
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        server.add_secure_port(f"unix:{socket}", credentials)
        server.start()
        chain = base64.b64encode(der).decode().rstrip("=")
        words = (_CORE_PROTOCOL, _PLUGIN_PROTOCOL, "unix", socket, "grpc", chain)
        sys.stdout.write("|".join(map(str, words)) + "\n")
        sys.stdout.flush()
        while not done.wait(_LOOK) and os.getppid() == parent:
            pass
        server.stop(grace=0.5).wait()


def _add_plugin_services(server: Any, done: threading.Event) -> None:
    """Add what Terraform's plugin library wants besides the provider itself."""
    from tf.gen import grpc_controller_pb2, grpc_controller_pb2_grpc, grpc_stdio_pb2_grpc

    class Controller(grpc_controller_pb2_grpc.GRPCControllerServicer):  # type: ignore[misc]  # no type hints
        def Shutdown(self, _request: Any, _context: Any) -> Any:
            done.set()
            return grpc_controller_pb2.Empty()

    class Stdio(grpc_stdio_pb2_grpc.GRPCStdioServicer):  # type: ignore[misc]
        def StreamStdio(self, _request: Any, _context: Any) -> Any:
            return iter(())  # our outputs are Terraform's log already

    grpc_controller_pb2_grpc.add_GRPCControllerServicer_to_server(Controller(), server)
    grpc_stdio_pb2_grpc.add_GRPCStdioServicer_to_server(Stdio(), server)


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
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return pem, secret, certificate.public_bytes(serialization.Encoding.DER)
