from __future__ import annotations

import re

import pytest

from stoneware.platforms.google import labels

LABEL = re.compile(r"[a-z0-9_-]{0,63}")
NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64, "0123456789abcdef" * 4])
def test_digests_fit_into_labels_and_come_back(digest: str) -> None:
    label = labels.of_digest(f"sha256:{digest}")
    assert LABEL.fullmatch(label)
    assert labels.to_digest(label) == digest


@pytest.mark.parametrize("label", ["", "a", "A" * 52, "1" * 52, "a" * 51, "a" * 60, "ü" * 52])
def test_what_is_no_digest_is_none(label: str) -> None:
    assert labels.to_digest(label) in (None, "0" * 64)
    if label != "A" * 52:
        assert labels.to_digest(label) is None


@pytest.mark.parametrize("text", ["kafka", "team/kafka_4.2", "9lives", "a" * 128, "x" * 60 + "---y", "é"])
def test_names_and_labels_are_what_google_takes(text: str) -> None:
    assert NAME.fullmatch(labels.of_name(text))
    assert LABEL.fullmatch(labels.of_text(text))
    for commit in (None, "0123456789" * 4):
        for number in (1, 2, 99):
            name = labels.image_name(text, commit, "k" * 64, number)
            assert NAME.fullmatch(name)
            assert "kkkkkkkk" in name


def test_an_image_is_named_after_its_commit_and_key() -> None:
    key = "0123456789abcdef" * 4
    assert labels.image_name("team/kafka", "fedcba98" * 5, key) == "team-kafka-fedcba9-01234567"
    assert labels.image_name("kafka", None, key, 2) == "kafka-01234567-2"
