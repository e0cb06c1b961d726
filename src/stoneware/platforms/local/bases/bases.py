"""The bases that `FROM debian:12`, and those that a stoneware.toml names, mean: made once, by mmdebstrap.

What mmdebstrap made is kept as the checkpoint `raw-…`; with its users out of the way of those of images, and
the guest files of this Stoneware laid over it, it is the checkpoint `base-…`, whose key is the base's
identity. New guest files redo only the second part.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stoneware.errors import HostError, InputError
from stoneware.files import canonical_json, sha256_hex, write_json
from stoneware.platforms.local.bases.package_sources import keyring_of, lines_of
from stoneware.platforms.local.bases.sources import KNOWN, Source, sources
from stoneware.platforms.local.bases.system_ids import digest as ids_digest
from stoneware.platforms.local.bases.system_ids import move_system_ids
from stoneware.platforms.local.host.architecture import architecture
from stoneware.platforms.local.host.requirements import BASE_TOOLS, check
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store.store import Store
from stoneware.records import whole

# Without systemd-resolved, which hears of its server a moment late: a step could find no name then.
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "systemd",
    "systemd-sysv",
    "udev",
)

Progress = Callable[[str], None]
_OWN = "own-"  # how the names of records of bases begin that a stoneware.toml names


def source_of(store: Store, reference: str) -> Source:
    """Return what a base is made from. Raises InputError for an unknown base."""
    known = sources(store.project)
    try:
        return known[reference]
    except KeyError:
        raise InputError(
            f"there is no base {reference!r}",
            details=f"The known bases are {', '.join(sorted(known))}.",
            resolution="FROM debian:12, or an image of your own: stoneware images",
        ) from None


def base_identity(store: Store, reference: str) -> str | None:
    """Return a base's identity (a checkpoint key), or None while it has to be made.

    Raises InputError where it cannot be made, as far as it is known before.
    """
    source = source_of(store, reference)
    raw = _raw_key(store, reference)
    if raw is None:
        keyring_of(source)
        return None
    identity = _identity(raw)
    return identity if store.has_checkpoint(identity) else None


def ensure_base(store: Store, reference: str, *, refresh: bool = False, progress: Progress) -> str:
    """Return a base's identity after making what is missing of it.

    With `refresh` mmdebstrap runs again. One command makes it; others wait for that and say so.
    """
    if refresh:
        keyring_of(source_of(store, reference))
    identity = None if refresh else base_identity(store, reference)
    if identity is not None:
        store.touch_checkpoint(identity)
        return identity
    asked = time.time()
    lock_name = _file_name(reference)
    try:
        with store.lock("bases", lock_name, timeout=0):
            return _make(store, reference, refresh, progress)
    except TimeoutError:
        progress(f"waiting for another command that makes {reference}")
    with store.lock("bases", lock_name):
        # Two that ask to refresh it at the same time want one new base, not two.
        fresh = _created_at(store, reference) >= asked
        return _make(store, reference, refresh and not fresh, progress)


def _make(store: Store, reference: str, refresh: bool, progress: Progress) -> str:
    raw = None if refresh else _raw_key(store, reference)
    if raw is None:
        raw = _make_raw(store, reference, progress)
    identity = _identity(raw)
    if not store.has_checkpoint(identity):
        progress(f"laying Stoneware's guest files over {reference}")
        _lay_guest_files(store, reference, raw, identity)
    return identity


def _make_raw(store: Store, reference: str, progress: Progress) -> str:
    from stoneware.platforms.local.bases.mmdebstrap import mmdebstrap

    check(BASE_TOOLS)
    source = source_of(store, reference)
    progress(f"making {reference} with mmdebstrap (once; {len(PACKAGES)} packages and what they need)")
    started = time.monotonic()
    with store.staging(store.data / "checkpoints") as staged:
        root = staged / "rootfs"
        btrfs.create(root)
        root.chmod(0o755)
        mmdebstrap(source, root, PACKAGES, lines_of(source), progress)
        _settle(root)
        packages = _installed(root)
        key = "raw-" + sha256_hex(canonical_json([reference, architecture(), packages]))[:40]
        store.save_checkpoint(key, root, {"base": reference, "created": time.time(), "packages": packages})
    with store_errors.clear_errors(store.home):
        write_json(
            _pointer(store, reference), {"raw": key, "made": time.time(), "wanted": _wanted(store, reference)}
        )
    progress(f"built {reference} in {time.monotonic() - started:.0f} s")
    return key


def _settle(root: Path) -> None:
    """Take out what must not be shared by machines, and keep systemd from making subvolumes in them."""
    # machine-id(5): so that each machine makes its own, and knows its first boot.
    (root / "etc/machine-id").write_text("uninitialized\n")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "var/lib/systemd/random-seed").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    for name in ("machines", "portables"):  # tmpfiles makes these subvolumes where they are missing
        (root / "var/lib" / name).mkdir(exist_ok=True, mode=0o700)


def _lay_guest_files(store: Store, reference: str, raw: str, identity: str) -> None:
    from stoneware import guest
    from stoneware.guest import lists

    with store.staging(store.data / "checkpoints") as staged:
        root = staged / "rootfs"
        btrfs.snapshot(store.checkpoint_rootfs(raw), root, read_only=False)
        # In the copy, not in `raw`: other numbers redo this part only.
        move_system_ids(root)
        guest.install(root)
        lists.write_file_lists(root)
        raw_document = store.checkpoint_document(raw) or {}
        document = {**raw_document, "base": reference, "raw": raw, "guest": guest.digest()}
        store.save_checkpoint(identity, root, document)


def _identity(raw: str) -> str:
    from stoneware import guest
    from stoneware.guest import lists

    parts = [raw, guest.digest(), lists.digest(), architecture(), ids_digest()]
    return "base-" + sha256_hex(canonical_json(parts))[:40]


def _wanted(store: Store, reference: str) -> str:
    source = source_of(store, reference)
    parts: list[Any] = [reference, source.suite, architecture(), PACKAGES]
    if reference not in KNOWN:
        parts.append([source.mirror, source.components, source.keyring, source.frozen])
    return sha256_hex(canonical_json(parts))


def _file_name(reference: str) -> str:
    if reference in KNOWN:
        return reference.replace(":", "-")
    return f"{_OWN}{sha256_hex(reference.encode())[:16]}"


def _pointer(store: Store, reference: str) -> Path:
    return store.home / "bases" / f"{_file_name(reference)}.json"


def _read_pointer(store: Store, reference: str) -> dict[str, Any]:
    return whole(_pointer(store, reference))  # a base whose record is damaged is built again


def _raw_key(store: Store, reference: str) -> str | None:
    pointer = _read_pointer(store, reference)
    if pointer.get("wanted") != _wanted(store, reference):
        return None  # never made, or this version asks for other packages
    key = str(pointer["raw"])
    return key if store.has_checkpoint(key) else None


def _created_at(store: Store, reference: str) -> float:
    return float(_read_pointer(store, reference).get("made", 0.0))


def base_checkpoints(store: Store) -> set[str]:
    """Return the checkpoints that are bases now: what `prune` keeps."""
    raws = {_raw_key(store, reference) for reference in KNOWN}
    # Those that a stoneware.toml names: it may be in any directory.
    raws |= {str(whole(pointer).get("raw", "")) for pointer in (store.home / "bases").glob(f"{_OWN}*.json")}
    found = {raw for raw in raws if raw and store.has_checkpoint(raw)}
    return found | {_identity(raw) for raw in found}


def _installed(root: Path) -> list[list[str]]:
    """Return the packages in a root as [name, version, architecture], read from dpkg's own records."""
    found: list[list[str]] = []
    try:
        text = (root / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise HostError("mmdebstrap left no package records", resolution="stoneware doctor") from None
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            found.append([fields["Package"], fields["Version"], fields.get("Architecture", "all")])
    return sorted(found)
