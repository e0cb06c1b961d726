"""A host with systemd as its first process, whatever this computer has: see systemd_host.sh."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import stoneware
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store

_SCRIPT = Path(__file__).with_name("systemd_host.sh")
_BOOT = 60.0  # seconds
# A machine may mount /proc and /sys only where some mount of them has nothing laid over it.
_VISIBLE = "for kind in proc sysfs; do mkdir -p /run/$kind && mount -t $kind $kind /run/$kind; done"
# nspawn leaves the group it was started in.
_FORGET = """umount -R /sys/fs/cgroup
case $2 in
    v2) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
    v1) mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup ;;
esac
find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +"""


class SystemdHost:
    """A host to boot, shut down and boot again; its store outlives the boots."""

    def __init__(self, name: str, work: Path, seed: Store, groups: str = "v2") -> None:
        self.name = name
        self.groups = groups
        self.work = work
        self.console = work.with_name(f"{work.name}.log")
        self.home = seed.data / name  # on btrfs, as a store may be
        self._plant(seed)
        self._nspawn: subprocess.Popen[bytes] | None = None

    def _plant(self, seed: Store) -> None:
        """Put the base debian:12 into the host's store, as a snapshot."""
        identity = bases.base_identity(seed, "debian:12")
        raw = (seed.checkpoint_document(str(identity)) or {})["raw"]
        self.home.mkdir(mode=0o700)
        store = Store.open(self.home)
        for key in (raw, str(identity)):
            store.save_checkpoint(key, seed.checkpoint_rootfs(key), seed.checkpoint_document(key) or {})
        (self.home / "bases").mkdir(exist_ok=True)
        pointer = "bases/debian-12.json"
        (self.home / pointer).write_bytes((seed.home / pointer).read_bytes())

    def boot(self) -> None:
        """Boot the host and wait until it is up."""
        self.work.mkdir(exist_ok=True)
        source = Path(stoneware.__file__).parents[1]
        seen = {str(path) for path in (source.parent, sys.prefix, sys.base_prefix)}
        binds = [f"--bind-ro={path}" for path in sorted(seen)]
        binds += [f"--bind={self.home}:/var/lib/stoneware", "--bind=/dev/btrfs-control"]
        argv = ["unshare", "--mount", "sh", str(_SCRIPT), self.name, "/", str(self.work), self.groups, *binds]
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        self._until(lambda: self._enter("systemctl", "is-system-running").stdout.strip() == "running", _BOOT)
        self._enter("sh", "-c", _VISIBLE).check_returncode()

    def _until(self, done: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            tail = self.console.read_text(errors="replace")[-2000:]
            assert self._nspawn is not None
            assert self._nspawn.poll() is None, tail
            assert time.monotonic() < deadline, tail
            time.sleep(0.05)

    def _leader(self) -> str:
        """Return the host's first process; empty while there is none."""
        assert self._nspawn is not None
        pid = self._nspawn.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            try:
                if not Path(f"/proc/{child}/ns/net").samefile("/proc/self/ns/net"):
                    return child
            except FileNotFoundError:
                continue
        return ""

    def _enter(self, *argv: str) -> subprocess.CompletedProcess[str]:
        leader = self._leader()
        if not leader:
            return subprocess.CompletedProcess(argv, 1, "", "")
        command = ["nsenter", "--target", leader, "--all", "--", *argv]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            cwd="/",
            timeout=120,
            check=False,
        )

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a unit of its own: what it starts and leaves there ends with it."""
        source = Path(stoneware.__file__).parents[1]
        setting = f"set -eu; export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={source}"
        command = f"stoneware='{sys.executable} -m stoneware.cli.main'\nstoneware() {{ $stoneware \"$@\"; }}"
        # Its own exit code: systemd calls a unit failed where it does not see all that was left in it end, as
        # can be with control groups of version 1.
        code = f"/run/{secrets.token_hex(4)}.code"
        whole = f"trap 'echo $? >{code}' EXIT\n{setting}\n{command}\n{script}"
        done = self._enter("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "sh", "-c", whole)
        said = self._enter("cat", code).stdout
        return subprocess.CompletedProcess(
            done.args, int(said) if said else done.returncode, done.stdout, done.stderr
        )

    def shut_down(self) -> None:
        """Power the host off."""
        assert self._nspawn is not None
        self._enter("systemctl", "poweroff")
        self._nspawn.wait(300)

    def remove(self) -> None:
        """End the host at once, if it runs, and remove all of it."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            os.kill(int(self._leader() or self._nspawn.pid), signal.SIGKILL)
            self._nspawn.wait(300)
        subprocess.run(["unshare", "--mount", "sh", "-c", _FORGET, "sh", self.name, self.groups], check=False)
        self.work.rmdir()
        btrfs.remove_tree(self.home)
