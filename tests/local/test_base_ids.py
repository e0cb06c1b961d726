"""A base's own system users, out of the way of the numbers that images ask for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stoneware.errors import HostError
from stoneware.platforms.local.bases.system_ids import NUMBERS, move_system_ids

pytestmark = [pytest.mark.tool, pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")]

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
systemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin
messagebus:x:100:107::/nonexistent:/usr/sbin/nologin
person:x:1000:100::/home/person:/bin/sh
"""
GROUP = """\
root:x:0:
users:x:100:
nogroup:x:65534:
systemd-journal:x:999:
systemd-network:x:998:
messagebus:x:107:
render:x:104:messagebus
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in ("etc", "usr/share/base-passwd", "usr/lib"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    (tmp_path / "etc/group-").write_text(GROUP)
    (tmp_path / "usr/share/base-passwd/passwd.master").write_text("root:*:0:0::/root:/bin/bash\n")
    (tmp_path / "usr/share/base-passwd/group.master").write_text("root:*:0:\nusers:*:100:\n")
    return tmp_path


def _ids(root: Path, table: str) -> dict[str, tuple[int, ...]]:
    rows = [line.split(":") for line in (root / "etc" / table).read_text().splitlines()]
    columns = (2, 3) if table == "passwd" else (2,)
    return {row[0]: tuple(int(row[column]) for column in columns) for row in rows}


def test_only_numbers_that_were_handed_out_change(root: Path) -> None:
    move_system_ids(root)
    users, groups = _ids(root, "passwd"), _ids(root, "group")
    for name, ids in (("root", (0, 0)), ("_apt", (42, 65534)), ("person", (1000, 100))):
        assert users[name] == ids
    assert groups["users"] == (100,), "the same on every Debian"
    assert groups["nogroup"] == (65534,)
    moved = [users["systemd-network"], users["messagebus"], groups["systemd-journal"], groups["render"]]
    assert {number for ids in moved for number in ids} <= set(NUMBERS)
    assert users["messagebus"] == (groups["messagebus"][0],) * 2
    assert len({*groups.values()}) == len(groups)
    assert "render:x:" in (root / "etc/group").read_text()
    assert (root / "etc/group").read_text().splitlines()[-1].endswith(":messagebus"), "its members stay"
    assert not (root / "etc/group-").exists()


def test_files_follow_and_keep_their_modes(root: Path) -> None:
    helper, link, other = root / "usr/lib/helper", root / "usr/lib/link", root / "usr/lib/other"
    for path in (helper, other):
        path.write_text("x")
    link.symlink_to("helper")
    os.chown(helper, 0, 107)
    helper.chmod(0o4754)
    os.chown(link, 998, 998, follow_symlinks=False)
    os.chown(other, 1000, 100)
    move_system_ids(root)
    groups = _ids(root, "group")
    assert (helper.stat().st_uid, helper.stat().st_gid) == (0, groups["messagebus"][0])
    assert stat.S_IMODE(helper.stat().st_mode) == 0o4754
    assert link.lstat().st_uid == _ids(root, "passwd")["systemd-network"][0]
    assert (other.stat().st_uid, other.stat().st_gid) == (1000, 100)


def test_a_name_has_one_number_in_every_release(root: Path) -> None:
    (root / "etc/group").write_text(GROUP + "clock:x:996:\nanother:x:995:\n")
    move_system_ids(root)
    groups = _ids(root, "group")
    assert (groups["systemd-journal"], groups["messagebus"]) == ((NUMBERS[0],), (NUMBERS[2],))
    assert groups["another"] == (NUMBERS[12],), "behind those that are known"


def test_once_is_enough(root: Path) -> None:
    move_system_ids(root)
    before = (root / "etc/passwd").read_text()
    move_system_ids(root)
    assert (root / "etc/passwd").read_text() == before


def test_more_names_than_numbers_are_an_error(root: Path) -> None:
    more = "".join(f"g{n}:x:{200 + n}:\n" for n in range(len(NUMBERS)))
    (root / "etc/group").write_text(GROUP + more)
    with pytest.raises(HostError, match="than there are numbers for"):
        move_system_ids(root)
