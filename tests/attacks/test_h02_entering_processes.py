"""H2: root in a machine waits for a process of the host to come by, to trace it and to write its program.

It looks into /proc as fast as it can while exec, exec -t and cp run, and disks come and go, for a process
that its own systemd has not started: one in another user namespace, or hidden, or whose parent is not of the
machine.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stoneware.model.resources import DISKS, VolumeMount
from stoneware.platforms.local import live_disks
from stoneware.platforms.local.machines import command as machine_command
from stoneware.platforms.local.machines import relay
from stoneware.platforms.local.machines.runner import Program, Streams
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine

# Prints each process that is not the machine's own, or that hides what it is.
HUNTER = r"""
use strict; $| = 1;
my $own = readlink "/proc/self/ns/user";
print "ready\n";
while (! -e "/run/hunted") {
    opendir my $dir, "/proc"; my @pids = grep { /^\d+$/ } readdir $dir; closedir $dir;
    for my $pid (@pids) {
        next if $pid == $$;
        my $namespace = readlink "/proc/$pid/ns/user";
        if (!defined $namespace) {
            next if !-e "/proc/$pid/stat";
            open my $stat, "<", "/proc/$pid/stat" or next; my $line = <$stat> // ""; close $stat;
            next if $line =~ /\) [ZX] / or !length $line;  # one that ends has no namespaces
            next if defined readlink "/proc/$pid/ns/user" or !-e "/proc/$pid/stat";
            print "hidden: $line";
            next;
        }
        print "foreign: $pid $namespace\n" if $namespace ne $own;
        open my $stat, "<", "/proc/$pid/stat" or next; my $line = <$stat> // ""; close $stat;
        my ($parent) = $line =~ /\) \S (\d+)/;
        next unless defined $parent;
        # One that is dead (X) has no parent any more, and nothing to be traced.
        print "from outside: $line" if $parent == 0 && $pid != 1 && $line !~ /\) X /;
    }
}
print "done\n";
"""


def test_nothing_of_the_host_comes_by(lab: Bench, tmp_path: Path) -> None:
    lab.boot()
    script = tmp_path / "hunter.pl"
    script.write_text(HUNTER)
    lab.platform.copy_in(script, lab.name, "/root/hunter.pl")
    reader, writer = relay.pipe()
    try:
        argv = ["perl", "/root/hunter.pl"]
        with machine_command.start(lab.paths(), Program(argv), Streams(writer, writer)) as hunter:
            os.close(writer)
            for number in range(12):
                assert lab.platform.run(lab.name, ["true"], timeout=300) == (0, "")
                assert lab.sh("true", tty=number % 2 == 0) == 0
                assert lab.sh("true", user="daemon") == 0
                lab.platform.copy_out(lab.name, "/etc/hostname", tmp_path / "name")
            # A disk is mounted by a process that is in the machine's user and mount namespaces.
            disk = VolumeMount(f"d-{lab.name}", f"{DISKS}hunted")
            for _ in range(3):
                live_disks.attach(lab.platform, lab.name, disk)
                assert lab.sh(f"test -d {disk.path}") == 0
                live_disks.detach(lab.platform, lab.name, disk)
                assert lab.sh(f"test ! -e {disk.path}") == 0
            lab.platform.destroy_volume(disk.volume)
            assert lab.sh("touch /run/hunted") == 0
            assert hunter.wait(300) == 0
        assert os.read(reader, 65536) == b"ready\ndone\n"
    finally:
        os.close(reader)
