"""What machines need and an imported root file system lacks: installed once, into a copy of it.

The copy is the checkpoint `packages-…`. It is made in a builder, a machine with the walls of every machine:
programs of strangers run in it. They lack what a machine boots with, so its first process is a script.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stoneware.errors import BuildError
from stoneware.files import canonical_json, locked, sha256_hex
from stoneware.model import guest_protocol
from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.bases.imported_checks import missing
from stoneware.platforms.local.host.architecture import architecture
from stoneware.platforms.local.machines.first_process import tail
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import Platform
from stoneware.scratch import scratch_directory

_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_LONGEST = 1800.0  # seconds
_POLL = 0.1
_TAIL = 12  # lines of what apt-get said that are shown
_WIDEST = 300  # characters of one of them

Progress = Callable[[str], None]


def key_of(raw: str, lacks: Mapping[str, str]) -> str:
    """Return the key of the copy of a checkpoint with the packages that it lacks: program to package."""
    from stoneware.guest import packages

    parts = [raw, packages_of(lacks), packages.digest(), architecture()]
    return "packages-" + sha256_hex(canonical_json(parts))[:40]


def packages_of(lacks: Mapping[str, str]) -> list[str]:
    """Return the packages of programs, each once."""
    return sorted(set(lacks.values()))


def ensure(store: Store, machines: Platform, raw: str, lacks: Mapping[str, str], progress: Progress) -> str:
    """Return the key of that copy after making it, in a builder among `machines`, where it is missing.

    Raises BuildError where the packages cannot be installed.
    """
    key = key_of(raw, lacks)
    with _only_one(store, key, progress):
        if not store.has_checkpoint(key):
            progress(f"apt-get install {' '.join(packages_of(lacks))} (once)")
            with _installed(store, machines, key, raw, lacks) as root:
                document = {"created": time.time(), "raw": raw, "packages": packages_of(lacks)}
                store.save_checkpoint(key, root, document)
    store.touch_checkpoint(key)
    return key


@contextlib.contextmanager
def _only_one(store: Store, key: str, progress: Progress) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(store.lock("bases", key, timeout=0))
        except TimeoutError:
            progress("waiting for another command that installs them")
            held.enter_context(store.lock("bases", key))
        yield


@contextlib.contextmanager
def _installed(
    store: Store, machines: Platform, key: str, raw: str, lacks: Mapping[str, str]
) -> Iterator[Path]:
    """Give the root file system of a builder that has installed them; the builder is gone at the end."""
    from stoneware.guest import packages

    # As a bake's builder is called: where this process is killed, the next command finds its lock free.
    build = key[:30]
    name, lock = f"{build}-0", store.build_lock_path(build)
    with locked(lock), scratch_directory("stoneware-packages-") as scratch:
        files = {guest_protocol.SCRIPT_FILE: scratch / "script", "ca.pem": scratch / "ca.pem"}
        files[guest_protocol.SCRIPT_FILE].write_text(packages.packages_script(packages_of(lacks)))
        files["ca.pem"].write_bytes(_certificates())
        metadata = {guest_protocol.MODE: guest_protocol.SCRIPT}
        spec = MachineSpec(name, f"checkpoint:{raw}", kind="builder", metadata=metadata, files=files)
        try:
            machines.destroy(name)  # that of a command that was killed, and not recovered yet
            machines.create(spec)
            code = _await_end(machines, name)
            root = store.data / "machines" / name / "rootfs"
            still = missing(root)
            if code != 0 or still:
                raise _failure(store, machines, name, lacks, still if code == 0 else {})
            yield root
        finally:
            machines.destroy(name)
            lock.unlink(missing_ok=True)


def _certificates() -> bytes:
    """Return what this computer trusts besides its distribution's certificates."""
    paths = sorted(_CERTIFICATES.rglob("*.crt")) if _CERTIFICATES.is_dir() else ()
    return b"".join(path.read_bytes().rstrip(b"\n") + b"\n" for path in paths)


def _await_end(machines: Platform, name: str) -> int:
    """Return the exit code of a builder's script. Raises BuildError where it does not end."""
    deadline = time.monotonic() + _LONGEST
    looked = time.monotonic()
    while time.monotonic() < deadline:
        machine = machines.observe(name)
        if machine is None:
            raise BuildError("the builder of the packages is gone", resolution="run the command again")
        if machine.exit_code is not None:
            return machine.exit_code
        if time.monotonic() - looked > 1:
            machines.check_helpers()  # without its network it could fetch nothing
            looked = time.monotonic()
        time.sleep(_POLL)
    raise BuildError(
        f"what machines need is not installed after {_LONGEST / 60:.0f} minutes",
        resolution="install it in the system itself, then import that again",
    )


def _failure(
    store: Store, machines: Platform, name: str, lacks: Mapping[str, str], still: Mapping[str, str]
) -> BuildError:
    """Return the error of an apt-get that failed, or that has not brought what was wanted."""
    from stoneware.platforms.waiting import console_tail

    said = console_tail(machines, name, _TAIL) or tail(store.data / "machines" / name / "shim.log")
    packages = " ".join(packages_of(lacks))
    what = (
        f"apt-get has installed {packages}, and still there is no {', '.join(still)}."
        if still
        else f"apt-get install {packages} has failed, with the package sources of that system:"
    )
    return BuildError(
        f"what was imported lacks what machines need, and it cannot be installed: {', '.join(lacks)}",
        details="\n".join([what, *(line[:_WIDEST] for line in said.splitlines())]),
        resolution=f"apt-get update && apt-get install {packages}    # in the system, then import it again",
    )
