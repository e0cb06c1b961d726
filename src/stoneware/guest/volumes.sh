# shellcheck shell=sh
# Mounting a machine's persistent disks. Sourced by the boot agent, after lib.sh; needs its TAB and fail.

mounted() {
    mountpoint -q "$1"
}

# A disk is formatted only where no tool finds anything at all on it.
open_disk() {
    tries=0
    while [ ! -e "$1" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then fail "the disk $1 did not appear within 30 s"; fi
        sleep 0.1
    done
    signs=$(wipefs --no-act --parsable "$1" 2>&1) || fail "the disk $1 cannot be read: $signs"
    blkid -p "$1" >/dev/null 2>&1
    if [ $? -eq 2 ] && [ -z "$signs" ]; then
        sw_say "$1 is blank: formatting it"
        mkfs.ext4 -q -m 0 "$1" >&2 || fail "the disk $1 cannot be formatted"
    fi
    mkdir -p "$2"
    mounted "$2" || mount "$1" "$2" || fail "the disk $1 cannot be mounted"
    if command -v resize2fs >/dev/null; then resize2fs "$1" >/dev/null 2>&1; fi
}

# volume DEVICE PATH MODE: mount <volume>/data on PATH; on first use it begins with what the image has there.
volume() {
    top=$SW_ROOT$1
    place=$SW_ROOT$2
    case $1 in
    /dev/*)
        top=$SW_RUN/disks/${1##*/}
        open_disk "$1" "$top"
        ;;
    esac
    if [ ! -d "$top" ]; then fail "the volume for $2 is not there ($1)"; fi
    mkdir -p "$place" || fail "the mount point $2 cannot be made"
    if mounted "$place"; then return 0; fi
    if [ ! -d "$top/data" ]; then
        rm -rf "$top/.init"
        cp -a "$place" "$top/.init" || fail "the volume for $2 cannot be filled"
        mv -T "$top/.init" "$top/data"
    fi
    mount --bind "$top/data" "$place" || fail "the volume for $2 cannot be mounted"
    if [ "$3" = ro ]; then mount -o remount,bind,ro "$place" || fail "the volume for $2 cannot be made read-only"; fi
}

# mount_volumes FILE: lines DEVICE<TAB>PATH<TAB>MODE, the attribute stoneware-volumes.
mount_volumes() {
    echo >>"$1"
    while IFS=$TAB read -r device path mode; do
        if [ -n "$device" ]; then volume "$device" "$path" "$mode" </dev/null; fi
    done <"$1"
}
