"""What only builders may ask of the metadata server: the secrets of a step, and to hand in the results.

A bake's secrets are never among the files that a machine gets. The agent names a key before any step runs
(`build-key`, the first one counts); a secret goes once to a process that knows it, while the driver says that
the step which mounts it is about to run (attribute `stoneware-serving`: the step, then names). Results are
taken under the one name that the bake expects, while it waits for them (`stoneware-accept`), one at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from pathlib import Path

from stoneware.model import guest_protocol as protocol
from stoneware.platforms.local.metadata.state import Facts

KEY_HEADER = "X-Stoneware-Key"
KEY_LIMIT = 256  # bytes
RESULT_LIMIT = 64 * 2**20  # bytes of what a bake's builder hands in


def is_builder(facts: Facts) -> bool:
    """Say whether the machine is a builder."""
    return facts.spec.get("kind") == "builder"


def is_secret(name: str) -> bool:
    """Say whether one of the files that a machine was given is no file for everybody in it."""
    return name.startswith(protocol.OF_AGENT)


def take_key(machine: Path, key: bytes) -> bool:
    """Keep the agent's key (its digest); return whether it is the one that is kept: the first."""
    digest = hashlib.sha256(key).hexdigest().encode()
    path = machine / "build-key"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(digest)
    return hmac.compare_digest(path.read_bytes(), digest)


def secret_for_step(machine: Path, facts: Facts, name: str, key: str) -> Path | None:
    """Return the file of a secret where it may be given now for this key, else None."""
    step, *names = facts.attributes.get(protocol.SERVING, "").split()[:1000] or [""]
    path = machine / "files" / name
    if not (is_builder(facts) and is_secret(name) and name in names and path.is_file()):
        return None
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest().encode()
    try:
        known = (machine / "build-key").read_bytes()
    except FileNotFoundError:
        return None
    if not hmac.compare_digest(known, digest) or f"{step} {name}" in _served(machine):
        return None
    return path


def note_served(machine: Path, facts: Facts, name: str) -> None:
    """Write down that a step has had a secret: it gets it no more."""
    step = facts.attributes[protocol.SERVING].split()[0]
    with (machine / "served").open("a") as stream:
        stream.write(f"{step} {name}\n")


def _served(machine: Path) -> list[str]:
    try:
        return (machine / "served").read_text().splitlines()
    except FileNotFoundError:
        return []


def expects_result(facts: Facts, name: str) -> bool:
    """Say whether a bake waits for a result of this name from this machine, which is a builder then."""
    wanted = facts.attributes.get(protocol.RESULTS, "").rpartition("/")[2]
    waits = facts.attributes.get(protocol.ACCEPT) == protocol.TRUE
    return is_builder(facts) and waits and bool(wanted) and name == wanted
