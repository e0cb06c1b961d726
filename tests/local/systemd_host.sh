#!/bin/sh
# Boots a root file system as a host whose first process is systemd:
#   unshare --mount sh systemd_host.sh NAME ROOT WORK v1|v2 [nspawn's arguments]
# ROOT `/` means this computer's own, under an overlay in memory at WORK: nothing of it is written. The host has
# control groups of the version named; of version 1 only systemd's own can be written to.
# The mounts are private: all ends with this process.
set -eu
name=$1 root=$2 work=$3 groups=$4
shift 4

mount --make-rprivate /
umount -R /sys/fs/cgroup
if [ "$groups" = v2 ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    own=/sys/fs/cgroup/$name
else
    mount -t tmpfs -o mode=0755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    own=/sys/fs/cgroup/systemd/$name
fi
mkdir -p "$own"
echo $$ >"$own/cgroup.procs"

if [ "$root" = / ]; then
    root=$work/root
    mount -t tmpfs tmpfs "$work"
    mkdir "$work/upper" "$work/work" "$root"
    mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$root"
    : >"$root/etc/machine-id"
    rm -rf "$root/etc/hostname" "$root/etc/fstab" "$root/etc/systemd/system"
    mkdir -p "$root/etc/systemd/system"
fi
# What would reach beyond this host: its kernel is the real one's.
for unit in systemd-sysctl systemd-udevd systemd-udev-trigger systemd-modules-load; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done

mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
# A host may write to /proc/sys, mount what it likes, and start machines.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_LOCK=0
exec systemd-nspawn --quiet --boot --register=no --keep-unit --console=read-only --machine="$name" \
    --capability=all --system-call-filter=@known --private-network --link-journal=no --timezone=off \
    --resolv-conf=off --setenv=SYSTEMD_COLORS=0 --directory="$root" "$@"
