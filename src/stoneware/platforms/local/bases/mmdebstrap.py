"""Running mmdebstrap so that nothing of it survives us."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from stoneware import process
from stoneware.errors import MachineError
from stoneware.platforms.local.bases.sources import Source
from stoneware.platforms.local.host.requirements import check

# Kept in the base as /etc/dpkg/dpkg.cfg.d/99mmdebstrap: a step that is killed is done again from its
# checkpoint, so syncing each unpacked file only costs time. Translations are never read in a machine.
_DPKG_OPTIONS = ("force-unsafe-io",)
_APT_OPTIONS = ('Acquire::Languages "none"',)
_USER = re.compile(r"//[^/@]*@")  # of a mirror's address: a name and a password, which are not shown
_LONGEST_LINE = 1 << 16  # characters of its output


def mmdebstrap(
    source: Source,
    root: Path,
    packages: Sequence[str],
    lines: Sequence[str],
    progress: Callable[[str], None],
) -> None:
    """Install a minimal Debian, or what derives from it, with `packages` into an empty directory.

    `lines` are its sources; without any, mmdebstrap knows where Debian's suites are. Raises MachineError with
    the tool's last lines when it fails.
    """
    check(["mmdebstrap", "unshare", "setpriv"])
    argv = [*_guarded(), *_arguments(source, root, packages, lines)]
    last: list[str] = []
    # TMPDIR stays the host's: mmdebstrap works in `root` itself.
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env=process.tool_environment(_proxies()),
            text=True,
            errors="replace",
        )
        try:
            assert child.stderr is not None  # noqa: S101 (it is a pipe)
            # In bounds, as packages' scripts may print lines without an end.
            for line in iter(partial(child.stderr.readline, _LONGEST_LINE), ""):
                last = [*last[-19:], line.rstrip()]
                if line.startswith("I: "):
                    progress(line[3:].rstrip().removesuffix("..."))
            child.wait()
        finally:
            child.kill()
            child.wait()
            if child.stderr is not None:
                child.stderr.close()
    if child.returncode != 0:
        raise _failure(source, child.returncode, last)


def _failure(source: Source, code: int, last: Sequence[str]) -> MachineError:
    """Return the error of a run that failed, with what to look at: the mirror that it took from."""
    mirror = _USER.sub("//", source.mirror.rstrip("/"))
    if mirror:
        address = shlex.quote(f"{mirror}/dists/{source.suite}/Release")
        advice = f"check that the mirror {mirror} has the suite {source.suite}: curl -fI {address}"
    elif source.places:
        advice = f"check that this computer's apt works (apt-get update) and its mirror has {source.suite}"
    else:
        advice = "check that this computer's apt works (apt-get update), then run the command again"
    return MachineError(
        f"mmdebstrap could not make the base {source.suite} (exit code {code})",
        details="\n".join(last),
        resolution=advice,
        location=source.places.get("mirror") or source.places.get("suite", ""),
    )


def _guarded() -> list[str]:
    """Return the command prefix that ends mmdebstrap, its children and mounts when this process ends.

    setpriv asks for SIGKILL when the parent dies; unshare passes that on to the first process of a new
    process id namespace, and with that one the kernel ends all the others.
    """
    return [
        *["setpriv", "--pdeathsig", "KILL", "--"],
        *["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"],
    ]


def _arguments(source: Source, root: Path, packages: Sequence[str], lines: Sequence[str]) -> list[str]:
    options = [f"--dpkgopt={option}" for option in _DPKG_OPTIONS]
    options += [f"--aptopt={option}" for option in _APT_OPTIONS]
    include = ",".join(packages)
    return [
        *["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", f"--include={include}"],
        *[f"--components={','.join(source.components)}"] * (not lines),
        *[*options, "--", source.suite, str(root), *lines],
    ]


def _proxies() -> dict[str, str]:
    """Return this computer's apt proxies as environment variables: used now, not kept in the base."""
    if shutil.which("apt-config") is None:
        return {}
    asked = process.run(["apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"], check=False)
    found: dict[str, str] = {}
    for line in asked.stdout.splitlines():
        name, _, value = line.partition(" ")
        scheme = name.split("::")[1] if name.count("::") == 2 else ""
        address = value.strip().strip('";')
        if scheme in ("http", "https") and name.endswith("::Proxy") and address not in ("", "DIRECT"):
            found[f"{scheme}_proxy"] = address
    return found
