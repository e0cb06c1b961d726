"""Secrets for one builder: only the agent that made the key can open them.

Each step of a bake can have the builder's token, so nothing that the token reads may be a secret. The agent
makes a pair of keys before any step runs, keeps the private half in its memory, and reports the public one.
What is handed to it is a passphrase, encrypted with that key (RSA, OAEP with SHA-256), and the content behind
it as `openssl enc -aes-256-cbc -pbkdf2` writes it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets

from stoneware.errors import MachineError

KEY_REPORT = "stoneware/build-key"
MOST_KEY = 2048  # characters
_ROUNDS = 10_000  # of PBKDF2, openssl's own number; the passphrase has 256 bits anyway


def digest(key: str) -> str:
    """Return how the agent is told which key was taken."""
    return hashlib.sha256(key.encode()).hexdigest()


def sealed(key: str, content: bytes) -> bytes:
    """Encrypt for the agent with this public key: DER in base64. Raises MachineError for what is no key."""
    from cryptography.hazmat.primitives import hashes, padding, serialization
    from cryptography.hazmat.primitives.asymmetric import padding as asymmetric
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    # It was reported by a machine, so it may be anything.
    try:
        public = serialization.load_der_public_key(base64.b64decode(key, validate=True))
    except ValueError:
        public = None
    if not isinstance(public, rsa.RSAPublicKey) or public.key_size != 2048:
        raise MachineError("the builder has reported a key that is none", resolution="bake again")
    passphrase = secrets.token_hex(32).encode()
    salt = os.urandom(8)
    derived = hashlib.pbkdf2_hmac("sha256", passphrase, salt, _ROUNDS, 48)
    pad = padding.PKCS7(128).padder()
    padded = pad.update(content) + pad.finalize()
    cipher = Cipher(algorithms.AES(derived[:32]), modes.CBC(derived[32:])).encryptor()
    body = cipher.update(padded) + cipher.finalize()
    oaep = asymmetric.OAEP(asymmetric.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return public.encrypt(passphrase, oaep) + b"Salted__" + salt + body
