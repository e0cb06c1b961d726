"""Making a machine's directory, and starting the shim that runs it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stoneware import process
from stoneware.descriptors import closing
from stoneware.durations import in_seconds
from stoneware.errors import HostError, InputError
from stoneware.files import read_json, write_json, write_private
from stoneware.model import guest_lines, names, runtime
from stoneware.model.limits import (
    cpus_problem,
    disk_problem,
    log_problem,
    memory_problem,
    pids_problem,
    ulimit_problem,
)
from stoneware.model.machine import MachineSpec
from stoneware.model.subnets import addresses_problem
from stoneware.platforms.local.host import cgroups, process_limits
from stoneware.platforms.local.host import probes as host_probes
from stoneware.platforms.local.host.requirements import MACHINE_TOOLS, check
from stoneware.platforms.local.machines import owner
from stoneware.platforms.local.machines.first_process import await_leader
from stoneware.platforms.local.machines.record import Paths, spec_document
from stoneware.platforms.local.machines.runners import runner_for
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import Machines
from stoneware.process_identity import boot_id

RUN = "command"  # of a run directory: the part of the shim's settings that may change between its boots
_REAP = "stoneware.platforms.local.machines.reap"
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::[0-9]{1,9})?")
_UNIT_TIMEOUT = 10.0  # seconds for systemd to forget a unit that has ended
# What a run leaves in the run directory, and the next one must not find.
_OF_ONE_RUN = (
    "shim",
    "nspawn",
    "leader",
    "exit",
    "error",
    "stop",
    "ended",
    "down",
    "cgroup",
    "orphan",
    "port",
)


def check_spec(spec: MachineSpec) -> None:
    """Raise InputError for a spec that no computer could run."""
    if not names.MACHINE.allows(spec.name):
        raise InputError(
            f"{spec.name!r} is not a machine name",
            details=f"A name has {names.MACHINE.words}: it becomes the host name.",
            resolution="stoneware run --name web-1 …",
        )
    if spec.hostname and not names.HOST.allows(spec.hostname):
        raise InputError(
            f"{spec.hostname!r} is not a host name", resolution="stoneware run --hostname web-1 …"
        )
    for name in spec.names:
        if not names.HOSTS_FILE.allows(name):
            raise InputError(
                f"{name!r} cannot be a name of the machine {spec.name!r}",
                details=f"A name has {names.HOSTS_FILE.words}.",
                resolution="rename the service or the network alias it comes from",
            )
    if not _RESTART.fullmatch(spec.restart):
        raise InputError(
            f"{spec.restart!r} is not a restart policy",
            resolution="use no, always, unless-stopped or on-failure[:N]",
        )
    limits = (
        *(ulimit_problem(limit) for limit in spec.ulimits),
        *(pids_problem(spec.pids_limit), log_problem(spec.log_max_size, spec.log_max_file)),
        *(disk_problem(spec.disk), memory_problem(spec.memory), cpus_problem(spec.cpus)),
    )
    unlike = (
        *runtime.problems(spec.process, spec.system),
        addresses_problem(spec.addresses.items(), spec.networks),
    )
    for problem in filter(None, unlike):
        raise InputError(f"the machine {spec.name!r} cannot be created like this", details=problem)
    for problem in filter(None, limits):
        raise InputError(f"a limit of the machine {spec.name!r} is out of bounds", details=problem)
    runner_for(spec).check(spec)
    if spec.remove_when_stopped and spec.restart != "no":
        raise InputError("--rm and --restart exclude each other", resolution="leave one of them out")


def make_directory(store: Store, machines: Machines, spec: MachineSpec, machine_id: str) -> Paths:
    """Make a machine's directory, complete or not at all. The caller holds the machine's lock.

    `machines` are those of the store, for a runner that needs a builder first.
    """
    runner = runner_for(spec)
    target = store.data / "machines" / spec.name
    with store.staging(target.parent) as staged:
        runner.furnish(store, machines, spec, staged)
        # Root's alone: secrets of a bake and process ids are in there.
        for name in ("files", "results", "run"):
            (staged / name).mkdir(mode=0o700)
        for name, path in spec.files.items():
            copy_file(path, staged / "files" / name)
        (staged / "console.log").touch(mode=0o600)
        state = {"id": machine_id, "created": time.time(), "started": None, "ports": []}
        documents = {
            "state.json": state,
            "metadata.json": {"attributes": dict(spec.metadata)},
            "spec.json": spec_document(spec),
        }
        for name, document in documents.items():
            write_json(staged / name, document, mode=0o600, lasting=outlasts_crash(spec))
        # Last: killed before this, the next command finds a staging and removes it.
        staged.rename(target)
    return Paths(target)


def outlasts_crash(spec: MachineSpec) -> bool:
    """Say whether a machine is to be there after a crash of the computer. A builder is removed then."""
    return spec.kind != "builder"


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; the kernel shares the blocks where both are on one btrfs."""
    with source.open("rb") as reader, target.open("xb") as writer:
        os.fchmod(writer.fileno(), 0o600)
        try:
            while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
                pass
        except OSError:  # two file systems that the kernel does not copy between
            reader.seek(0)
            writer.seek(0)
            writer.truncate()
            shutil.copyfileobj(reader, writer, 1 << 20)


