#!/bin/sh
# A generator of systemd's (systemd.generator(7)) that runs some others, each where there is something for it to
# do: in most machines none has, and each is a program of several milliseconds at every boot.
# The links to /dev/null that hide them are of install.py; what an image has put there instead, systemd runs.
set -u
root=${SW_ROOT-}
etc=$root/etc

# has_mounts: /etc/fstab has more than comments.
has_mounts() {
    if [ ! -r "$etc/fstab" ]; then return 1; fi
    while read -r word _ || [ -n "$word" ]; do
        case $word in '' | '#'*) ;; *) return 0 ;; esac
    done <"$etc/fstab"
    return 1
}

# has_scripts: a script in /etc/init.d has no unit of its name.
has_scripts() {
    for script in "$etc"/init.d/*; do
        if [ ! -f "$script" ] || [ ! -x "$script" ]; then continue; fi
        name=${script##*/}
        name=${name%.sh}
        for place in etc run usr/local/lib usr/lib lib; do
            if [ -e "$root/$place/systemd/system/$name.service" ]; then continue 2; fi
        done
        return 0
    done
    return 1
}

# run NAME ARGUMENT…
run() {
    name=systemd-$1-generator
    shift
    if [ ! -c "$etc/systemd/system-generators/$name" ]; then return; fi
    if [ -c "$root/run/stoneware/units/generators/$name" ]; then return; fi # in a builder
    "$root/usr/lib/systemd/system-generators/$name" "$@"
}

# Outside of containers there is a kernel's command line as well, which these read.
everything=''
if [ ! -e "$root/run/systemd/container" ]; then everything=yes; fi
if [ -n "$everything" ] || [ -e "$etc/crypttab" ]; then run cryptsetup "$@"; fi
if [ -n "$everything" ] || has_mounts; then run fstab "$@"; fi
if [ -n "$everything" ] || [ -x "$etc/rc.local" ]; then run rc-local "$@"; fi
if [ -n "$everything" ] || has_scripts; then run sysv "$@"; fi
exit 0
