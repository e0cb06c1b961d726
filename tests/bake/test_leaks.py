"""What a secret is looked for by: lines of its own, and nothing that another key or file has as well."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.bake.leaks import leak_patterns

pytestmark = pytest.mark.tool


def _openssl(*words: str) -> bytes:
    return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout


def _openssh(directory: Path, *words: str) -> bytes:
    file = directory / "key"
    file.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-N", "", "-C", "me@host", "-f", str(file), *words]
    subprocess.run(command, check=True)
    return file.read_bytes()


def _service_account(_: Path) -> bytes:
    key = _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048").decode()
    identity = base64.b16encode(key.encode()[-60:-40]).decode()
    document = {
        "type": "service_account",
        "project_id": f"shop-{identity[:6]}",
        "private_key_id": identity,
        "private_key": key,
        "client_email": f"robot@shop-{identity[:6]}.iam.gserviceaccount.com",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "universe_domain": "googleapis.com",
    }
    return json.dumps(document, indent=2).encode()


def _with_certificate(directory: Path) -> bytes:
    file = directory / "k.pem"
    words = ["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=x", "-keyout", str(file)]
    return file.read_bytes() + _CERTIFICATE if _openssl(*words) else b""


_CERTIFICATE = (
    b"-----BEGIN CERTIFICATE-----\n"
    + base64.encodebytes(bytes(range(256)) * 3)
    + b"-----END CERTIFICATE-----\n"
)


def _passphrase(_: Path) -> bytes:
    key = "openssl genpkey -algorithm RSA | openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:tr0ub4dor"
    return subprocess.run(["sh", "-c", key], check=True, capture_output=True).stdout


_KINDS: dict[str, Callable[[Path], bytes]] = {
    "rsa": lambda _: _openssl("genrsa", "2048"),
    "rsa, traditional": lambda _: _openssl("genrsa", "-traditional", "2048"),
    "ec, with parameters": lambda _: _openssl("ecparam", "-genkey", "-name", "prime256v1"),
    "ec": lambda _: _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ed25519": lambda _: _openssl("genpkey", "-algorithm", "ED25519"),
    "encrypted": _passphrase,
    "openssh ed25519": lambda path: _openssh(path, "-t", "ed25519"),
    "openssh rsa": lambda path: _openssh(path, "-t", "rsa", "-b", "2048"),
    "openssh ecdsa": lambda path: _openssh(path, "-t", "ecdsa"),
    "service account": _service_account,
    "with a certificate": _with_certificate,
}
_CODES: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda value: value,
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "hex": lambda value: value.hex().encode(),
    "json": lambda value: json.dumps(value.decode()).encode(),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_key_is_found_and_another_one_is_not(tmp_path: Path, kind: str) -> None:
    secret, other = _KINDS[kind](tmp_path), _KINDS[kind](tmp_path)
    patterns = leak_patterns([secret])
    for name, code in _CODES.items():
        assert any(pattern in code(secret) for pattern in patterns), name
        assert [pattern for pattern in patterns if pattern in code(other)] == [], name
    assert any(pattern in secret.replace(b"\n", b"\r\n") for pattern in patterns)


def test_a_key_of_a_service_account_is_found_without_its_document(tmp_path: Path) -> None:
    document = _service_account(tmp_path)
    patterns = leak_patterns([document])
    assert any(pattern in json.loads(document)["private_key"].encode() for pattern in patterns)


_FILES = {
    b"[default]\naws_access_key_id = AKIA0123456789\naws_secret_access_key = c2VjcmV0a2V5\n": (
        b"aws_access_key_id = AKIA0123456789",
        b"aws_secret_access_key = c2VjcmV0a2V5",
    ),
    b'{\n\t"auths": {\n\t\t"https://index.docker.io/v1/": {\n\t\t\t"auth": "bWU6c2VjcmV0"\n\t\t}\n\t}\n}\n': (
        b'"auth": "bWU6c2VjcmV0"',
    ),
    b"machine github.com\nlogin robot-of-ours\npassword ghp_0123456789\n": (b"password ghp_0123456789",),
    b"#!/bin/bash\n# the password of the shop\nexport PASSWORD=tr0ub4dor\n": (b"export PASSWORD=tr0ub4dor",),
    b"apiVersion: v1\nkind: Config\nusers:\n- name: default\n  user:\n    token: abc.defghi\n": (
        b"token: abc.defghi",
    ),
    b"--------\r\n  tr0ub4dor&3  \r\n========\r\n": (b"tr0ub4dor&3",),
    # What has no line of its own is looked for as it is: rather once too often than a leak.
    b"# a comment alone\n": (b"# a comment alone",),
    b"[default]\n[another]\n": (b"[default]", b"[another]"),
    _CERTIFICATE: tuple(_CERTIFICATE.splitlines()),
    b"short\n": (),
}


@pytest.mark.parametrize("value", _FILES)
def test_lines_of_any_file_are_not_looked_for(value: bytes) -> None:
    whole = {line.strip() for line in value.splitlines()}
    assert tuple(it for it in leak_patterns([value]) if it in whole) == _FILES[value]
    assert all(b"\r" not in pattern for pattern in leak_patterns([value]))


@pytest.mark.parametrize("before", range(60))
def test_a_value_is_found_wherever_encoded_lines_end(before: int) -> None:
    patterns = leak_patterns([b"[default]\naws_secret_access_key = c2VjcmV0LWtleS1vZi1vdXJz\n"])
    text = b"x" * before + b"\n[default]\naws_secret_access_key = "
    assert any(it in base64.encodebytes(text + b"c2VjcmV0LWtleS1vZi1vdXJz\n") for it in patterns)
    assert not any(it in base64.encodebytes(text + b"another-key-of-somebody1\n") for it in patterns)
