#!/bin/sh
# One end of a copy out of a disk that a machine has written, in a root of its own: this computer's programs to be read,
# and what is copied, nothing else. As root in mount, network, IPC and PID namespaces of its own (reading.py):
#   reading.sh read DISK ID NAMESPACE   write a tar of the file system, which fuse2fs reads as the user ID, who is root
#                                       in a user namespace (the path to that) and nobody here
#   reading.sh write DIRECTORY          unpack a tar, as root who may do nothing but that
set -eu
what=$1 place=$2 id=${3-0} namespace=${4-}
umask 022
jail=/run/stoneware/reading
mkdir -p "$jail"
cd "$jail"
mount -t tmpfs -o mode=0755,nosuid,size=1m tmpfs .
cd "$jail"
mkdir usr dev etc old proc tmp tree
mount --bind -o ro /usr usr
mount -o remount,bind,ro,nosuid usr
for directory in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$directory" ]; then
        ln -s "usr/$directory" "$directory"
    elif [ -d "/$directory" ]; then
        mkdir "$directory"
        mount --bind "/$directory" "$directory"
        mount -o remount,bind,ro,nosuid "$directory"
    fi
done
: >etc/ld.so.cache
mount --bind /etc/ld.so.cache etc/ld.so.cache
mount -o remount,bind,ro etc/ld.so.cache
ln -s /proc/mounts etc/mtab
: >dev/null
mount --bind /dev/null dev/null
mount -t proc -o nosuid,nodev,noexec proc proc
if [ "$what" = read ]; then
    mknod dev/fuse c 10 229
    chown "$id:$id" dev/fuse tmp
    : >disk
    mount --bind "$place" disk
    mount -o remount,bind,nosuid,nodev,noexec disk
else
    mount --bind "$place" tree
    mount -o remount,bind,nosuid,nodev,noexec tree
fi
pivot_root . old
cd /
umount -l /old
if [ "$what" = write ]; then
    may=-all,+chown,+dac_override,+fowner,+fsetid,+setfcap
    code=0
    setpriv --bounding-set="$may" --inh-caps=-all --no-new-privs -- \
        tar -x -C /tree --numeric-owner --same-owner --preserve-permissions --acls --xattrs --xattrs-include='*' -f - ||
        code=$?
    case $code in 137 | 152) exit 7 ;; esac # its time is over
    exit "$code"
fi
# shellcheck disable=SC2016 # for the shell in there
exec nsenter --user="$namespace" -- setpriv --no-new-privs -- unshare --mount --propagation private -- sh -euc '
    code=0
    e2fsck -f -p /disk >/tmp/said 2>&1 || code=$?
    case $code in 137 | 152) exit 7 ;; esac # killed: its time is over
    if [ "$code" -gt 2 ]; then
        cat /tmp/said >&2
        exit 4
    fi
    fuse2fs -o ro,fakeroot /disk /tree >/tmp/said 2>&1 || { cat /tmp/said >&2; exit 5; }
    cd /tree
    devices=$(find . -xdev \( -type b -o -type c \) | head -n 5)
    if [ -n "$devices" ]; then
        printf "%s\n" "$devices" >&2
        exit 6
    fi
    set --
    if [ -d lost+found ] && [ -z "$(ls -A lost+found)" ]; then set -- --exclude=./lost+found; fi
    code=0
    tar -c --numeric-owner --sparse --acls --xattrs --xattrs-include="*" "$@" -f - . || code=$?
    case $code in 137 | 152) exit 7 ;; esac
    exit "$code"
'
