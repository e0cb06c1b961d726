#!/bin/sh
# The first and only program of the virtual machine that reads a foreign disk (disks/reader.py): /dev/vda is the disk,
# a port named stoneware.report leads to who asks, and one named stoneware.archive takes the tar.
# Says what is on the disk in one line of JSON; gets `NUMBER DIRECTORY`; sends that partition's tree; says in another
# line how that went; switches itself off.
PATH=/tools:/usr/sbin:/usr/bin:/sbin:/bin # busybox has a tar and a mount of its own
mkdir -p /proc /sys /dev /tmp /disk
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in virtio_pci virtio_blk virtio_console; do modprobe -q "$module"; done

# port NAME: set `port` to its device.
port() {
    while :; do
        for place in /sys/class/virtio-ports/*; do
            port=/dev/${place##*/}
            if [ "$(cat "$place/name" 2>/dev/null)" = "$1" ] && [ -c "$port" ]; then return; fi
        done
        sleep 0.05
    done
}

# plain TEXT: what of it can stand in a JSON string as it is.
plain() {
    printf '%.300s' "$1" | tr '\n\t' '  ' | tr -cd ' a-zA-Z0-9:;,./()_+@=-'
}

# value NAME: of what blkid has said in `said`.
value() {
    plain "$(printf '%s\n' "$said" | sed -n "s/^$1=//p" | head -n 1)"
}

# attach DEVICE TYPE: its journal is replayed, into a layer over the disk that is thrown away.
attach() {
    case $2 in
        ext2 | ext3 | ext4) kind=ext4 ;;
        xfs | btrfs) kind=$2 ;;
        *) return 1 ;;
    esac
    modprobe -q "$kind"
    mount -n -t "$kind" -o ro,nosuid,nodev,noexec "$1" /disk 2>/tmp/why
}

is_root() {
    [ -e "$1/etc/os-release" ] || [ -e "$1/usr/lib/os-release" ]
}

# describe DEVICE NUMBER: print one partition's object.
describe() {
    said=$(blkid -p -o export "$1" 2>/dev/null)
    filesystem=$(value TYPE)
    printf '{"number":%d,"type":"%s","filesystem":"%s"' "$2" "$(value PART_ENTRY_TYPE)" "$filesystem"
    : >/tmp/why
    directory='' why=''
    if attach "$1" "$filesystem"; then
        for place in . @rootfs @ root; do
            if [ -z "$directory" ] && is_root "/disk/$place"; then directory=$place; fi
        done
        umount /disk
    else
        why=$(cat /tmp/why)
    fi
    printf ',"directory":"%s","why":"%s"}' "$directory" "$(plain "$why")"
}

report() {
    said=$(blkid -p -o export /dev/vda 2>/dev/null)
    printf '{"table":"%s","filesystem":"%s","partitions":[' "$(value PTTYPE)" "$(value TYPE)"
    comma=''
    for place in /sys/class/block/vda/vda*; do
        [ -e "$place/partition" ] || continue
        printf '%s' "$comma"
        describe "/dev/${place##*/}" "$(cat "$place/partition")"
        comma=,
    done
    printf ']}\n'
}

# send NUMBER DIRECTORY
send() {
    said=$(blkid -p -o export "/dev/vda$1" 2>/dev/null)
    attach "/dev/vda$1" "$(value TYPE)" || return
    tar --create --format=posix --numeric-owner --sort=name --xattrs '--xattrs-include=*' --acls \
        --warning=no-file-ignored --blocking-factor=64 --exclude=./lost+found -C "/disk/$2" . >"$archive" 2>/tmp/why
}

port stoneware.archive
archive=$port
port stoneware.report
exec 3<>"$port"
report >&3
if IFS=' ' read -r number directory <&3 && [ -n "$number" ]; then
    send "$number" "$directory"
    printf '{"code":%d,"why":"%s"}\n' "$?" "$(plain "$(tail -n 3 /tmp/why)")" >&3
fi
poweroff -f
