"""Machines on this computer: systemd-nspawn on snapshots of a btrfs store."""
