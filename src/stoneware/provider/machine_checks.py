"""What can be wrong with a configuration of `stoneware_machine`, as far as its values are known."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from stoneware.durations import LONGEST, parse_duration
from stoneware.errors import InputError
from stoneware.model import names, runtime
from stoneware.model.file_places import place_problem
from stoneware.model.limits import (
    DEFAULT_LOG_SIZE,
    Ulimit,
    cpus_problem,
    disk_problem,
    log_problem,
    memory_problem,
    pids_problem,
    ulimit_problem,
)
from stoneware.model.machine_fields import ENGINE_METADATA
from stoneware.model.mount_places import own_place
from stoneware.model.publishing import unpublishable
from stoneware.provider.machine_config import ATTRIBUTE
from stoneware.provider.resource import all_known
from stoneware.provider.values import Unknown

Problem = tuple[list[Any], str]  # the attribute's path, and the sentence about its value

_PATTERNS = {
    "name": (names.MACHINE.pattern, names.MACHINE.words),
    "source": (r"image:sha256:[0-9a-f]{64}|checkpoint:.+", "image:sha256:… or checkpoint:KEY"),
    "kind": (r"machine|builder", "machine or builder"),
    "hostname": (f"|{names.HOST.pattern}", f"a host name: {names.HOST.words}"),
    "restart": (
        r"no|always|unless-stopped|on-failure(:[0-9]{1,9})?",
        "no, always, unless-stopped or on-failure[:N]",
    ),
    "wait_for": (r"|running|healthy", "running or healthy"),
}
_MODE = (r"0?[0-7]{3}", "a file mode in octal digits")


def problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with a configuration, values that are not known yet left aside."""
    too_large = list(_too_large(config, []))
    if too_large:  # the other checks count with the numbers
        yield from too_large
        return
    for name, rule in _PATTERNS.items():
        yield from mismatch([name], config.get(name), rule)
    for key in sorted(ENGINE_METADATA & set(_keys(config.get("metadata")))):
        yield ["metadata", (key,)], f"the engine writes {key} itself"
    if config.get("config") is not None and ATTRIBUTE in _keys(config.get("metadata")):
        yield ["metadata", (ATTRIBUTE,)], f"{ATTRIBUTE} is what `config` becomes"
    for name in _keys(config.get("config")):
        yield from _config_problems(name, config["config"][name])
    timeout = config.get("stop_timeout")
    if _known(timeout) and not 0 < timeout <= LONGEST:
        yield ["stop_timeout"], f"{timeout:g} is not more than zero" if timeout <= 0 else "a year is the most"
    yield from _limit_problems(config)
    for index, port in enumerate(_items(config.get("ports"))):
        yield from _port_problems(["ports", (index,)], port)
    for index, volume in enumerate(_items(config.get("volumes"))):
        path = volume.get("path")
        if isinstance(path, str) and not path.startswith("/"):
            yield ["volumes", (index,), "path"], f"{path!r} is not an absolute path"
        elif isinstance(path, str) and (own := own_place(path)):
            yield ["volumes", (index,), "path"], f"{own} is the machine's own: no disk can be mounted there"
    yield from _secret_problems(config)
    yield from duration_problems(config.get("timeouts"))
    yield from _runtime_problems(config)


def _too_large(value: Any, path: list[Any]) -> Iterator[Problem]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path, "the number is too large"
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _too_large(item, [*path, name])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _too_large(item, [*path, (index,)])


def _secret_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    for index, secret in enumerate(_items(config.get("secrets"))):
        target = secret.get("target")
        if isinstance(target, str) and (problem := place_problem(target)):
            yield ["secrets", (index,), "target"], problem
        yield from mismatch(["secrets", (index,), "mode"], secret.get("mode"), _MODE)
        for name in ("uid", "gid"):
            if _known(secret.get(name)) and float(secret[name]) < 0:
                yield ["secrets", (index,), name], f"{secret[name]} is less than zero"


def _runtime_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    process, system = (config.get(name) for name in ("process", "system"))
    # Of what is known in part alone nothing is said yet.
    if all_known(process):
        for text in runtime.problems(runtime.process_of(process), runtime.System()):
            yield ["process"], text
    if all_known(system):
        for text in runtime.problems(runtime.Process(), runtime.system_of(system)):
            yield ["system"], text


def _limit_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    pids, size, files = (config.get(name) for name in ("pids_limit", "log_max_size", "log_max_file"))
    found = {
        "pids_limit": pids_problem(int(pids)) if _known(pids) else "",
        "disk": disk_problem(int(config["disk"])) if _known(config.get("disk")) else "",
        "memory": memory_problem(int(config["memory"])) if _known(config.get("memory")) else "",
        "cpus": cpus_problem(float(config["cpus"])) if _known(config.get("cpus")) else "",
        "log_max_size": log_problem(int(size), 1) if _known(size) else "",
        "log_max_file": log_problem(DEFAULT_LOG_SIZE, int(files)) if _known(files) else "",
    }
    for name, problem in found.items():
        if problem:
            yield [name], problem
    for index, item in enumerate(_items(config.get("ulimits"))):
        called, soft, hard = (item.get(key) for key in ("name", "soft", "hard"))
        if isinstance(called, str) and _known(soft) and hard is not Unknown:
            limit = Ulimit(called, int(soft), int(soft if hard is None else hard))
            if problem := ulimit_problem(limit):
                yield ["ulimits", (index,)], problem


def duration_problems(timeouts: Any) -> Iterator[Problem]:
    """Yield what is wrong with an attribute `timeouts`."""
    for name in _keys(timeouts):
        value = timeouts[name]
        if isinstance(value, str):
            try:
                parse_duration(value, name)
            except InputError as error:
                yield ["timeouts", name], f"{error.brief}; write it like 90s or 1m30s"


def mismatch(path: list[Any], value: Any, rule: tuple[str, str]) -> Iterator[Problem]:
    """Yield a problem where a known text does not have the form that a rule (pattern, words) asks for."""
    pattern, wanted = rule
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield path, f"{value!r} is not {wanted}"


def _config_problems(name: str, value: Any) -> Iterator[Problem]:
    if re.search(r"[\s=\0]", name) or not name:
        yield ["config", (name,)], f"{name!r} is not the name of a variable"
    if isinstance(value, str) and "\0" in value:
        yield ["config", (name,)], f"the value of {name} holds a NUL character"


def _port_problems(path: list[Any], port: Mapping[str, Any]) -> Iterator[Problem]:
    for name, lowest in (("machine_port", 1), ("host_port", 0)):
        value = port.get(name)
        if _known(value) and not (lowest <= float(value) <= 65535 and float(value).is_integer()):
            yield [*path, name], f"{value} is not a port"
    protocol = port.get("protocol")
    if isinstance(protocol, str) and protocol not in {"tcp", "udp"}:
        yield [*path, "protocol"], f"{protocol!r} is not tcp or udp"
    address = port.get("host_ip")
    if isinstance(address, str) and address and (why := unpublishable(address)):
        yield [*path, "host_ip"], why.rstrip(".")


def _known(value: Any) -> TypeGuard[float]:
    return value is not None and value is not Unknown


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, Mapping) else []


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
