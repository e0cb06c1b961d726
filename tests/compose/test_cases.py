"""Whole cluster files: what they mean, what is wrong with them and where, and that they survive `config`."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.compose.faults import ClusterFileError
from stoneware.compose.load import load_cluster
from stoneware.compose.resolved import to_document, to_yaml
from tests.compose.support import ENVIRONMENT, Case, as_data, differences, load, read_cases, write

GOOD = read_cases("clusters", "merging", "variables", "running", "joining")
BAD = read_cases("faults", "conflicts")


@pytest.mark.parametrize("case", GOOD)
def test_meaning(case: Case, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    write(case, home)
    cluster = load(case, home)
    assert differences(case.want, as_data(cluster, home)) == []
    assert list(cluster.warnings) == (case.warnings or [])


@pytest.mark.parametrize("case", GOOD)
def test_the_resolved_file_means_the_same(case: Case, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    write(case, home)
    cluster = load(case, home)
    text = to_yaml(to_document(cluster))
    (home / "resolved.yaml").write_text(text)
    secrets = {each.variable: each.value.reveal() for each in cluster.secrets.values() if each.value}
    again = load_cluster([Path("resolved.yaml")], directory=home, environment=secrets)
    wanted, got = as_data(cluster), as_data(again)
    for each in (wanted, got):
        del each["files"], each["warnings"], each["directory"]
    assert got == wanted
    assert to_yaml(to_document(again)) == text


@pytest.mark.parametrize("case", BAD)
def test_faults(case: Case, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    write(case, home)
    with pytest.raises(ClusterFileError) as caught:
        load(case, home)
    error = caught.value
    shown = [str(fault).replace("\n  →", " →") for fault in error.faults]
    assert shown == case.faults
    assert error.exit_code == 2
    assert error.location == str(error.faults[0].place)
    assert error.brief in (error.faults[0].reason, f"the cluster has {len(shown)} faults")
    if len(shown) > 1:
        assert all(str(fault) in error.details for fault in error.faults)
    assert ENVIRONMENT["TOKEN"] not in error.details + error.brief
