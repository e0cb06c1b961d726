# shellcheck shell=sh
# The builder's name servers for each RUN, as in Docker, whatever an earlier step has put in their place: a file for
# another computer, or a link to that of a program which runs in machines only. Part of the build agent.

# remember_resolver: keep what the boot has written.
remember_resolver() {
    resolv=$SW_ROOT/etc/resolv.conf
    if [ -f "$resolv" ]; then cp "$resolv" "$WORK/resolv.conf"; fi
}

# guard_resolver: have it in its place while a step runs.
guard_resolver() {
    resolv_link=''
    if [ ! -e "$WORK/resolv.conf" ] || is_our_resolver; then return 0; fi
    if [ -L "$resolv" ]; then resolv_link=$(readlink "$resolv"); fi
    rm -rf "$resolv"
    cp "$WORK/resolv.conf" "$resolv"
}

# unguard_resolver: a link comes back, which images keep, unless the step has written another file. No image has
# the file, which each boot writes.
unguard_resolver() {
    if [ -n "$resolv_link" ] && [ ! -L "$resolv" ] && is_our_resolver; then ln -sf -- "$resolv_link" "$resolv"; fi
}

is_our_resolver() {
    [ -f "$resolv" ] && cmp -s "$WORK/resolv.conf" "$resolv"
}
