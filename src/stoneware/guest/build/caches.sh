# shellcheck shell=sh
# Caches of RUN --mount=type=cache where directories cannot outlive builders: archives in the bucket. Each builder has a
# copy of its own; of several bakes at a time the last one that ends is kept. Part of the build agent.

# begin_caches: have each cache of this builder in a directory, as the last bake has left it.
begin_caches() {
    caches=''
    case $BUNDLE in gs://*) ;; *) return 0 ;; esac
    value_of stoneware-caches
    caches=$value
    number=0
    for address in $caches; do
        kept=$SW_ROOT/.stoneware-cache/$number
        rm -rf "$kept" "$kept.tar"
        mkdir -p "$kept" "$SW_RUN/cache/$number" || return 1
        if [ -z "$SW_ROOT" ]; then mount --bind "$kept" "$SW_RUN/cache/$number" || return 1; fi
        if object_bytes "$address" >"$kept.tar"; then
            if ! tar -x -p --same-owner --numeric-owner --xattrs --xattrs-include='*' -C "$kept" -f "$kept.tar" 2>/dev/null; then
                note "the cache $address is damaged: it begins empty"
                find "$kept" -mindepth 1 -delete
            fi
        elif [ "$status" != 404 ]; then # none has been kept yet
            note "the cache $address begins empty: it cannot be fetched: $(reason)"
        fi
        rm -f "$kept.tar"
        contents_of "$kept" >"$kept.list"
        number=$((number + 1))
    done
}

# contents_of DIRECTORY: what is in it, as far as times and sizes tell.
contents_of() {
    find "$1" -mindepth 1 -printf '%P %y %s %m %U %G %T@ %l\n' | sort
}

# end_caches: keep what has changed in them, and leave nothing of them in the machine. No bake fails for a cache.
end_caches() {
    number=0
    for address in $caches; do
        kept=$SW_ROOT/.stoneware-cache/$number
        if [ "$(contents_of "$kept")" != "$(cat "$kept.list")" ]; then
            tar -c -f "$kept.tar" --format=posix --numeric-owner --xattrs --xattrs-include='*' --one-file-system \
                -C "$kept" . 2>/dev/null
            if [ $? -gt 1 ] || ! upload "$kept.tar" "$address"; then note "the cache $address is not kept: it cannot be uploaded: $(reason)"; fi
        fi
        if [ -z "$SW_ROOT" ]; then umount "$SW_RUN/cache/$number" 2>/dev/null || umount -l "$SW_RUN/cache/$number"; fi
        number=$((number + 1))
    done
    rm -rf "$SW_ROOT/.stoneware-cache"
    caches=''
}
