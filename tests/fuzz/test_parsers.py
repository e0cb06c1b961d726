"""Each parser of user or guest input takes anything: it accepts it, or raises a StonewareError.

Inputs are valid ones, mutated, besides random ones. The number of examples bounds the time of all of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoneware.bake.seal_report import describe_seal
from stoneware.cluster.tfvars import from_tfvars
from stoneware.compose.dotenv import parse_env
from stoneware.compose.load import load_cluster
from stoneware.compose.mounts import parse_mount
from stoneware.config.encoding import decode
from stoneware.config.envfile import parse_assignments, parse_env_file
from stoneware.config.schema import check_schema, load_schema, violations
from stoneware.durations import parse_duration
from stoneware.errors import InputError, StonewareError
from stoneware.image.references import parse_reference
from stoneware.launch import flags
from stoneware.machinefile.ignore import read_ignore
from stoneware.machinefile.load import load_recipe
from stoneware.machinefile.recipe import ImageConfig, ResolvedBase
from stoneware.model import limits
from stoneware.platforms.cluster_files import FileLog
from stoneware.platforms.local.store.pool import parse_size
from stoneware.records import DamagedError, read_record
from stoneware.rollout.journal import Journal
from stoneware.terraform.statefile import managed_addresses, tainted_addresses
from stoneware.untrusted.bounded import BoundsError, bounded_json
from stoneware.untrusted.visible import json_text, visible, without_sequences

fuzz = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
WILD = st.characters(codec=None) | st.sampled_from("\0\x1b\r\n\t\\$\"'{}[]:#&*!|<>\ud800\u202e\ufeff ")
TEXT = st.text(WILD, max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: Callable[[Any], Any], valid: str) -> str:
    """Return a valid text with some pieces cut out, doubled, swapped, or replaced by wild ones."""
    text = valid
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        piece = draw(TEXT | st.just(text[start:end] * 3) | st.just("") | st.just("${A-" * 40))
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def changed(draw: Callable[[Any], Any], valid: Any) -> Any:
    """Return valid JSON data with one value somewhere in it replaced, or left out."""
    value = json.loads(json.dumps(valid))
    where = value
    while isinstance(where, dict | list) and where:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        key = draw(st.sampled_from(keys))
        if not isinstance(where[key], dict | list) or not where[key] or draw(st.booleans()):
            if draw(st.booleans()):
                where[key] = draw(JSON)
            else:
                del where[key]
            break
        where = where[key]
    return value


def tolerant(parse: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Run a parser; whatever it refuses, it refuses in words that can be shown."""
    try:
        parse(*arguments, **options)
    except StonewareError as error:
        if not error.brief:
            raise AssertionError("an error without words") from error
        json_text([error.brief, error.details, error.location, error.resolution]).encode()


MACHINEFILE = """\
# syntax=docker/dockerfile:1
ARG VERSION=1.2
FROM debian:12 AS base
ENV A="x y" B=${VERSION:-1} C=$A
RUN --mount=type=cache,target=/var/cache --mount=type=secret,id=s apt-get update && \\
    apt-get install -y nginx
COPY --chown=root:root --chmod=0644 <<END <<-"TWO" /etc/
body $A
END
	two
TWO
FROM base
LABEL a=b "c d"='e'
HEALTHCHECK --interval=5s --retries=3 CMD ["curl", "-f", "localhost"]
EXPOSE 80/tcp
VOLUME ["/data"]
USER www-data:www-data
CMD ["nginx", "-g", "daemon off;"]
"""


@fuzz
@given(mutated(MACHINEFILE) | TEXT)
def test_machinefile(text: str) -> None:
    tolerant(load_recipe, text, resolve_base=lambda _: ResolvedBase("base", "x"))


@fuzz
@given(mutated("# comment\n**/*.py\n!keep/[a-z]*.py\n/dir/\n\\#x\n"), st.lists(TEXT, max_size=3))
def test_ignore_file(text: str, paths: list[str]) -> None:
    def parse() -> None:
        found = read_ignore(text, ".dockerignore")
        for path in paths:
            found.matches(path)

    tolerant(parse)


CLUSTER = """\
name: web
x-common: &common
  image: hello:latest
  environment: {GREETING: "hi ${WHO:-you}"}
services:
  web:
    <<: *common
    deploy: {replicas: 3, resources: {limits: {memory: 512M, cpus: "0.5"}}}
    ports: ["8080:80", "127.0.0.1:9000-9002:9000-9002/tcp"]
    healthcheck: {test: [CMD, "true"], interval: 1m30s}
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres:16
    volumes: ["data:/var/lib/postgresql"]
    secrets: [password]
volumes: {data: {}}
secrets: {password: {environment: PASSWORD}}
"""


@fuzz
@given(mutated(CLUSTER) | TEXT)
def test_cluster_file(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "machines.yaml")
        path.write_bytes(text.encode(errors="surrogatepass"))
        tolerant(load_cluster, None, directory=Path(directory), environment={"PASSWORD": "x"})


@fuzz
@given(mutated("A=1\nexport B='two'\nC=\"x ${A:-y} \\n\"\n# c\nD\n") | TEXT)
def test_dotenv(text: str) -> None:
    tolerant(parse_env, text, {"D": "d"}, lambda _: None, "x.env")