def launch(
    store: Store,
    paths: Paths,
    spec: MachineSpec,
    network: tuple[str, str, str] | None,
    known: Mapping[str, Any] = types.MappingProxyType({}),
) -> None:
    """Start a machine's shim and return when the machine's first process and network port are there.

    `network` is the router's namespace, its bridge and the machine's MAC address; what is `known` goes into
    the record of its state. The caller holds the machine's lock and knows that nothing of it runs. Raises
    MachineError when it does not come up.
    """
    runner = runner_for(spec)
    check((*MACHINE_TOOLS, *runner.tools))
    # systemd in each machine takes several instances, and all count as root's.
    host_probes.raise_inotify_limit()
    state: dict[str, Any] = read_json(paths.root / "state.json") or {}
    host = cgroups.probe()
    groups = cgroups.plan(host, state["id"], *runner.limits(spec))
    process_limits.check(spec.ulimits)
    # Before the shim enters its first group, or that one waits 10 ms.
    cgroups.quicken(host)
    cgroups.prepare(groups)
    # What the last run left would be taken for reports of this one.
    for stale in _OF_ONE_RUN:
        (paths.run / stale).unlink(missing_ok=True)
    # Marked as started first: a kill from here on leaves a stopped machine, not an unknown one.
    state |= {**known, "started": time.time(), "boot": boot_id()}
    write_json(paths.root / "state.json", state, mode=0o600, lasting=outlasts_crash(spec))
    runner.prepare(store, paths, spec)
    settings = paths.run / "settings"
    write_private(settings, _settings(store, paths, spec, groups=groups, network=network, state=state))
    write_runner(store, paths, spec)
    shim = Path(__file__).with_name("shim.sh")
    # The shim's mounts go with it, and mounts of the host still reach it.
    argv = ["unshare", "--mount", "--propagation", "slave", "sh", str(shim), str(settings)]
    argv = process_limits.plain(argv, spec.ulimits, inherits=not groups.prefix)
    # The console goes through it, to what keeps the files of bounded size (keep_console in shim.sh).
    if not (paths.run / "pipe").exists():
        os.mkfifo(paths.run / "pipe", 0o600)
    # What is shown where a start fails is the end of this: only of this start.
    (paths.root / "shim.log").unlink(missing_ok=True)
    with (paths.root / "shim.log").open("ab") as log:
        if groups.prefix:
            _start_unit([*groups.prefix, *_unit_properties(paths, spec), "--", *argv])
        else:
            # A session of its own: no Ctrl-C and no hang-up of this terminal reaches the machine.
            _spawn(["setsid", "--fork", *argv], log.fileno())
    await_leader(paths, ends=spec.runs_script)
    runner.await_up(paths)


def write_runner(store: Store, paths: Paths, spec: MachineSpec) -> None:
    """Write down what runs a machine: its shim reads that at each boot."""
    state: dict[str, Any] = read_json(paths.root / "state.json") or {}
    write_private(paths.run / RUN, runner_for(spec).settings(store, paths, spec, state["id"]) + "\n")


def _unit_properties(paths: Paths, spec: MachineSpec) -> list[str]:
    env = process.tool_environment()
    log = f"append:{paths.root / 'shim.log'}"
    return [
        "--property=IgnoreSIGPIPE=no",  # as in systemd's services by default, it would be in the machine too
        f"--property=StandardOutput={log}",
        f"--property=StandardError={log}",
        f"--property=TimeoutStopSec={in_seconds(spec.stop_timeout + 5)}",
        *(f"--setenv={name}={env[name]}" for name in ("PATH", "HOME", "LC_ALL") if name in env),
    ]


