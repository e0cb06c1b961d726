from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import stoneware.guest
from stoneware.config import encode
from stoneware.config.contract import derive_contract
from stoneware.config.machine_rules import machine_rules

SCHEMA = {
    "properties": {
        "PORT": {"type": "integer", "minimum": 1},
        "RATIO": {"type": "number"},
        "TLS": {"type": "boolean"},
        "MODE": {"enum": ["fast", "two\nlines", 3, True]},
        "TABS": {"enum": ["a\tb", "c"]},
        "HOST": {"type": "string", "pattern": "^a"},
        "ANY": {"type": ["integer", "string"]},
        "LEVEL": {"$ref": "#/$defs/level"},
        "TOKEN": {"type": "integer", "secret": True},
        "STONEWARE_IP": {"writeOnly": True},
    },
    "$defs": {"level": {"type": "integer"}},
    "required": ["HOST", "MODE", "STONEWARE_NAME"],
}


def test_the_table():
    contract = derive_contract({}, {"MODE": "fast"}, SCHEMA)
    assert machine_rules(contract).splitlines() == [
        "HOST\trequired",
        "LEVEL\tinteger",
        "MODE\tenum\tfast",
        "MODE\tenum\ttwo\\nlines",
        "MODE\tenum\t3",
        "MODE\tenum\ttrue",
        "PORT\tinteger",
        "RATIO\tnumber",
        "TLS\tboolean",
        "TOKEN\tsecret",
        "TOKEN\tinteger",
    ]
    assert machine_rules(derive_contract({}, {}, None)) == ""


GOOD = {"HOST": "abc", "PORT": "-80", "RATIO": "1.5e3", "TLS": "true", "MODE": "two\nlines", "LEVEL": "0"}


@pytest.mark.tool
@pytest.mark.skipif(not shutil.which("mawk"), reason="needs mawk, which machines have")
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, []),
        ({"PORT": "x", "RATIO": "", "TLS": "yes", "LEVEL": "1.5"}, ["PORT", "RATIO", "TLS", "LEVEL"]),
        ({"MODE": "slow"}, ["MODE"]),
        ({"MODE": "3"}, []),
        ({"HOST": None}, ["HOST"]),
    ],
)
def test_the_boot_program_reads_it(tmp_path, changes, names):
    values = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    (tmp_path / "config").write_text(encode(values))
    (tmp_path / "contract").write_text(machine_rules(derive_contract({}, {}, SCHEMA)))
    merge = Path(stoneware.guest.__file__).parent / "merge.awk"
    words = [f"-vvalues={tmp_path}/values", f"-venvironment={tmp_path}/environment"]
    words += [f"-vcontract={tmp_path}/contract", "-f", str(merge), str(tmp_path / "config")]
    done = subprocess.run(["mawk", *words], capture_output=True, text=True, check=True)
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted(names)
    assert (tmp_path / "values").read_text() == encode(values)
