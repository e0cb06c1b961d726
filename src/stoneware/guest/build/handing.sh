# shellcheck shell=sh
# What other stages take of this one: packed behind the last step, and uploaded. Part of the build agent.

# wanted_names PATH: note what an archive needs so that PATH can be found in it: directories and links on the way in
# $WORK/names.way, what is there in the end, with all below it, in $WORK/names.whole. Links stay inside the root.
wanted_names() {
    at='' rest=$1/ links=0
    while [ -n "$rest" ]; do
        part=${rest%%/*}
        rest=${rest#*/}
        case $part in
        '' | .) continue ;;
        ..)
            at=${at%/*}
            continue
            ;;
        esac
        if [ -L "$root$at/$part" ]; then
            links=$((links + 1))
            if [ "$links" -gt 255 ]; then return 0; fi
            printf '.%s\n' "$at/$part" >>"$WORK/names.way"
            target=$(readlink "$root$at/$part")
            case $target in /*) at='' ;; esac
            rest=$target/$rest
            continue
        fi
        at=$at/$part
        # What is not there is told by whoever takes it, who knows the line.
        if [ ! -e "$root$at" ]; then return 0; fi
        printf '.%s\n' "$at" >>"$WORK/names.way"
    done
    printf './%s\n' "${at#/}" >>"$WORK/names.whole"
}

# topmost_names FILE: print its lines without those that are below another one, apart by NUL.
topmost_names() {
    sort -u "$1" | awk '{ line = $0; sub(/\/$/, "", line)
        if (top == "" || index(line "/", top "/") != 1) { print; top = line } }' | tr '\n' '\0'
}

# pack_handed ARCHIVE: pack what is wanted, with owners, modes and attributes; other file systems stay out.
pack_handed() {
    root=$SW_ROOT${FILES_ROOT:-}
    : >"$WORK/names.way"
    : >"$WORK/names.whole"
    if [ ! -d "$root/" ]; then mkdir -p "$root/" || return 1; fi
    while IFS= read -r path; do wanted_names "$path"; done <"$WORK/handed"
    sort -u "$WORK/names.way" | tr '\n' '\0' >"$WORK/names.list"
    topmost_names "$WORK/names.whole" >"$WORK/names.below"
    tar -c -f "$1" --format=posix --pax-option=delete=atime,delete=ctime --one-file-system --numeric-owner \
        --xattrs --xattrs-include='*' --anchored --exclude="./${1##*/}" --exclude='./.stoneware-*' \
        -C "$root/" --null --verbatim-files-from --no-recursion -T "$WORK/names.list" --recursion -T "$WORK/names.below"
    # 1: a service has written to a file meanwhile.
    [ $? -le 1 ]
}

# hand_out: pack and upload. In a file on the disk, for memory may be too small for it.
hand_out() {
    archive=$SW_ROOT/.stoneware-files.tar
    if ! pack_handed "$archive" >"$WORK/why" 2>&1; then
        rm -f "$archive"
        give_up "$LAST" 1 "they cannot be packed: $(tail -n 1 "$WORK/why")"
    fi
    value_of stoneware-handed
    if ! upload "$archive" "$value"; then
        rm -f "$archive"
        give_up "$LAST" 1 "they cannot be uploaded: $(reason)"
    fi
    rm -f "$archive"
    report handed "$LAST" 0 ''
}