def _start_unit(argv: Sequence[str]) -> None:
    """Have systemd start a shim. Raises HostError when it does not."""
    deadline = time.monotonic() + _UNIT_TIMEOUT
    while True:
        done = process.run(argv, check=False)
        if done.returncode == 0:
            return
        # The unit of the machine's last run goes a moment after the machine itself.
        if "already" not in done.stderr or time.monotonic() > deadline:
            raise HostError(
                "systemd does not start the machine",
                details=done.stderr.strip(),
                resolution="systemctl status    # then run the command again",
            )
        time.sleep(0.01)


def _spawn(argv: Sequence[str], log: int) -> None:
    """Run a command that detaches itself, with its output going to a file."""
    env = process.tool_environment()
    path = process.which(argv[0])
    if path is None:
        raise HostError(f"the program {argv[0]!r} is not on this computer", resolution="stoneware doctor")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
        # posix_spawn passes on what is inheritable: a caller's lock would be held until the machine stops.
        *closing(),
    ]
    pid = os.posix_spawn(path, list(argv), env, file_actions=actions, setsigmask=[], setsigdef=_SIGNALS)
    os.waitpid(pid, 0)


_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}  # as a program expects them


def _settings(
    store: Store,
    paths: Paths,
    spec: MachineSpec,
    *,
    groups: cgroups.MachineGroups,
    network: tuple[str, str, str] | None,
    state: Mapping[str, Any],
) -> str:
    """Return the text of the file that tells a shim how to run its machine: see shim.sh."""
    runner = runner_for(spec)
    # `on-failure:3` is a policy with a number of retries.
    policy, _, retries = spec.restart.partition(":")
    values = {
        "DIR": str(paths.run),
        "ID": state["id"],
        **_network_settings(paths, spec, network),
        "CGROUP": groups.kind,
        "CGROUP_OPTIONS": groups.options,
        "GROUPS_V1": "\n".join(str(path) for path in groups.v1),
        "PIDS_V1": str(groups.pids_v1 or ""),
        "LIMITS": "\n".join(groups.limits),
        "RESTART": policy,
        "RETRIES": retries or "0",
        "STORE": str(store.data),
        "CONSOLE": str(paths.console),
        "LOG_SIZE": str(spec.log_max_size),
        "LOG_FILES": str(spec.log_max_file),
        "ATTRIBUTES": str(paths.attributes),
        **_removal_settings(store, paths, spec, state["id"]),
    }
    values["RUNNER"] = str(Path(__file__).with_name(runner.script))
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join([*lines, ""])


def _network_settings(
    paths: Paths, spec: MachineSpec, network: tuple[str, str, str] | None
) -> dict[str, str]:
    router, bridge, mac = network or ("", "", "")
    address: dict[str, Any] = {}
    # It asks no DHCP server: its agent is to fetch the bundle at once.
    if spec.kind == "builder" and network:
        address = read_json(paths.root / "network.json") or {}
    return {
        "MAC": mac,
        "ROUTER": router,
        "BRIDGE": bridge,
        "ADDRESS": f"{address['ip']}/{address['netmask']}" if address else "",
        "GATEWAY": address.get("gateway", ""),
        "MTU": str(address.get("mtu", "")),
    }


def _removal_settings(store: Store, paths: Paths, spec: MachineSpec, machine_id: str) -> dict[str, str]:
    """Say what removes a machine that ends, and whose end is the machine's."""
    # -P: modules in the directory that the command was given in are never imported, by root least of all.
    reaper = shlex.join([sys.executable, "-P", "-m", _REAP, str(store.home), spec.name, machine_id])
    if owner.is_gone(paths.owner):  # somebody else starts it again
        paths.owner.unlink()
    return {
        "REAP": reaper if spec.remove_when_stopped else "",
        "OWNER": str(paths.owner) if paths.owner.exists() else "",
        "ORPHAN": reaper if spec.tied == "remove" else "",
    }


def volume_lines(spec: MachineSpec) -> str:
    """Return the attribute `stoneware-volumes` of a machine here."""
    return guest_lines.volume_lines(spec, runner_for(spec).device)
