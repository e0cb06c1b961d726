"""Whatever a file holds: a cluster or an InputError, never anything else; and what is large stays quick."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stoneware.compose.faults import ClusterFileError
from stoneware.compose.load import load_cluster
from stoneware.compose.model import Cluster
from stoneware.compose.resolved import to_document, to_yaml
from stoneware.errors import InputError
from stoneware.ui.errors import render_error
from tests.compose.support import as_data, read_cases
from tests.words import LETTERS, words

TEXTS = [
    text
    for entry in read_cases("clusters", "merging", "variables", "faults")
    for text in entry.values[0].files.values()
]
shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)


def read(directory: Path, text: str) -> Cluster:
    (directory / "machines.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    return load_cluster(None, directory=directory, environment={"TOKEN": "t"}, project_name="demo")


def check_any(directory: Path, text: str) -> None:
    try:
        cluster = read(directory, text)
    except InputError as error:
        shown = render_error(error)
    else:
        shown = to_yaml(to_document(cluster))
    assert shown


@shared
@given(
    text=st.sampled_from(TEXTS),
    cuts=st.lists(
        st.tuples(
            st.integers(0, 2000), st.integers(0, 30), st.text("{}[]:-,&*!|>'\"$#\n\t x<~%@`1é", max_size=6)
        )
    ),
)
def test_damaged_files(tmp_path: Path, text: str, cuts: list[tuple[int, int, str]]) -> None:
    for at, length, instead in cuts:
        text = text[:at] + instead + text[at + length :]
    check_any(tmp_path, text)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("{{.Task.Slot}}")
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = [
    *("image", "build", "hostname", "environment", "env_file", "volumes", "ports", "depends_on", "secrets"),
    *("networks", "stop_grace_period", "healthcheck", "read_only", "mem_limit", "cpus", "restart", "labels"),
    *("deploy", "expose", "x-google", "command", "pids_limit", "ulimits", "logging", "storage_opt"),
]
wild = st.one_of(
    anything,
    st.fixed_dictionaries(
        {
            "services": st.dictionaries(
                st.sampled_from(["web", "db"]), st.dictionaries(st.sampled_from(KEYS), anything, max_size=4)
            )
        },
        optional=dict.fromkeys(("networks", "volumes", "secrets", "name", "x-y"), anything),
    ),
)


@shared
@given(document=wild)
@example(document={"services": {"web": {"image": "x", "ports": [{"target": {}}]}}})
@example(document={"services": {"web": {"deploy": {"resources": {"limits": None}}, "secrets": [None]}}})
def test_any_value_anywhere(tmp_path: Path, document: Any) -> None:
    check_any(tmp_path, to_yaml(document))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@shared
@given(values=st.dictionaries(words(LETTERS, string.digits, 5), texts), label=texts)
@example(
    values={"A": "\x85\u2028\ufeff \t", "B": "\x07\x1b", "C": "😀", "D": "a\r\nb\r", "E": "0o17"}, label="="
)
def test_any_text_survives_the_resolved_file(tmp_path: Path, values: dict[str, str], label: str) -> None:
    plain = {key: value.replace("{{", "{ {") for key, value in values.items()}
    escaped = {key: value.replace("$", "$$") for key, value in plain.items()}
    service = {"image": "x", "environment": escaped, "labels": {"l": label.replace("$", "$$")}}
    document = {"services": {"web": service}}
    cluster = read(tmp_path, to_yaml(document))
    assert cluster.machines[0].environment == plain
    assert cluster.machines[0].labels == {"l": label}
    again = read(tmp_path, to_yaml(to_document(cluster)))
    assert as_data(again) == as_data(cluster)


def bombs() -> str:
    """Return anchors that would be ten thousand million values if they were written out."""
    rows = ["a0: &a0 [1]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    return "\n".join(rows)


HOSTILE = {
    "flow": ("[" * 100_000, "nested deeper than 64 levels"),
    "block": ("- " * 100_000, "nested deeper than 64 levels"),
    "mappings": ("a: " + "{a: " * 20, "no YAML: "),
    "nul": ("\x00", "no YAML: "),
    "control": ("a: \x07", "no YAML: "),
    "aliases": (bombs(), "with its aliases the file has more than 1000000 values"),
    "cycle": ("services: &s\n  web: {<<: *s}\n", "the anchor &s contains itself"),
    "version": ("%YAML 9.9\n---\na: 1\n", "no YAML: found incompatible YAML document"),
}


@pytest.mark.parametrize(("text", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ClusterFileError) as caught:
        read(tmp_path, text)
    assert reason in caught.value.faults[0].reason


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "machines.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(InputError, match=r"machines\.yaml is not UTF-8"):
        load_cluster(None, directory=tmp_path, environment={})


def test_a_thousand_machines(tmp_path: Path) -> None:
    body = (
        "    image: kafka:4.1\n    hostname: '{{.Service.Name}}-{{.Task.Slot}}'\n"
        "    environment: {ID: '{{.Task.Slot}}', A: '${B:-c}'}\n"
        "    ports: ['9092']\n    volumes: ['data:/d']\n"
    )
    one = f"services:\n  kafka:\n{body}    deploy: {{replicas: 1000}}\nvolumes: {{data: }}\n"
    chain = "".join(
        f"  s{n}x:\n{body}    deploy: {{replicas: 10}}\n" + f"    depends_on: [s{n - 1}x]\n" * (n > 0)
        for n in reversed(range(100))
    )
    cluster = read(tmp_path, one)
    assert len(cluster.machines) == len(cluster.volumes) == 1000
    assert cluster.machines[999].environment == {"ID": "1000", "A": "c"}
    chained = read(tmp_path, f"services:\n{chain}volumes: {{data: }}\n")
    assert len(chained.machines) == 1000
    assert list(chained.services) == [f"s{n}x" for n in range(100)]


def test_a_fault_of_a_thousand_machines_is_told_once(tmp_path: Path) -> None:
    service = "{image: x, hostname: same, ports: ['80:80'], deploy: {replicas: 1000}}"
    text = f"services:\n  web: {service}\n"
    with pytest.raises(ClusterFileError) as caught:
        read(tmp_path, text)
    assert [fault.reason for fault in caught.value.faults] == [
        "the host name 'same' is that of web-1, web-2 and 998 others",
        "the port 80/tcp of this computer is published by web-1, web-2 and 998 others",
    ]


@pytest.mark.parametrize("mark", ["\ue005", "\U000f0005", "\U000ffffd"])
@pytest.mark.parametrize("key", ["ports", "volumes"])
def test_characters_that_could_stand_for_templates(tmp_path: Path, key: str, mark: str) -> None:
    for value in (f"{mark}:80", f"{mark}${{TOKEN}}:80"):
        check_any(tmp_path, f'services: {{web: {{image: web, {key}: ["{value}"]}}}}')
