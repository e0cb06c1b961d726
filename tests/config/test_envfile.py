from __future__ import annotations

import json
from pathlib import Path

import pytest

from stoneware.config import given_values, parse_assignments, parse_env_file
from stoneware.errors import InputError

CASES = json.loads((Path(__file__).parent / "cases" / "envfile.json").read_text())
HOST = {"FROM_HOST": "from the host", "EMPTY_HOST": ""}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_env_files(case, tmp_path):
    path = tmp_path / "machine.env"
    path.write_bytes(case["text"].encode() if "text" in case else case["latin1"].encode("latin-1"))
    if "values" in case:
        assert parse_env_file(path, HOST) == case["values"]
        return
    with pytest.raises(InputError) as caught:
        parse_env_file(path, HOST)
    error = caught.value
    if len(case["faults"]) == 1:
        assert f"{error.location}: {error.brief}" == f"{path}:{case['faults'][0]}"
    else:
        assert error.details.split("\n") == [f"{path}:{fault}" for fault in case["faults"]]
        assert (
            f"{error.location}: {error.brief}"
            == f"{path}: the env file has {len(case['faults'])} faulty lines"
        )
    assert "KEY=value" in error.resolution


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError) as caught:
        parse_env_file(tmp_path / "no.env")
    assert "no.env" in caught.value.brief
    assert caught.value.details == "No such file or directory"


def test_assignments():
    words = ["A=1", "B=", "C=x=y", "FROM_HOST", "EMPTY_HOST", "NOT_THERE", "A=2 "]
    assert parse_assignments(words, HOST) == {
        "A": "2 ",
        "B": "",
        "C": "x=y",
        "FROM_HOST": "from the host",
        "EMPTY_HOST": "",
    }


@pytest.mark.parametrize("word", ["=x", "", "A B=1", " "])
def test_assignments_need_a_name(word):
    with pytest.raises(InputError) as caught:
        parse_assignments([word], HOST)
    assert caught.value.resolution == "-e NAME=value"


def test_the_process_environment_is_the_host(monkeypatch, tmp_path):
    monkeypatch.setenv("SW_TEST_VALUE", "here")
    (tmp_path / "e").write_text("SW_TEST_VALUE\n")
    assert parse_env_file(tmp_path / "e") == parse_assignments(["SW_TEST_VALUE"]) == {"SW_TEST_VALUE": "here"}


def test_options_win_over_files_and_later_over_earlier(tmp_path):
    (tmp_path / "1").write_text("A=1\nB=1\nC=1\n")
    (tmp_path / "2").write_text("B=2\nC=2\n")
    assert given_values([tmp_path / "1", tmp_path / "2"], ["C=3"]) == {"A": "1", "B": "2", "C": "3"}