@fuzz
@given(mutated("A=1\nB=two words \n# c\nHOME\n"), st.lists(TEXT, max_size=3))
def test_env_file_and_assignments(text: str, words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.env")
        path.write_bytes(text.encode(errors="surrogatepass"))
        tolerant(parse_env_file, path)
    tolerant(parse_assignments, words)


SCHEMA = {
    "type": "object",
    "properties": {
        "PORT": {"$ref": "#/$defs/port", "default": 80},
        "NAME": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2},
        "MODE": {"enum": ["a", "b", 3]},
    },
    "required": ["NAME"],
    "if": {"properties": {"MODE": {"const": "a"}}},
    "then": {"required": ["PORT"]},
    "dependentRequired": {"MODE": ["NAME"]},
    "additionalProperties": False,
    "$defs": {"port": {"type": "integer", "minimum": 1, "multipleOf": 0.5}},
}


@fuzz
@given(changed(SCHEMA) | JSON, st.dictionaries(st.sampled_from(["PORT", "NAME", "MODE", "X"]), TEXT))
def test_schema(schema: Any, values: dict[str, str]) -> None:
    def parse() -> None:
        check_schema(schema)
        violations(schema, values)

    tolerant(parse)


@fuzz
@given(st.binary(max_size=60) | mutated(json.dumps(SCHEMA)).map(lambda text: text.encode(errors="replace")))
def test_schema_as_text(text: bytes) -> None:
    tolerant(load_schema, text)


@fuzz
@given(
    st.dictionaries(
        st.sampled_from(["files.sum", "packages.tsv", "services.tsv", "etc/stoneware/config.schema.json"]),
        st.binary(max_size=50)
        | mutated("0" * 64 + " 3 40\n").map(lambda text: text.encode(errors="replace"))
        | mutated("a\t1\tamd64\nb\t2\tall\n").map(lambda text: text.encode(errors="replace")),
    )
)
def test_sealed_results(files: dict[str, bytes]) -> None:
    tolerant(describe_seal, files, ImageConfig(), ())


RECORD = {
    "id": "m1",
    "created": 1.0,
    "started": 2.0,
    "boot": "x",
    "ports": [{"host_ip": "0.0.0.0", "host_port": 1, "machine_port": 2, "protocol": "tcp"}],
}


@fuzz
@given(st.binary(max_size=60) | changed(RECORD).map(lambda value: json.dumps(value).encode()))
def test_records(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "machines", "x", "state.json")
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        fault: DamagedError | None = None
        try:
            found = read_record(path)
        except DamagedError as error:
            fault = error
        if fault is not None:
            assert "rm -f x" in fault.resolution
        else:
            assert found is not None
            assert isinstance(found["id"], str)
            assert read_record(path) == found, "read again, it is not checked again"


MACHINE = {
    "name": "web-1",
    "source": "image:sha256:0",
    "labels": {"stoneware.service": "web"},
    "metadata": {},
    "volumes": [{"volume": "a", "path": "/a", "read_only": False}],
    "depends_on": {"db": "service_started"},
}
TFVARS = {"machines": {"web-1": MACHINE}, "volumes": {"a": {"labels": {}}}, "networks": {"n": {"labels": {}}}}


@fuzz
@given(changed(TFVARS))
def test_tfvars(value: Any) -> None:
    tolerant(from_tfvars, "web", value)


STATE = {
    "version": 4,
    "resources": [
        {
            "mode": "managed",
            "type": "t",
            "name": "n",
            "module": "module.m",
            "instances": [{"index_key": "a", "status": "tainted"}],
        }
    ],
}


@fuzz
@given(st.binary(max_size=40) | changed(STATE).map(lambda value: json.dumps(value).encode()))
def test_terraform_state(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "terraform.tfstate").write_bytes(data)
        managed_addresses(Path(directory))
        tainted_addresses(Path(directory))


EVENT = {"v": 1, "time": 1.0, "rollout": "r1", "event": "begun", "machines": ["a"], "plan": {"x": 1}}


@fuzz
@given(st.binary(max_size=60) | changed(EVENT).map(lambda value: json.dumps(value).encode() + b"\n"))
def test_journal(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "journal")
        path.write_bytes(data)
        tolerant(Journal(FileLog(path)).read)


@fuzz
@given(mutated("KEY=value\\n\nB=\\\\x\n") | TEXT)
def test_runtime_config(text: str) -> None:
    tolerant(decode, text)


@pytest.mark.parametrize(
    "valid",
    ["1h30m", "1.5T", "name/x:tag", "127.0.0.1:80-81:80-81/udp", "data:/x:ro", "nofile=1:2", "on-failure:3"],
)
@fuzz
@given(data=st.data())
def test_words(valid: str, data: st.DataObject) -> None:
    word = data.draw(mutated(valid) | TEXT | st.integers().map(lambda number: valid + str(number) * 300))
    tolerant(parse_duration, word, "x")
    tolerant(parse_size, word)
    tolerant(limits.parse_size, word)
    tolerant(limits.parse_ulimit, word)
    tolerant(limits.parse_log_options, {"max-size": word, "max-file": word})
    tolerant(flags.parse_port, word)
    tolerant(flags.parse_volume, word)
    tolerant(flags.parse_restart, word)
    tolerant(parse_mount, word)
    tolerant(parse_reference, word)


@fuzz
@given(JSON | TEXT, st.binary(max_size=60))
def test_json_and_what_is_shown(value: Any, raw: bytes) -> None:
    for text in (json.dumps(value), raw):
        try:
            found = bounded_json(text)
        except BoundsError:
            continue
        json.loads(json_text(found).encode().decode())
    shown = str(value)
    assert all(sign.isprintable() or sign.isspace() for sign in visible(shown))
    assert "\x1b[" not in visible(without_sequences(shown))


def test_an_error_without_words_is_a_fault() -> None:
    def parse() -> None:
        raise InputError("")

    with pytest.raises(AssertionError):
        tolerant(parse)
