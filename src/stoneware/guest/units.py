"""The files that are particular to one image: its service, environment, health check and description."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Protocol

from stoneware.durations import in_seconds, parse_duration
from stoneware.errors import InputError
from stoneware.model.labels import RELOAD_LABEL, STOP_TIMEOUT_LABEL

IMAGE_DIRECTORY = "/usr/lib/stoneware/image"
_UNITS = "/etc/systemd/system"
_STOP_LABEL = f"LABEL {STOP_TIMEOUT_LABEL}"
_OUTPUT = "stoneware-output.service"
_TIMES = ("interval", "timeout", "start_period", "start_interval")
_DEFAULT_TIMES = (30.0, 30.0, 0.0, 5.0)  # Docker's own
_DEFAULT_RETRIES = 3
# Units of every machine, which a service of the image's name must not replace.
_TAKEN = re.compile(
    r"(stoneware|systemd|dbus|getty|console-getty|user|emergency|rescue|initrd)([-@.].*)?|.*\.target"
)


class HealthSettings(Protocol):
    """What is needed of a HEALTHCHECK; times in seconds, `test` None for HEALTHCHECK NONE."""

    @property
    def test(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def interval(self) -> float: ...  # noqa: D102
    @property
    def timeout(self) -> float: ...  # noqa: D102
    @property
    def start_period(self) -> float: ...  # noqa: D102
    @property
    def start_interval(self) -> float: ...  # noqa: D102
    @property
    def retries(self) -> int: ...  # noqa: D102


class ImageSettings(Protocol):
    """What is needed of an image's configuration (machinefile.recipe.ImageConfig has it all)."""

    @property
    def env(self) -> tuple[tuple[str, str], ...]: ...  # noqa: D102
    @property
    def user(self) -> str: ...  # noqa: D102
    @property
    def workdir(self) -> str: ...  # noqa: D102
    @property
    def shell(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def entrypoint(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def cmd(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def healthcheck(self) -> HealthSettings | None: ...  # noqa: D102
    @property
    def volumes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def ports(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def labels(self) -> tuple[tuple[str, str], ...]: ...  # noqa: D102
    @property
    def stop_signal(self) -> str: ...  # noqa: D102


def image_files(
    config: ImageSettings, name: str, version: str, commit: str | None
) -> dict[str, tuple[int, bytes]]:
    """Return the files the seal lays over the image: absolute path to (mode, content).

    The service, where there is an ENTRYPOINT or CMD, is enabled by the seal (it reads `service`). Raises
    InputError for a label or a STOPSIGNAL that means nothing.
    """
    labels = dict(config.labels)
    texts = {
        "name": f"{name}\n",
        "version": f"{version}\n",
        "commit": f"{commit or ''}\n",
        "env": encode(config.env),
        "process": f"user={shlex.quote(config.user)} workdir={shlex.quote(config.workdir or '/')}\n",
        "volumes": "".join(f"{path}\n" for path in config.volumes),
        "ports": "".join(f"{port}\n" for port in config.ports),
        **_health_files(config.healthcheck),
    }
    if labels.get(RELOAD_LABEL):
        # As RUN's, the text is for the shell of the image.
        texts["reload.argv"] = _argv([*config.shell, labels[RELOAD_LABEL]])
    files = {f"{IMAGE_DIRECTORY}/{key}": text for key, text in texts.items()}
    unit = service_unit(config, name)
    if unit:
        files[f"{IMAGE_DIRECTORY}/service"] = f"{unit}\n"
        files[f"{IMAGE_DIRECTORY}/service.argv"] = _argv([*config.entrypoint, *config.cmd])
        files[f"{_UNITS}/{unit}"] = _unit_text(config, unit, f"{name} {version}".strip(), labels)
        files[f"{_UNITS}/{_OUTPUT}"] = _output_text(unit)
    # The list is one of them: a seal that lays down its own removes this one as well.
    files[f"{IMAGE_DIRECTORY}/owned"] = _owned([*files, f"{IMAGE_DIRECTORY}/owned"], unit)
    return {path: (0o644, text.encode(errors="surrogateescape")) for path, text in files.items()}


def service_unit(config: ImageSettings, name: str) -> str:
    """Return the name of the image's service, empty where it has neither ENTRYPOINT nor CMD."""
    if not (config.entrypoint or config.cmd):
        return ""
    # A unit's name has no slash, and that of an image may.
    plain = re.sub(r"[^A-Za-z0-9:_.\-]", "-", name)
    return f"image-{plain}.service" if _TAKEN.fullmatch(plain) else f"{plain}.service"


def encode(values: Sequence[tuple[str, str]] | Mapping[str, str]) -> str:
    r"""Return variables as the boot agent reads them: sorted KEY=VALUE lines with `\\`, `\n` and `\r`."""
    table = dict(values)
    lines = []
    for key in sorted(table):
        value = table[key].replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{key}={value}\n")
    return "".join(lines)


def _argv(argv: Sequence[str]) -> str:
    return f"set -- {shlex.join(argv)}\n"


def _health_files(check: HealthSettings | None) -> dict[str, str]:
    if check is None or not check.test:
        return {}
    times = {key: getattr(check, key) for key in _TIMES}
    return {"healthcheck": _health_line(times, check.retries), "healthcheck.argv": _argv(check.test)}


def _health_line(seconds: Mapping[str, float], retries: int) -> str:
    # Whole milliseconds: a shell has no fractions.
    words = [f"{key}={max(round(seconds[key] * 1000), 0)}" for key in _TIMES]
    return " ".join([*words, f"retries={max(retries, 1)}"]) + "\n"


def health_override(
    test: Sequence[str] = (),
    *,
    interval: float | None = None,
    timeout: float | None = None,
    start_period: float | None = None,
    start_interval: float | None = None,
    retries: int | None = None,
    disabled: bool = False,
    image_check: HealthSettings | None = None,
) -> str:
    """Return the attribute `stoneware-healthcheck` of a machine with a health check other than its image's.

    Times are in seconds; what is None is as in the image's check, else as Docker has it. An empty `test` is
    the image's; where neither has one, or `disabled`, the machine has no health check: `none`.
    """
    given = dict(zip(_TIMES, (interval, timeout, start_period, start_interval), strict=True))
    inherited = image_check if image_check is not None and image_check.test else None
    if disabled or not (test or inherited):
        return "none\n"
    times = {
        key: value if value is not None else getattr(inherited, key, default)
        for (key, value), default in zip(given.items(), _DEFAULT_TIMES, strict=True)
    }
    if retries is None:
        retries = inherited.retries if inherited else _DEFAULT_RETRIES
    return _health_line(times, retries) + (_argv(test) if test else "")


def _unit_text(config: ImageSettings, unit: str, description: str, labels: Mapping[str, str]) -> str:
    # The drop-in that makes it wait for the boot agent is the one every unit of an image gets (seal.sh).
    # A `%` begins a specifier in units.
    shown = re.sub(r"[^\x20-\x7e]", " ", description).replace("%", "%%")
    return f"""\
[Unit]
Description={shown}
Wants={_OUTPUT}
ConditionPathExists=!/run/stoneware/no-service

[Service]
Type=exec
# USER, WORKDIR, ENV and the machine's configuration are applied by service-exec, and its output, a pipe.
ExecStart=/usr/lib/stoneware/service-exec service
ExecStopPost=-/usr/lib/stoneware/stoneware-report ended %n
KillSignal={_signal(config.stop_signal)}
KillMode=mixed
TimeoutStopSec={in_seconds(parse_duration(labels.get(STOP_TIMEOUT_LABEL, "90"), _STOP_LABEL))}
SuccessExitStatus=143
Restart=no
TasksMax=infinity
SyslogIdentifier={unit.removesuffix(".service")}
StandardOutput=journal+console
StandardError=journal+console
LogRateLimitIntervalSec=0

[Install]
WantedBy=multi-user.target
"""


def _output_text(unit: str) -> str:
    """Return the unit that passes on what the service says, under the service's name in the journal."""
    return f"""\
[Unit]
Description=Pass on what {unit} says
DefaultDependencies=no
# Before the service at the start, so after it at the end.
Before={unit}
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStart=/usr/lib/stoneware/stoneware-output
KillMode=mixed
TimeoutStopSec=10
Restart=always
RestartSec=0
StandardOutput=journal+console
StandardError=journal+console
SyslogIdentifier={unit.removesuffix(".service")}
LogExtraFields=OBJECT_SYSTEMD_UNIT={unit}
LogRateLimitIntervalSec=0
"""


def _signal(text: str) -> str:
    name = (text or "SIGTERM").upper()
    if re.fullmatch(r"\d{1,2}", name):
        return name
    name = name if name.startswith("SIG") else f"SIG{name}"
    if not re.fullmatch(r"SIG([A-Z]+[0-9]?|RTM(IN\+|AX-)\d{1,2})", name):
        raise InputError(f"STOPSIGNAL {text!r} is not a signal", resolution="for example: STOPSIGNAL SIGQUIT")
    return name


def _owned(paths: Sequence[str], unit: str) -> str:
    """List what the seal of an image built FROM this one removes before it lays down its own."""
    extra = (
        [f"{_UNITS}/{unit}.d/50-stoneware.conf", f"{_UNITS}/multi-user.target.wants/{unit}"] if unit else []
    )
    return "".join(f"{path}\n" for path in sorted([*paths, *extra]))
