from __future__ import annotations

import pytest

from stoneware import process
from stoneware.config import Secret, TemplateError, Variable, render_file, render_template, variables_of
from stoneware.config import render as rendering
from stoneware.errors import HostError, InputError
from tests.config.awks import PRESENT

pytestmark = pytest.mark.tool
EVERY_BYTE = bytes(byte for byte in range(1, 256) if byte != ord("$"))


@pytest.mark.parametrize("awk", PRESENT.values(), ids=list(PRESENT))
def test_bytes_come_through(awk):
    template = EVERY_BYTE + b"$A" + EVERY_BYTE
    values: dict[str, str | Secret] = {"A": EVERY_BYTE.decode("utf-8", "surrogateescape"), "B": Secret("x")}
    assert rendering.interpolate(template, values=values, name="t", awk=awk) == EVERY_BYTE * 3
    assert rendering.interpolate(b"", name="t", awk=awk) == b""


@pytest.mark.parametrize("name", ["/etc/x.conf", "a:b", "a\\nb", "a\nb", "", "é", "template:1: x"])
def test_faults_carry_the_name_as_it_is(name):
    with pytest.raises(TemplateError) as caught:
        render_template(b"$A\n\n${B:?tell: me}\n${\xff}", {}, filename=name)
    error = caught.value
    assert [(fault.file, fault.line) for fault in error.faults] == [(name, 1), (name, 3), (name, 4)]
    assert error.faults[1].reason == "required variable B is missing a value: tell: me"
    assert error.faults[2].reason.startswith("malformed ${\\xff}: ")
    assert error.details.startswith(f"{name}:1: variable A is not set and has no default\n")
    assert (error.brief, error.location) == ("the template has 3 faults", name)
    assert error.resolution == "-e A=… -e B=…"
    assert error.exit_code == 2


def test_malformed_templates_are_told_how_to_write_a_dollar():
    with pytest.raises(TemplateError) as caught:
        render_template(b"${}", {}, filename="t")
    assert caught.value.brief.startswith("malformed ${}: ")
    assert (caught.value.location, caught.value.details) == ("t:1", "")
    assert caught.value.resolution == "write $$ for a plain dollar sign"


def test_binary_files_are_refused():
    with pytest.raises(TemplateError) as caught:
        render_template(b"\x7fELF\n\0", {}, filename="t")
    assert (caught.value.location, caught.value.brief) == ("t:2", "a NUL byte; templates are text")
    assert caught.value.resolution == "render text files only"


def test_render_file(tmp_path):
    path = tmp_path / "motd"
    path.write_bytes(b"hello ${WHO:-you}\r\n")
    assert render_file(path, {"WHO": "a&b"}) == b"hello a&b\r\n"
    path.write_bytes(b"$WHO")
    with pytest.raises(TemplateError) as caught:
        render_file(path, {})
    assert str(caught.value.faults[0]) == f"{path}:1: variable WHO is not set and has no default"
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError) as missing:
            render_file(wrong, {})
        assert str(wrong) in missing.value.brief
        assert missing.value.details


def test_variables_of():
    text = b"$A ${B:-x\ty\\\n$C}\n${D?} ${E+$A}"
    assert variables_of(text, "t") == [
        Variable("A", required=True, line=1, default=None),
        Variable("B", required=False, line=1, default="x\ty\\\n$C", form=":-"),
        Variable("C", required=False, line=2, default=None),
        Variable("D", required=True, line=3, default=None, form="?"),
        Variable("E", required=False, line=3, default=None, form="+"),
        Variable("A", required=False, line=3, default=None),
    ]


def test_an_awkward_temporary_directory(tmp_path, monkeypatch):
    directory = tmp_path / "a:b\\n"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    assert render_template(b"$A", {"A": "x"}, filename="t") == b"x"


def test_values_never_reach_a_command_line_and_their_file_is_private(tmp_path, monkeypatch):
    record = tmp_path / "record"
    fake = tmp_path / "awk"
    fake.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$@" > {record}\n'
        'for word; do case $word in values=*) stat -c "mode %a" "${word#values=}" "${word%/*}";'
        f' esac; done | sed "s/values=//" >> {record}\n'
    )
    fake.chmod(0o755)
    rendering.interpolate(b"$A", values={"A": Secret("s3cret")}, name="t", awk=[str(fake)])
    recorded = record.read_text()
    assert "s3cret" not in recorded
    assert "values=" in recorded


def test_a_broken_awk_is_no_fault_of_the_template():
    with pytest.raises(process.ProcessError) as caught:
        rendering.interpolate(b"x", name="t", awk=["/bin/sh", "-c", "echo broken >&2; exit 2"])
    assert "broken" in caught.value.details


def test_a_host_without_awk(monkeypatch):
    rendering.find_awk.cache_clear()
    monkeypatch.setattr(process, "which", lambda _: None)
    with pytest.raises(HostError) as caught:
        rendering.find_awk()
    assert caught.value.resolution == "apt-get install mawk"
    rendering.find_awk.cache_clear()


def test_the_first_awk_present_is_taken(monkeypatch, tmp_path):
    rendering.find_awk.cache_clear()
    monkeypatch.setattr(process, "which", lambda name: tmp_path / name if name == "busybox" else None)
    assert rendering.find_awk() == (str(tmp_path / "busybox"), "awk")
    rendering.find_awk.cache_clear()
