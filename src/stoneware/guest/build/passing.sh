# shellcheck shell=sh
# What a step leaves where nothing is kept: /run and /dev/shm are in memory. Its directories below /run are made
# again at each start, as tmpfiles.d(5) does it; the rest is told. Part of the build agent.

REMADE=/usr/lib/tmpfiles.d/00-stoneware-steps.conf # before the packages' own: what a step wants of a directory counts

# begin_steps: what is to be done once, after the boot and before the first step.
begin_steps() {
    if [ -z "$SW_ROOT" ]; then
        echo 0 2>/dev/null >/proc/sys/net/ipv4/ip_unprivileged_port_start
        # Services of an earlier builder had these; systemd-tmpfiles is kept from /tmp here.
        this_boot=''
        for place in /tmp/systemd-private-* /var/tmp/systemd-private-*; do
            case $place in *'*') continue ;; esac
            if [ -z "$this_boot" ]; then this_boot=$(tr -d - </proc/sys/kernel/random/boot_id); fi
            case $place in */systemd-private-"$this_boot"-*) ;; *) rm -rf "$place" ;; esac
        done
    fi
    begin_packages
    remember_resolver
    passing=$(in_memory)
}

# in_memory: print the directories, files and links in /run and /dev/shm that are not the system's own. What is a
# sign of a running process (sockets, .pid, .lock) nobody misses when that has ended.
in_memory() {
    set --
    for place in run run/lock dev/shm; do
        if [ -d "$SW_ROOT/$place" ]; then set -- "$@" "$SW_ROOT/$place"; fi
    done
    if [ $# -eq 0 ]; then return 0; fi
    own=$SW_ROOT/run
    find "$@" -xdev -mindepth 1 '(' -path "$own/systemd" -o -path "$own/stoneware" -o -path "$own/dbus" \
        -o -path "$own/udev" -o -path "$own/log" -o -path "$own/user" -o -path "$own/host" -o -path "$own/credentials" \
        -o -path "$own/mount" -o -path "$own/sudo" -o -path "$own/adduser" -o -path "$own/runit" -o -path "$own/blkid" -o -path "$own/needrestart" ')' -prune -o \
        '(' -type d -o -type f -o -type l ')' ! -name '*.pid' ! -name '*.lock' ! -name 'reboot-required*' \
        ! -name 'motd*' ! -name 'utmp' ! -name 'initctl' ! -path "$own/lock" -print 2>/dev/null
}

# tell_of_passing NUMBER: say on the console what a step has left there. What ends in / is made again.
tell_of_passing() {
    if [ "$code" -ne 0 ]; then return 0; fi
    now=$(in_memory)
    if [ "$now" = "$passing" ] && [ ! -e "$SW_ROOT$REMADE" ]; then return 0; fi
    printf '%s\n' "$passing" >"$WORK/passing.before"
    printf '%s\n' "$now" >"$WORK/passing.now"
    passing=$now
    missed | unused | sort_passing
    remake <"$WORK/passing.directories"
    names=$({
        topmost '' <"$WORK/passing.lost"
        topmost / <"$WORK/passing.directories"
    } | head -n 5 | tr '\n' ' ')
    if [ -z "$names" ]; then return 0; fi
    console_line "left $1 ${names% }"
}

# sort_passing: write the paths that come in to passing.directories where they can be made again, else to passing.lost.
sort_passing() {
    : >"$WORK/passing.directories"
    : >"$WORK/passing.lost"
    while IFS= read -r path; do
        kind=lost
        if [ -d "$SW_ROOT$path" ] && [ ! -L "$SW_ROOT$path" ]; then
            case $path in /dev/shm/* | *[!A-Za-z0-9._/@:+-]*) ;; *) kind=directories ;; esac
        fi
        printf '%s\n' "$path" >>"$WORK/passing.$kind"
    done
}

# topmost END: print the paths that come in, with END behind each, but those that are inside another one.
topmost() {
    top=''
    while IFS= read -r path; do
        case $path in "$top"/*) if [ -n "$top" ]; then continue; fi ;; esac
        top=$path
        printf '%s\n' "$path$1"
    done
}

# remake: have each start make the directories that come in, and those of earlier steps that are still there, with
# the owner and mode that they have now.
remake() {
    {
        if [ -e "$SW_ROOT$REMADE" ]; then sed -n 's/^d "\([^"]*\)" .*/\1/p' "$SW_ROOT$REMADE"; fi
        cat
    } | sort -u | while IFS= read -r path; do
        if [ -d "$SW_ROOT$path" ] && [ ! -L "$SW_ROOT$path" ]; then
            stat -c "d \"$path\" %a %u %g" -- "$SW_ROOT$path"
        fi
    done >"$WORK/passing.remade"
    if [ ! -s "$WORK/passing.remade" ]; then
        rm -f "$SW_ROOT$REMADE"
    elif ! cmp -s "$WORK/passing.remade" "$SW_ROOT$REMADE"; then
        mkdir -p "$SW_ROOT${REMADE%/*}"
        cp "$WORK/passing.remade" "$SW_ROOT$REMADE"
    fi
}

# keep_workdir: the same for a WORKDIR of the image in /tmp or /var/tmp, which the seal is about to empty.
keep_workdir() {
    from=''
    IFS= read -r from 2>/dev/null <"$WORK/seal/workdir" || :
    case $from in *[!A-Za-z0-9._/@:+-]*) return 0 ;; /tmp/?* | /var/tmp/?*) ;; *) return 0 ;; esac
    while [ "${from##*/}" != tmp ]; do
        printf '%s\n' "$from"
        from=${from%/*}
    done | remake
}

# unused: pass on the paths but those of shared memory that a running process has.
unused() {
    while IFS= read -r path; do
        case $path in
        /dev/shm/*)
            if [ -z "$SW_ROOT" ] && cat /proc/[0-9]*/maps 2>/dev/null | grep -qF -e "$path"; then continue; fi
            ;;
        esac
        printf '%s\n' "$path"
    done
}

# missed: print the new paths that neither tmpfiles.d(5) makes at each boot nor a running service has for itself
# (RuntimeDirectory=).
missed() {
    if [ -z "$SW_ROOT" ]; then
        systemctl show '*.service' --property=ActiveState,RuntimeDirectory
    fi >"$WORK/passing.services" 2>/dev/null
    for rules in "$SW_ROOT"/usr/lib/tmpfiles.d/*.conf "$SW_ROOT"/etc/tmpfiles.d/*.conf; do
        if [ -r "$rules" ]; then cat "$rules"; fi
    done >"$WORK/passing.rules"
    awk -v root="$SW_ROOT" -v work="$WORK" '
        BEGIN {
            while ((getline line <(work "/passing.before")) > 0) old[line] = 1
            while ((getline <(work "/passing.rules")) > 0) {
                path = $2
                gsub(/"/, "", path); sub(/^\/var\/run\//, "/run/", path); sub(/\/+$/, "", path)
                made[path] = 1
            }
            while ((getline line <(work "/passing.services")) > 0) {
                if (line == "") active = directories = ""
                if (line ~ /^ActiveState=/) active = substr(line, 13)
                if (line ~ /^RuntimeDirectory=/) directories = substr(line, 18)
                if (active == "active" && directories != "") {
                    count = split(directories, names, " ")
                    for (i = 1; i <= count; i++) owned["/run/" names[i]] = 1
                    directories = ""
                }
            }
        }
        {
            path = substr($0, length(root) + 1)
            if ($0 in old || path in made) next
            for (up = path; up != ""; sub(/\/[^\/]*$/, "", up)) if (up in owned) next
            print path
        }' "$WORK/passing.now"
}
