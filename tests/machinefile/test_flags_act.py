"""Every flag of every instruction and every option of every mount: it acts, or is refused with its line."""

from __future__ import annotations

import pytest

from stoneware.bake.runscript import mount_lines
from stoneware.errors import InputError
from stoneware.machinefile import mounts, syntax
from stoneware.machinefile.keys import StepInputs, step_key
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.recipe import Recipe, ResolvedBase, RunStep

# instruction, flag, what acts (compared with the instruction without it), what is refused
FLAGS = [
    ("FROM", "platform", [], ["--platform=linux/s390x"]),
    ("RUN", "network", ["--network=none"], ["--network=host", "--network=bridge"]),
    ("RUN", "security", [], ["--security=insecure", "--security=other"]),
    ("RUN", "device", [], ["--device=vendor.com/device=x"]),
    ("RUN", "mount", ["--mount=type=tmpfs,target=/t"], ["--mount=type=ssh", "--mount=type=other,target=/t"]),
    ("COPY", "chown", ["--chown=1:2"], []),
    ("COPY", "chmod", ["--chmod=0600"], ["--chmod=999"]),
    ("COPY", "from", ["--from=first"], ["--from=none", "--from=$X"]),
    ("COPY", "exclude", ["--exclude=*.md"], []),
    ("COPY", "link", ["--link"], ["--link=x"]),
    ("COPY", "parents", ["--parents"], []),
    ("ADD", "chown", ["--chown=1:2"], []),
    ("ADD", "chmod", ["--chmod=0600"], []),
    ("ADD", "checksum", [], ["--checksum=sha256:00", f"--checksum=sha256:{'0' * 64}"]),  # a local source
    ("ADD", "exclude", ["--exclude=*.md"], []),
    ("ADD", "link", ["--link"], []),
    ("ADD", "keep-git-dir", [], ["--keep-git-dir", "--keep-git-dir=true"]),
    ("ADD", "unpack", ["--unpack", "--unpack=false"], []),
    ("HEALTHCHECK", "interval", ["--interval=7s"], ["--interval=x"]),
    ("HEALTHCHECK", "timeout", ["--timeout=7s"], ["--timeout=-1s"]),
    ("HEALTHCHECK", "start-period", ["--start-period=7s"], ["--start-period=1"]),
    ("HEALTHCHECK", "start-interval", ["--start-interval=7s"], ["--start-interval=x"]),
    ("HEALTHCHECK", "retries", ["--retries=7"], ["--retries=-1"]),
]
REST = {"RUN": "true", "COPY": "a /a", "ADD": "a /a", "HEALTHCHECK": "CMD true", "FROM": "debian:12"}

# option, the mount types that it does something in, and a value other than the default
OPTIONS = {
    "type": ("bind cache secret tmpfs", ""),
    "from": ("bind", "first"),
    "source": ("bind secret", "s"),
    "target": ("bind cache secret tmpfs", "/other"),
    "readonly": ("cache", "true"),  # the default of bind and secret
    "readwrite": ("bind", "true"),  # the default of cache
    "id": ("cache secret", "other"),
    "sharing": ("cache", "locked"),
    "required": ("secret", "true"),
    "size": ("tmpfs", "1m"),
    "mode": ("cache secret", "0700"),
    "uid": ("cache secret", "7"),
    "gid": ("cache secret", "7"),
    "env": ("secret", "NAME"),
}
DEFAULTS = {("bind", "readonly"), ("secret", "readonly"), ("cache", "readwrite")}


def load(line: str) -> Recipe:
    text = f"FROM debian:12 AS first\nFROM debian:12\n{line}\n"
    return load_recipe(text, resolve_base=known, architecture="amd64")


def known(name: str) -> ResolvedBase | None:
    return ResolvedBase("base", "b") if name == "debian:12" else None


def meaning(recipe: Recipe) -> tuple[object, ...]:
    stage = recipe.target
    inputs = StepInputs("amd64")
    lines = [
        mount_lines(step.mounts, tuple("" for _ in step.mounts))
        for step in stage.steps
        if isinstance(step, RunStep)
    ]
    return stage.config, [step_key("", step, inputs) for step in stage.steps], lines


def refused(line: str) -> None:
    with pytest.raises(InputError) as caught:
        load(line)
    assert str(caught.value.location) == "Machinefile:3"
    assert caught.value.resolution


@pytest.mark.parametrize(("word", "flag", "acts", "refuses"), FLAGS, ids=lambda value: str(value)[:20])
def test_a_flag_acts_or_is_refused(word: str, flag: str, acts: list[str], refuses: list[str]) -> None:
    plain = meaning(load(f"{word} {REST[word]}"))
    for text in acts:
        assert meaning(load(f"{word} {text} {REST[word]}")) != plain, text
    for text in refuses:
        refused(f"{word} {text} {REST[word]}")


def test_no_flag_is_forgotten() -> None:
    tables = (syntax._TEXT_FLAGS, syntax._MANY_FLAGS, syntax._SWITCHES)
    parsed = {(word, flag) for table in tables for word, flags in table.items() for flag in flags}
    assert {(word, flag) for word, flag, _, _ in FLAGS} == parsed
    assert set(OPTIONS) == set(mounts._KEYS)


@pytest.mark.parametrize("kind", mounts._TYPES)
@pytest.mark.parametrize("option", [option for option in OPTIONS if option != "type"])
def test_a_mount_option_acts_or_is_refused(kind: str, option: str) -> None:
    types, value = OPTIONS[option]
    base = {"bind": "target=/t", "cache": "target=/t", "secret": "id=s", "tmpfs": "target=/t"}[kind]
    fields = [field for field in base.split(",") if not field.startswith(f"{option}=")]
    if (kind, option) == ("secret", "source"):
        fields, value = [], "other"
    line = f"RUN --mount={','.join([f'type={kind}', *fields, f'{option}={value}'])} true"
    if (kind, option) in DEFAULTS:
        assert meaning(load(line)) == meaning(load(f"RUN --mount=type={kind},{base} true"))
    elif kind in types.split():
        assert meaning(load(line)) != meaning(load(f"RUN --mount=type={kind},{base} true"))
    else:
        refused(line)


@pytest.mark.parametrize(
    "line",
    [
        "HEALTHCHECK --interval=1s NONE",
        "RUN --x=1 true",
        "RUN --mount=type=secret,id=a,readonly=false true",
    ],
)
def test_what_would_do_nothing_is_refused(line: str) -> None:
    refused(line)
