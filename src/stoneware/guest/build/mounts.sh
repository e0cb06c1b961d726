# shellcheck shell=sh
# The mounts of RUN: their order, their mount points, and what the step's own mount namespace does before the step.
# Part of the build agent.

UNIT_SEPARATOR=$(printf '\037')

# missing_directories PATH: print the missing directories of PATH, the deepest first.
missing_directories() {
    missing=$1
    while [ -n "$missing" ] && [ ! -e "$missing" ] && [ ! -L "$missing" ]; do
        printf '%s\n' "$missing"
        missing=${missing%/*}
    done
}

# mount_point PLACE KIND: make a missing mount point and note what was made in $WORK/made.
mount_point() {
    if [ -e "$1" ]; then return 0; fi
    if [ "$2" = file ]; then
        missing_directories "${1%/*}" >"$WORK/made.new"
        mkdir -p "${1%/*}/" && : >"$1" || return 1
        printf '%s\n' "$1" | cat - "$WORK/made.new" "$WORK/made" >"$WORK/made.all"
    else
        missing_directories "$1" >"$WORK/made.new"
        mkdir -p "$1" || return 1
        cat "$WORK/made.new" "$WORK/made" >"$WORK/made.all"
    fi
    mv "$WORK/made.all" "$WORK/made"
}

# Mount points the step's mounts needed go again, with the parents made for them, unless the step put
# something beside them.
remove_mount_points() {
    while IFS= read -r place; do
        if [ -d "$place" ] && [ ! -L "$place" ]; then rmdir "$place" 2>/dev/null; else rm -f "$place"; fi
    done <"$WORK/made"
    : >"$WORK/made"
}

# Write to $WORK/mounting the commands that the step's own mount namespace runs before the step, and
# to $WORK/secret-env the names whose values `run` gets. Fields: see the bundle's layout in agent.py.
prepare_mounts() {
    : >"$WORK/mounting"
    : >"$WORK/secret-env"
    : >"$WORK/made"
    : >"$WORK/mounted"
    if [ ! -s "$1/mounts" ]; then return 0; fi
    # shellcheck disable=SC2046
    set -- "$1" "$2" $(awk -F '\t' '$1 == "secret" && $3 != "" && !seen[$3]++ { print $3 }' "$1/mounts")
    if [ $# -gt 2 ]; then
        steps_mounts=$1
        shift
        fetch_secrets "$@" || return 1
        set -- "$steps_mounts"
    fi
    in_order "$1/mounts" >"$WORK/mounts"
    mount=0
    while IFS=$UNIT_SEPARATOR read -r target type source access m_mode m_uid m_gid variable size <&3; do
        mount=$((mount + 1))
        prepare_mount </dev/null || return 1
    done 3<"$WORK/mounts"
}

# in_order FILE: print its mounts, the target first: links followed, and sorted, so that what is inside another mount
# comes after it. Of two at one place the later one in the file counts.
in_order() {
    # Tabs next to each other would count as one for read.
    tr '\t' '\037' <"$1" | while IFS=$UNIT_SEPARATOR read -r kind path rest; do
        if [ -n "$path" ]; then path=$(readlink -m -- "$path"); fi
        printf '%s\037%s\037%s\n' "$path" "$kind" "$rest"
    done | sort -s -t "$UNIT_SEPARATOR" -k 1,1
}

prepare_mount() {
    at=$(quoted "$target")
    case $type in
    tmpfs)
        make_target directory || return 1
        options="mode=${m_mode:-1777}${size:+,size=$size},uid=${m_uid:-0},gid=${m_gid:-0}"
        case $SW_RUN/ in
        "$target"/*) cover "$options" ;;
        *) printf 'mount -t tmpfs -o %s tmpfs %s || exit 1\n' "$(quoted "$options")" "$at" >>"$WORK/mounting" ;;
        esac
        note_mount tmpfs ''
        ;;
    cache)
        if [ ! -d "$source" ]; then mkdir -p "$source" || return 1; fi
        if [ -z "$(ls -A "$source")" ]; then
            chmod "${m_mode:-0755}" "$source" && chown "${m_uid:-0}:${m_gid:-0}" "$source" || return 1
        fi
        make_target directory || return 1
        bind_on "$source"
        ;;
    bind)
        bundle_unpack "$source" || return 1
        source=$WORK/$source
        if [ -d "$source" ]; then make_target directory; else make_target file; fi || return 1
        bind_on "$source"
        ;;
    secret)
        if [ -z "$source" ]; then return 0; fi
        value=$WORK/secrets/$mount
        cp "$WORK/secrets/$source" "$value" || return 1
        # The step's own user reads it, who need not be root.
        chmod "${m_mode:-0400}" "$value" && chown "${m_uid:-$uid}:${m_gid:-$gid}" "$value" || return 1
        if [ -n "$variable" ]; then printf '%s %s\n' "$mount" "$variable" >>"$WORK/secret-env"; fi
        if [ -n "$target" ]; then
            make_target file || return 1
            access=ro
            bind_on "$value"
        fi
        ;;
    *)
        note "a mount of the unknown type $type"
        return 1
        ;;
    esac
}

# make_target KIND: make the mount point of $target where it is missing: in the machine, in what another mount shows
# there, which is only the step's, or, once that is mounted, in a tmpfs.
make_target() {
    holder='' place=$target
    while IFS=$UNIT_SEPARATOR read -r kind held shown; do
        case $target/ in "$held"/*) holder=$kind place=$shown${target#"$held"} ;; esac
    done <"$WORK/mounted"
    if [ -z "$holder" ]; then
        mount_point "$target" "$1"
    elif [ "$holder" = tmpfs ] && [ "$1" = file ]; then
        printf '[ -e %s ] || { mkdir -p %s && : >%s; } || exit 1\n' "$at" "$(quoted "${target%/*}")" "$at" >>"$WORK/mounting"
    elif [ "$holder" = tmpfs ]; then
        printf 'mkdir -p %s || exit 1\n' "$at" >>"$WORK/mounting"
    elif [ -e "$place" ]; then
        return 0
    elif [ "$1" = file ]; then
        mkdir -p "${place%/*}" && : >"$place"
    else
        mkdir -p "$place"
    fi
}

# note_mount KIND SHOWN: note for make_target what is at $target now.
note_mount() {
    printf '%s\037%s\037%s\n' "$1" "$target" "$2" >>"$WORK/mounted"
}

# cover OPTIONS: a tmpfs over a place that /run/stoneware is in; that stays in sight, for the mounts to come and for the
# step's script.
cover() {
    mkdir -p "$WORK/cover"
    kept=$WORK/cover${SW_RUN#"$target"}
    {
        printf 'mount -t tmpfs -o %s tmpfs %s || exit 1\n' "$(quoted "$1")" "$WORK/cover"
        printf 'mkdir -p %s && mount --rbind %s %s || exit 1\n' "$kept" "$SW_RUN" "$kept"
        printf 'mount -n --move %s %s || exit 1\n' "$WORK/cover" "$at"
    } >>"$WORK/mounting"
}

bind_on() {
    printf 'mount --bind %s %s || exit 1\n' "$(quoted "$1")" "$at" >>"$WORK/mounting"
    if [ "$access" = ro ]; then printf 'mount -o remount,bind,ro %s || exit 1\n' "$at" >>"$WORK/mounting"; fi
    note_mount bind "$1"
}
