"""What a service's keys say of how it runs and of its machine's system."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from stoneware.compose import schema
from stoneware.compose.faults import Faults
from stoneware.compose.model import Place
from stoneware.compose.nodes import Node, place_of
from stoneware.machinefile.flags import FlagError
from stoneware.machinefile.inits import is_init
from stoneware.machinefile.values import check_signal
from stoneware.model import runtime
from stoneware.model.runtime import ALL, SHM, Process, System

# tmpfs mounts that a machine has anyway; what Docker mounts on it by itself is `noexec` as well.
_THERE = ("/run", "/var/run", "/run/lock", "/var/lock")
_DOCKER_TMPFS = "noexec"
_YES, _NO = ("", "1", "t", "true"), ("0", "f", "false")  # as Docker's ParseBool
_NAMED = {"kernel.hostname": "hostname", "kernel.domainname": "domainname"}
_ARCHITECTURES = {
    "amd64": "amd64",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "arm64": "arm64",
    "aarch64": "arm64",
}


def running_of(model: schema.Service, node: Node, faults: Faults) -> dict[str, Any]:
    """Return `command`, `entrypoint`, `process` and `system` of `model.Service`."""
    command = _command(model, "command", node, faults)
    entrypoint = _command(model, "entrypoint", node, faults)
    return {
        "command": command,
        "entrypoint": entrypoint,
        "process": _process(model, node, faults),
        "system": _system(model, node, faults),
    }


def _command(model: schema.Service, key: str, node: Node, faults: Faults) -> tuple[str, ...] | None:
    words: list[str] | None = getattr(model, key)
    if words and is_init(words[0]):
        place = place_of(node, (key,))
        faults.warn(f"{place}: {key}: {words[0]} is left out: a machine's first process is systemd")
        return None
    return None if words is None else tuple(words)


def _blamed(problem: str, node: Node, path: tuple[str | int, ...], faults: Faults, hint: str = "") -> bool:
    if problem:
        faults.add(place_of(node, path), f"{path[0]}: {problem}", hint)
    return bool(problem)


def _process(model: schema.Service, node: Node, faults: Faults) -> Process:
    drop = _capabilities(model.cap_drop or (), "cap_drop", node, faults)
    add = _capabilities(model.cap_add or (), "cap_add", node, faults)
    signal = (model.stop_signal or "").upper()
    if signal:
        try:
            check_signal(signal)
        except FlagError as error:
            _blamed(str(error), node, ("stop_signal",), faults, error.hint)
            signal = ""
    given = {
        "user": model.user or "",
        "stop_signal": signal
        if signal.startswith("SIG") or signal.isdigit() or not signal
        else f"SIG{signal}",
        "groups": tuple(dict.fromkeys(model.group_add or ())),
        "oom_score_adj": model.oom_score_adj or 0,
    }
    # One at a time, so that each fault has the place of its own key.
    for key, value in given.items():
        name = "group_add" if key == "groups" else key
        hint = (
            "Leave it out: what is killed first is this computer's choice." if key == "oom_score_adj" else ""
        )
        for problem in runtime.problems(Process(**{key: value}), System()):  # type: ignore[arg-type]
            _blamed(problem, node, (name,), faults, hint)
    return Process(
        **given,  # type: ignore[arg-type]
        working_dir=model.working_dir or "",
        cap_drop=drop,
        cap_add=tuple(name for name in add if drop),  # root in a machine has it anyway
        no_new_privileges=_security(model, node, faults),
    )


def _capabilities(given: Iterable[str], key: str, node: Node, faults: Faults) -> tuple[str, ...]:
    found = []
    for index, text in enumerate(given):
        name = text.strip().lower().removeprefix("cap_")
        hint = (
            "Leave it out; memory is locked within ulimits: {memlock: -1}."
            if name == "ipc_lock"
            else "Leave it out: what needs it is done on this computer, not in a machine."
        )
        if not _blamed(
            runtime.capability_problem(name, adding=key == "cap_add"),
            node,
            (key, index),
            faults,
            hint if name in runtime.FOREIGN_CAPABILITIES else "Capabilities are written as NET_RAW, or ALL.",
        ):
            found.append(name)
    known = [name for name in dict.fromkeys(found) if name == ALL or name in runtime.CAPABILITIES]
    return (ALL,) if ALL in known else tuple(sorted(known))


def _security(model: schema.Service, node: Node, faults: Faults) -> bool:
    without = False
    for index, text in enumerate(model.security_opt or ()):
        name, _, value = text.replace("=", ":", 1).partition(":")  # Docker takes both signs
        if name.strip() == "no-new-privileges":
            without = value.strip().lower() in _YES
            if not without and value.strip().lower() not in _NO:
                _blamed(
                    f"no-new-privileges is true or false, not {value!r}",
                    node,
                    ("security_opt", index),
                    faults,
                    "no-new-privileges:true",
                )
        elif name in ("seccomp", "apparmor", "label", "systempaths", "writable-cgroups", "credentialspec"):
            place = place_of(node, ("security_opt", index))
            faults.warn(
                f"{place}: security_opt: {text} has no effect: a machine has walls of its own, which hold"
            )
        else:
            _blamed(
                f"there is no option {name!r}",
                node,
                ("security_opt", index),
                faults,
                "no-new-privileges:true",
            )
    return without


def _system(model: schema.Service, node: Node, faults: Faults) -> System:
    return System(
        sysctls=_sysctls(model, node, faults),
        tmpfs=_tmpfs(model, node, faults),
        hosts=_checked("extra_hosts", model.extra_hosts or (), node, faults),
        # A dot is Docker's way to ask for no domains.
        dns_search=_resolved("dns_search", [w for w in model.dns_search or () if w != "."], node, faults),
        dns_options=_resolved("dns_opt", model.dns_opt or (), node, faults),
    )


def _resolved(key: str, given: Iterable[str], node: Node, faults: Faults) -> tuple[str, ...]:
    words = tuple(given)
    for word in words:
        for problem in runtime.problems(Process(), System(dns_options=(word,))):
            _blamed(problem, node, (key,), faults, "One word for each entry of the list.")
    return words


def _checked(key: str, given: Iterable[str], node: Node, faults: Faults) -> tuple[str, ...]:
    found = dict.fromkeys(given)
    for index, entry in enumerate(found):
        hint = "Write NAME=ADDRESS; host-gateway is the address of this computer."
        _blamed(runtime.host_problem(entry), node, (key, index), faults, hint)
    return tuple(found)


def _sysctls(model: schema.Service, node: Node, faults: Faults) -> tuple[tuple[str, str], ...]:
    found = {}
    for name, value in (model.sysctls or {}).items():
        path = ("sysctls", name)
        if value is None or not value.strip():
            _blamed(f"{name} has no value", node, path, faults)
            continue
        hint = f"Set it there for all machines: sysctl -w {name}={shlex.quote(value)}"
        if name in _NAMED:
            hint = f"Write {_NAMED[name]}: {value}"
        if not _blamed(runtime.sysctl_problem(name, value), node, path, faults, hint):
            found[name] = value.strip()
    return tuple(sorted(found.items()))


def _tmpfs(model: schema.Service, node: Node, faults: Faults) -> tuple[tuple[str, str], ...]:
    wanted: dict[str, tuple[str, Place, tuple[str | int, ...]]] = {}
    for path, options in (model.tmpfs or {}).items():
        wanted[path] = (
            _options(options or "", _DOCKER_TMPFS),
            place_of(node, ("tmpfs", path)),
            ("tmpfs", path),
        )
    for index, mount in enumerate(model.volumes or ()):
        if mount.type == "tmpfs":
            own = mount.tmpfs or schema.TmpfsMount()
            words = [f"size={own.size}"] * bool(own.size) + [f"mode={own.mode}"] * bool(own.mode)
            words += ["ro"] * mount.read_only
            at = ("volumes", index)
            wanted[mount.target] = (_options(",".join(words), _DOCKER_TMPFS), place_of(node, at), at)
    if model.shm_size:
        wanted[SHM] = (f"size={model.shm_size},mode=1777", place_of(node, ("shm_size",)), ("shm_size",))
    disks = {mount.target.rstrip("/") for mount in model.volumes or () if mount.type == "volume"}
    for path, (_, place, where) in wanted.items():
        if path.rstrip("/") in disks:
            faults.add(place, f"{where[0]}: a volume is mounted at {path} already", "Keep one of the two.")
    found: dict[str, str] = {}
    for path, (options, place, where) in wanted.items():
        plain = path.rstrip("/") or "/"
        if plain in _THERE:
            if "size=" in options:
                faults.warn(f"{place}: {where[0]}: {plain} is in memory already, and its size is not changed")
        elif not _blamed(runtime.tmpfs_problem(plain, options), node, where, faults):
            found[plain] = options
    return tuple(sorted(found.items()))


def _options(given: str, default: str) -> str:
    words = [
        word for word in given.split(",") if word and word not in ("rw", "suid", "dev", "nosuid", "nodev")
    ]
    if not any(word.startswith("mode=") for word in words):
        words.append("mode=1777")  # Docker's default
    if "exec" not in words and "noexec" not in words:
        words.append(default)
    return ",".join(word for word in words if word != "exec")  # what is not noexec is


def check_platform(given: Iterable[str], node: Node, path: tuple[str | int, ...], faults: Faults) -> None:
    """Note a fault where a service, or no platform of an image, is for this computer."""
    here = _ARCHITECTURES.get(platform.machine(), platform.machine())
    wanted = list(given)
    others = [text for text in wanted if _architecture(text, here) != here]
    if len(others) < len(wanted):
        for text in others:
            faults.warn(f"{place_of(node, path)}: {text} is left out: images are for this computer ({here})")
        return
    for text in wanted[:1]:
        faults.add(
            place_of(node, path),
            f"{text!r} is another kind of computer than this one (linux/{here})",
            "Leave it out: images are baked and run on this computer's architecture.",
        )


def _architecture(text: str, here: str) -> str:
    """Return the architecture of a platform, `linux/amd64/v2` or only `amd64`; nothing for another system."""
    words = text.lower().split("/")
    if len(words) == 1 and words[0] != "linux":
        return _ARCHITECTURES.get(words[0], words[0])
    if words[0] != "linux":
        return ""
    return _ARCHITECTURES.get(words[1], words[1]) if len(words) > 1 else here


def restart_of(model: schema.Service, node: Node, faults: Faults) -> str:
    """Return the restart policy; what `restart` and `deploy.restart_policy` say has to agree."""
    policy = model.deploy.restart_policy if model.deploy else None
    if policy is None:
        return model.restart or "no"
    attempts = f":{policy.max_attempts}" if policy.max_attempts else ""
    words: Mapping[str, str] = {"none": "no", "on-failure": f"on-failure{attempts}", "any": "always"}
    said = words.get(policy.condition, policy.condition)
    if said in ("always", "unless-stopped") and policy.max_attempts:
        place = place_of(node, ("deploy", "restart_policy", "max_attempts"))
        faults.warn(
            f"{place}: max_attempts has no effect with condition: {policy.condition}; on-failure counts"
        )
    if model.restart is not None and model.restart != said:
        # Any is both: there is no word of its own for unless-stopped.
        if model.restart in ("always", "unless-stopped") and said == "always":
            return model.restart
        place = place_of(node, ("restart",))
        faults.warn(f"{place}: restart: {model.restart} wins over deploy.restart_policy, which has {said}")
        return model.restart
    return said
