"""Users as a machine knows them: looked up inside, for what is in its files is its own affair."""

from __future__ import annotations

import re

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.machines.output import output_of
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import PATH, ROOT, Program, User

_TIMEOUT = 20.0  # seconds
_MOST = 1 << 16  # bytes of an answer
_ROOTS = ("", "0", "root", "0:0", "root:root", "root:0", "0:root")
# Prints `uid gid groups home` of $1, Docker's user, with the group $2, or which of them there is not. Neither
# a FIFO nor a device is read, and of a file no more than a million bytes.
_LOOK_UP = r"""
table() { [ ! -f "$1" ] || head -c 1000000 "$1"; }
{ table /etc/passwd; echo; echo :; table /etc/group; } | awk -F: '
function is(a, b) { return (a "") == (b "") }
BEGIN { user = ARGV[1]; group = ARGV[2]; ARGC = 1; numeric = user ~ /^[0-9]+$/ }
$0 == ":" { groups = 1; next }
/^#/ || NF == 0 { next }
!groups && NF >= 6 && $3 ~ /^[0-9]+$/ && $4 ~ /^[0-9]+$/ {
    if (!named && (is($1, user) || (numeric && !found && $3 + 0 == user + 0))) {
        named = is($1, user); found = 1; login = $1; uid = $3; gid = $4; home = $6
    }
}
groups && NF >= 4 && $3 ~ /^[0-9]+$/ {
    if (is($1, group)) { if (!byname) { byname = 1; wanted = $3; known = 1 } }
    else if (!known && group ~ /^[0-9]+$/ && $3 + 0 == group + 0) { wanted = $3; known = 1 }
    many = split($4, members, ",")
    for (i = 1; i <= many; i++) if (found && is(members[i], login)) more = more "," $3
}
END {
    if (!found && !numeric) { print "user"; exit }
    if (!found) { uid = user; gid = 0; home = "/" }
    if (group != "") {
        if (!known && group !~ /^[0-9]+$/) { print "group"; exit }
        print uid, known ? wanted : group, "-", home
    } else print uid, gid, (found ? gid more : gid), home
}' "$1" "$2"
"""
_ANSWER = re.compile(r"([0-9]{1,10}) ([0-9]{1,10}) (-|[0-9]{1,10}(?:,[0-9]{1,10})*) ([^\n]*)\n")


def resolve(paths: Paths, text: str) -> User:
    """Return the user that Docker's NAME|UID[:GROUP|GID] means in a running machine; empty is root.

    Raises InputError where there is none, MachineError where the machine does not tell.
    """
    # Without a look inside: root gets in also where the machine's passwd is broken.
    if text in _ROOTS:
        return ROOT
    name, _, group = text.partition(":")
    argv = ["/bin/sh", "-c", _LOOK_UP, "sh", name or "0", group]
    # Not its errors: they would mix with the answer.
    _, said = output_of(paths, Program(argv, env={"PATH": PATH}), timeout=_TIMEOUT, keep=_MOST, errors=False)
    answer = said.decode(errors="surrogateescape")
    for kind, asked in (("user", name), ("group", group)):
        if answer == f"{kind}\n":
            table = "passwd" if kind == "user" else "group"
            raise InputError(
                f"there is no {kind} {asked!r} in the machine", resolution=f"use a name of its /etc/{table}"
            )
    found = _ANSWER.fullmatch(answer)
    if found is None:
        raise MachineError(
            f"the machine {paths.name!r} does not answer who {text!r} is",
            resolution=f"stoneware exec {paths.name} cat /etc/passwd",
        )
    # As with Docker: who names a group has that one and no supplementary ones.
    groups = () if found[3] == "-" else tuple(dict.fromkeys(int(number) for number in found[3].split(",")))
    return User(int(found[1]), int(found[2]), groups, found[4])
