#!/bin/sh
# Become QEMU in a root of its own: this computer's programs and libraries to be read, the machine's disks, and nothing
# else. jail.sh DISKS KVM UID COMMAND…, as root in mount, network and IPC namespaces of its own (launcher.py).
set -eu
disks=$1 kvm=$2 id=$3
shift 3
umask 022
jail=/run/stoneware/jail
mkdir -p "$jail"
cd "$jail"
mount -t tmpfs -o mode=0755,nosuid,size=1m tmpfs .
cd "$jail"
mkdir usr dev disks old etc tmp firmware
mount --bind -o ro /usr usr
mount -o remount,bind,ro,nosuid usr
for place in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$place" ]; then
        ln -s "usr/$place" "$place"
    elif [ -d "/$place" ]; then
        mkdir "$place"
        mount --bind "/$place" "$place"
        mount -o remount,bind,ro,nosuid "$place"
    fi
done
: >etc/ld.so.cache
mount --bind /etc/ld.so.cache etc/ld.so.cache
mount -o remount,bind,ro etc/ld.so.cache
for device in null urandom; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
if [ -n "$kvm" ]; then # a node of its own: this computer's may be root's alone
    mknod dev/kvm c "0x$(stat -c %t /dev/kvm)" "0x$(stat -c %T /dev/kvm)"
    chmod 0600 dev/kvm
    chown "$id:$id" dev/kvm
fi
mount --bind "$disks" disks
mount -o remount,bind,nosuid,nodev,noexec disks
ln -s old/proc proc # umount(8) wants to read there
pivot_root . old
cd /
umount -l /old
rmdir /old
rm /proc
mount -o remount,ro,nosuid,size=1m /
exec setpriv --reuid="$id" --regid="$id" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
