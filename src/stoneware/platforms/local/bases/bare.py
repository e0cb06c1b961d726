"""Debian without a file of Stoneware's, as Google's own images are, for instances of an emulated cloud.

It has what a cloud puts into its images besides Debian: DHCP on its network card, a resolver, and a unit that
runs the startup script of the metadata.
"""

from __future__ import annotations

from pathlib import Path

from stoneware.files import canonical_json, sha256_hex
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store

_RUNNER = "usr/bin/google_metadata_script_runner"
_UNIT = "usr/lib/systemd/system/google-startup-scripts.service"
_WANTS = "etc/systemd/system/multi-user.target.wants"
_FILES = {
    "etc/systemd/network/70-cloud.network": "[Match]\nName=host0 en* eth*\n\n[Network]\nDHCP=yes\n",
    "etc/resolv.conf": "nameserver 169.254.169.254\n",
    _UNIT: f"""\
[Unit]
Description=Google Compute Engine Startup Scripts
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/{_RUNNER} startup
KillMode=process
StandardOutput=journal+console

[Install]
WantedBy=multi-user.target
""",
}
_ENABLED = ("systemd-networkd.service", "google-startup-scripts.service")


def ensure_bare(store: Store, reference: str, progress: bases.Progress) -> str:
    """Return the key of such a root, made where it is missing."""
    base = bases.ensure_base(store, reference, progress=progress)
    raw = str((store.checkpoint_document(base) or {})["raw"])
    runner = Path(__file__).with_name("google-guest-agent.sh").read_text()
    key = "bare-" + sha256_hex(canonical_json([raw, runner, _FILES, list(_ENABLED)]))[:40]
    if not store.has_checkpoint(key):
        with store.staging(store.data / "checkpoints") as staged:
            root = staged / "rootfs"
            btrfs.snapshot(store.checkpoint_rootfs(raw), root, read_only=False)
            _furnish(root, runner)
            store.save_checkpoint(key, root, {"base": reference, "raw": raw})
    return key


def _furnish(root: Path, runner: str) -> None:
    for name, text in {**_FILES, _RUNNER: runner}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link there would be written through, perhaps out of this root.
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name == _RUNNER else 0o644)
    for unit in _ENABLED:
        link = root / _WANTS / unit
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/lib/systemd/system/{unit}")
