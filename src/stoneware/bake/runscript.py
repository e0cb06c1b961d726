"""The shell script of a RUN step: the one place where a step's words meet a shell, each one quoted."""

from __future__ import annotations

import shlex

from stoneware.machinefile.recipe import Mount, RunStep

# What Docker gives a container whose image sets no PATH.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_script(step: RunStep) -> str:
    """Return the complete POSIX script of a RUN step.

    The agent sets HOME for the step's user; the image's ENV may set it as well and then wins.
    """
    env = {"PATH": DEFAULT_PATH, **dict(step.unkeyed_env), **dict(step.env)}
    words = [shlex.quote(f"{name}={value}") for name, value in env.items()]
    argv = [shlex.quote(word) for word in step.argv]
    # `env -i`: a step has what the Machinefile gives it, and nothing of the agent's own environment.
    home = "" if "HOME" in env else '${HOME:+"HOME=$HOME"} '
    return f"cd {shlex.quote(step.workdir or '/')} || exit 1\nexec env -i {home}{' '.join([*words, *argv])}\n"


def mount_lines(mounts: tuple[Mount, ...], sources: tuple[str, ...]) -> str:
    """Return the `mounts` file: a line per mount, fields apart by tabs, `sources` as the agent finds them."""
    lines = []
    for mount, source in zip(mounts, sources, strict=True):
        fields = (
            mount.type,
            mount.target,
            source,
            "ro" if mount.read_only else "rw",
            mount.mode,
            "" if mount.uid is None else str(mount.uid),
            "" if mount.gid is None else str(mount.gid),
            mount.env,
            "" if mount.size is None else str(mount.size),
        )
        lines.append("\t".join(fields) + "\n")
    return "".join(lines)
