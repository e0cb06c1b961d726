#!/bin/sh
# Boots this computer's own root file system, under an overlay in memory, as a host whose first process is
# systemd: unshare --mount sh systemd_host.sh NAME WORK v1|v2 [nspawn's arguments]
# The host has control groups of that version; of version 1 only systemd's own can be written to.
# All of it ends with this process: the mounts are private, nothing of the real root is written.
set -eu
name=$1 work=$2 groups=$3
shift 3

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

mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
cd "$work/root"
: >etc/machine-id
rm -rf etc/hostname etc/fstab etc/systemd/system
mkdir -p etc/systemd/system
# What would reach beyond this host: its kernel is the real one's.
for unit in systemd-sysctl systemd-udevd systemd-udev-trigger systemd-modules-load; do
    ln -s /dev/null "etc/systemd/system/$unit.service"
done

mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
# A host may write to /proc/sys, mount what it likes, and start machines.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_LOCK=0
exec systemd-nspawn --quiet --boot --register=no --keep-unit --console=read-only --machine="$name" \
    --capability=all --system-call-filter=@known --private-network --link-journal=no --timezone=off \
    --resolv-conf=off --setenv=SYSTEMD_COLORS=0 --directory="$work/root" "$@"
