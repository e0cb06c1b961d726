"""H3: a program in a machine types a command into the operator's terminal (TIOCSTI), however it is run.

The operator's shell would run it. Here `cat` follows in that terminal: what the machine has typed would come
out of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.local.engine_lab import Bench
from tests.local.operator_terminal import STONEWARE, OperatorTerminal

pytestmark = pytest.mark.machine

# Types into all that it has: its descriptors, its controlling terminal, and the machine's terminals.
TYPIST = r"""#!/usr/bin/perl
use POSIX;
my $word = "TYPED-BY-THE-MACHINE\n";
opendir my $dir, "/dev/pts"; my @paths = map { "/dev/pts/$_" } grep { /^\d+$/ } readdir $dir;
for my $target (0 .. 30, "/dev/tty", "/dev/console", @paths) {
    my $handle;
    if ($target =~ /^\d+$/) { open $handle, "+<&=", $target or open $handle, "<&=", $target or next }
    else { sysopen $handle, $target, O_RDWR|O_NOCTTY or next }
    for my $char (split //, $word) { my $byte = $char; ioctl $handle, 0x5412, $byte }
    syscall 16, fileno $handle, 0x540E, 1 if $target eq "/dev/tty";  # TIOCSCTTY, by force
}
print "typist was here\n";
"""


@pytest.mark.parametrize("way", ["exec", "exec -i", "exec -t", "exec -it", "cp"])
def test_nothing_arrives_in_the_operators_terminal(lab: Bench, tmp_path: Path, way: str) -> None:
    lab.boot()
    script = tmp_path / "typist"
    script.write_text(TYPIST)
    lab.platform.copy_in(script, lab.name, "/root/typist")
    assert lab.sh("chmod 755 /root/typist") == 0
    stoneware = " ".join(STONEWARE)
    if way == "cp":
        assert lab.sh("cp /bin/tar /bin/tar.real; cp /root/typist /bin/tar") == 0
        command = f"{stoneware} cp {lab.name}:/etc/hostname {tmp_path}/out"
    else:
        command = f"{stoneware} {way} {lab.name} /root/typist"
    line = f"{command}; echo 'the command has ended'; stty -echo; echo reading; exec cat"
    with OperatorTerminal(["sh", "-c", line], {"STONEWARE_HOME": str(lab.home)}) as terminal:
        terminal.wait_for(b"\nreading", 60)
        assert (b"typist was here" in terminal.seen) == (way != "cp")
        terminal.send(b"the operator's own\n\x04")
        assert terminal.end() == 0
    after = terminal.seen.partition(b"\nreading")[2]
    assert after.split() == b"the operator's own".split()
