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

# own_place PATH: whether the machine makes for itself what is there (stoneware.model.mount_places has the same list).
own_place() {
    case $1 in
    / | /run | /proc | /proc/* | /sys | /sys/* | /dev | /dev/*) return 0 ;;
    /run/credentials | /run/dbus | /run/host | /run/lock | /run/secrets | /run/stoneware) return 0 ;;
    /run/credentials/* | /run/dbus/* | /run/host/* | /run/lock/* | /run/secrets/* | /run/stoneware/*) return 0 ;;
    /run/systemd | /run/systemd/* | /run/udev | /run/udev/* | /run/user | /run/user/*) return 0 ;;
    esac
    return 1
}

# fill TOP PLACE: what a volume begins with: a copy of what the image has there.
fill() {
    rm -rf "$1/.init"
    if mounted "$2"; then # a file system of the machine's own, such as /tmp: the image has nothing there
        mkdir "$1/.init" && chmod --reference="$2" "$1/.init" && chown --reference="$2" "$1/.init"
    else
        cp -a "$2" "$1/.init"
    fi && mv -T "$1/.init" "$1/data"
}

# in_memory PATH OPTIONS PLACE: mount a tmpfs on PLACE, to which PATH leads.
in_memory() {
    if ! sw_inside "$3" || [ "$inside" != "$3" ]; then fail "the tmpfs for $1 cannot be mounted through a link in a volume"; fi
    mkdir -p "$place" || fail "the mount point $3 cannot be made"
    mount -t tmpfs -o "nosuid,nodev${2:+,$2}" tmpfs "$place" || fail "the tmpfs for $1 cannot be mounted"
}

# volume DEVICE PATH MODE PLACE: mount <volume>/data on PLACE, to which PATH leads; on first use it begins with what the
# image has there.
volume() {
    top=$SW_ROOT$1
    place=$SW_ROOT$4
    if [ "$1" = tmpfs ]; then
        in_memory "$2" "$3" "$4"
        return
    fi
    case $1 in
    /dev/*)
        # In a container a directory stands for the disk.
        if [ ! -d "$top" ]; then
            top=$SW_RUN/disks/${1##*/}
            open_disk "$1" "$top"
        fi
        ;;
    esac
    if [ ! -d "$top" ]; then fail "the volume for $2 is not there ($1)"; fi
    # What is in a volume belongs to its users: their links decide nothing.
    if ! sw_inside "$4" || [ "$inside" != "$4" ]; then fail "the volume for $2 cannot be mounted through a link in another one"; fi
    mkdir -p "$place" || fail "the mount point $4 cannot be made"
    if mounted "$place" && grep -qxF "$4" "$SW_RUN/volumes-mounted"; then return 0; fi
    # Formerly a link was copied where the image has one.
    if [ -L "$top/data" ]; then rm -f "$top/data"; fi
    if [ ! -d "$top/data" ]; then fill "$top" "$place" || fail "the volume for $2 cannot be filled"; fi
    mount --bind "$top/data" "$place" || fail "the volume for $2 cannot be mounted"
    if [ "$3" = ro ]; then mount -o remount,bind,ro "$place" || fail "the volume for $2 cannot be made read-only"; fi
    printf '%s\n' "$4" >>"$SW_RUN/volumes-mounted"
}

# volume_places FILE: write the volumes with the places that their paths lead to, in the order of these, so that one
# inside another comes after it. Links are followed before anything is mounted.
volume_places() {
    many=''
    while IFS=$TAB read -r device path mode; do
        if [ -z "$device" ]; then continue; fi
        sw_inside "$path" || fail "the volume for $path cannot be mounted: its links lead nowhere"
        if [ "$device $inside" != 'tmpfs /dev/shm' ] && own_place "$inside"; then fail "the volume for $path would be at $inside, which is the machine's own"; fi
        many=$many.
        printf '%s\t%s\t%s\t%s\n' "$inside" "$device" "$path" "$mode"
    done <"$1" >"$MD/places"
    if [ "${#many}" -gt 1 ]; then sort -o "$MD/places" "$MD/places"; fi
}

# mount_volumes FILE: lines DEVICE<TAB>PATH<TAB>MODE, the attribute stoneware-volumes; of a tmpfs
# tmpfs<TAB>PATH<TAB>OPTIONS.
mount_volumes() {
    echo >>"$1"
    : >>"$SW_RUN/volumes-mounted"
    volume_places "$1"
    before='' before_path=''
    while IFS=$TAB read -r place_of device path mode; do
        if [ "$place_of" = "$before" ]; then
            fail "the volumes for $before_path and $path are both at $before: name that place once"
        fi
        before=$place_of before_path=$path
        volume "$device" "$path" "$mode" "$place_of" </dev/null
    done <"$MD/places"
}
