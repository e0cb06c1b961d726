#!/bin/sh
# Runs one machine: its runner (systemd-nspawn, QEMU) in a mount namespace of its own, its port, its restarts.
# It outlives the command that started it. Started as `unshare --mount sh shim.sh SETTINGS`.
#
# SETTINGS is a file of shell assignments (written by start.py):
#   DIR          the machine's run directory: leader, shim, exit and error are written here
#   ID MAC ROUTER BRIDGE   machine id, its MAC, the router's network namespace and bridge
#   ADDRESS GATEWAY MTU    of a machine that does not ask for them itself, or empty
#   CGROUP       v1: mount a private cgroup2; v2: use the host's tree; unit, v1-unit: the same two with the
#                group of the service that systemd runs us as
#   CGROUP_OPTIONS         what to mount that cgroup2 with, where this kernel can
#   GROUPS_V1    cgroup directories (one per line) to enter first
#   PIDS_V1      the group of version 1 that the machine alone enters, or empty
#   LIMITS       lines `FILE VALUE` to write into the machine's cgroup2 group
#   RESTART RETRIES        no | always | unless-stopped | on-failure, and its limit (0: none)
#   STORE        the store's data directory
#   CONSOLE LOG_SIZE LOG_FILES   file of the console's output, the most bytes in one, the most of them
#   ATTRIBUTES   file: the guest's reports (removed at each boot)
#   REAP         command to run at the very end, or empty
#   OWNER        file that the process holds locked whose end is ours too, or empty
#   ORPHAN       REAP, where that process has gone before us
#   RUNNER       file with the part of this script that only machines of one runner have (nspawn.sh, qemu.sh):
#                LINK: how the port vb-ID is made, in words of ip(8); mounts: makes the mounts that the runner needs;
#                find_leader: set `leader` to the machine's first process, or fail once $child has ended;
#                plug_in: bring the port and that process together; power_off: ask it to end;
#                ended: put right what $code says
# and before each boot DIR/command, which may be another one by then (start.py):
#   run ()       a function that execs the runner
#   POWER_OFF    in qemu.sh
# shellcheck disable=SC2154,SC2015,SC2329 # they come from SETTINGS, RUNNER calls some; in `a && b || c`, c is meant for either failing
set -u
settings=$1
cd / || exit 255 # where the command was given is no place of ours: we outlive it, and run programs
umask 022
own=
# shellcheck source=/dev/null
. "$settings"

put() { # put FILE TEXT: whole or not at all
    printf '%s\n' "$2" >"$DIR/.$1.new" && mv -f "$DIR/.$1.new" "$DIR/$1"
}

note() { # note FILE TEXT: the same for one line, in one write; an empty file counts as none
    printf '%s\n' "$2" >"$DIR/$1"
}

start_time() { # start_time PID: set `start` to field 22 of /proc/PID/stat, which tells a reused process id apart
    start=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    start=${20}
}

is_born() { # is_born PID START: that very process is there. `start` stays: a trap may come while somebody reads it
    known=$start
    start_time "$1"
    found=$start start=$known
    [ "$found" = "$2" ]
}

uptime_hundredths() { # set `now`
    read -r now _ </proc/uptime
    now=$((${now%.*} * 100 + 1${now#*.} - 100))
}

fail() {
    put error "$1"
    finish 255
}

unit_group() { # the control group of version 2 that systemd has put us into; none on a host with v1 alone
    while read -r line; do
        case $line in 0::/?*) echo "/sys/fs/cgroup${line#0::}" ;; esac
    done </proc/self/cgroup
}

enter_groups() {
    # What covers version 1 below must not be in the way of the group that the machine itself enters later.
    [ -z "$PIDS_V1" ] || exec 7>"$PIDS_V1/cgroup.procs" || fail "there is no control group $PIDS_V1"
    for group in $GROUPS_V1; do
        [ -d "$group" ] || mkdir -p "$group"
        echo $$ >"$group/cgroup.procs" || echo "cannot enter $group" >&2
    done
    case $CGROUP in
        v1 | v1-unit)
            # A machine in a user namespace needs cgroup v2 as it sees it: a private mount over the host's v1.
            mount -t cgroup2 -o "$CGROUP_OPTIONS" cgroup2 /sys/fs/cgroup 2>/dev/null ||
                mount -t cgroup2 cgroup2 /sys/fs/cgroup || fail "cgroup2 cannot be mounted"
            ;;
    esac
    case $CGROUP in
        *unit) own=$(unit_group) ;;
    esac
    above="/sys/fs/cgroup /sys/fs/cgroup/stoneware"
    [ -z "$own" ] || above= # systemd's own: it has handed on what there is
    own=${own:-/sys/fs/cgroup/stoneware/$ID}
    # Two groups below our own: only a group without processes of its own may hand controllers on.
    mkdir -p "$own/shim" "$own/machine" && echo $$ >"$own/shim/cgroup.procs" ||
        fail "the control group $own cannot be made"
    # Left by a run that was frozen at its end (kill.py): what enters it now would be as well.
    [ ! -e "$own/machine/payload" ] || echo 0 >"$own/machine/payload/cgroup.freeze"
    note cgroup "$own"
    for controller in memory cpu pids io; do
        for group in $above "$own"; do
            echo "+$controller" >"$group/cgroup.subtree_control"
        done
    done 2>/dev/null
    while read -r file value; do
        [ -n "$file" ] || continue
        # Hosts that do not account for swap have no limit of it either.
        [ "$file" != memory.swap.max ] || [ -e "$own/$file" ] || continue
        echo "$value" >"$own/$file" || fail "this computer has no control group for ${file%%.*}"
    done <<END
$LIMITS
END
}

leave_groups() {
    case $own in
        /sys/fs/cgroup/stoneware/*) # else systemd removes it
            echo $$ >/sys/fs/cgroup/cgroup.procs
            find "$own" -depth -type d -delete 2>/dev/null
            ;;
    esac
    exec 7>&-
    case $CGROUP in
        v1 | v1-unit) umount -l /sys/fs/cgroup ;; # it covers those of version 1
    esac
    left=
    for group in $GROUPS_V1; do
        echo $$ >"${group%/stoneware/*}/cgroup.procs"
        case $PIDS_V1 in "$group"/*) left="$left $PIDS_V1" ;; esac
        left="$left $group"
    done 2>/dev/null
    # shellcheck disable=SC2086 # a list
    [ -z "$left" ] || rmdir $left 2>/dev/null
}

# The port knows its card from the start: it learns nothing, and gets nothing that is not for it.
try_port() {
    ip -n "$ROUTER" -batch - <<END || return 1
$LINK
link set vb-$ID master $BRIDGE
link set vb-$ID type bridge_slave learning off flood off
END
    # Looked at before the bridge: router_rules.port_rules.
    nsenter --net="/run/netns/$ROUTER" nft -f - <<END || return 1
add chain netdev stoneware vb-$ID { type filter hook ingress device "vb-$ID" priority -500; policy drop; }
flush chain netdev stoneware vb-$ID
add rule netdev stoneware vb-$ID jump machine
END
    bridge -n "$ROUTER" -batch - <<END
fdb replace $MAC dev vb-$ID master static
END
}

make_port() {
    try_port 2>/dev/null && return 0
    ip -n "$ROUTER" link del "vb-$ID" 2>/dev/null # left by the boot before
    try_port
}

# Keep what comes on standard input in files of LOG_SIZE bytes: CONSOLE, then CONSOLE.N, which begins at byte N
# of the whole. The last LOG_FILES of them stay. It ends with its input, and outlives us.
keep_console() {
    file=$CONSOLE
    base=0
    for part in "$CONSOLE".[0-9]*; do
        [ ! -e "$part" ] || file=$part
    done
    [ "$file" = "$CONSOLE" ] || base=$(printf '%s' "${file##*.}" | sed 's/^0*//')
    while :; do
        size=0
        [ ! -s "$file" ] || size=$(stat -c %s "$file") || return
        if [ "$size" -ge "$LOG_SIZE" ]; then
            base=$((base + size))
            file=$CONSOLE.$(printf '%016d' "$base")
            : >"$file"
            set -- "$CONSOLE" "$CONSOLE".[0-9]*
            [ -e "$1" ] || shift
            while [ $# -gt "$LOG_FILES" ]; do
                rm -f "$1"
                shift
            done
            size=0
        fi
        room=$((LOG_SIZE - size))
        if stdbuf -o0 head -c "$room" >>"$file"; then
            # Less than there was room for: that was the end.
            [ "$(stat -c %s "$file")" -ge "$LOG_SIZE" ] || return 0
        else # the disk is full: the machine must not stand still for it
            [ "$(head -c 65536 | wc -c)" -gt 0 ] || return 0
        fi
    done
}

enter_and_run() {
    [ -z "$PIDS_V1" ] || echo 0 >&7 || exit 1
    exec 7>&-
    echo 0 >"$own/machine/cgroup.procs"
    run
}

boot() { # run the machine once; its exit code is in $code
    # shellcheck source=/dev/null
    . "$DIR/command"
    for old in "$DIR/leader" "$DIR/exit" "$DIR/error" "$ATTRIBUTES"; do
        [ ! -e "$old" ] || rm -f "$old"
    done
    # shellcheck disable=SC2034 # nspawn.sh uses it
    port='' port_made=
    [ -z "$ROUTER" ] || {
        make_port 7>&- &
        port=$!
    }
    keep_console <"$DIR/pipe" 7>&- &
    keeper=$!
    enter_and_run </dev/null >"$DIR/pipe" &
    child=$!
    start_time "$child"
    note nspawn "$child $start"
    born=
    while find_leader; do
        start_time "$leader"
        born=$start
        if plug_in; then
            note leader "$leader $born"
            [ -z "$down" ] || go_down
            break
        elif [ -d "/proc/$leader" ]; then
            put error "the machine's network port could not be made"
            kill -KILL "$leader"
            break
        fi
        born= # it was only on its way to the first process, or is gone again: look once more
    done
    # A signal ends the waiting, not the machine.
    while wait "$child"; code=$?; [ -d "/proc/$child" ]; do :; done
    ended
    # The runner can be killed; what it started must not go on without it.
    if [ -n "$born" ] && is_born "$leader" "$born"; then
        kill -KILL "$leader"
    fi
    # The kernel removes the port with its machine, but not while connections that were left there are closing, nor
    # where there was no machine to have it.
    [ -z "$port" ] || {
        wait "$port"
        ip -n "$ROUTER" link del "vb-$ID" 2>/dev/null &
        port=$!
    }
    while wait "$keeper"; [ -d "/proc/$keeper" ]; do :; done # all of the console is in its file
    [ -z "$port" ] || wait "$port"
}

again() { # say whether the policy starts the machine again
    [ -e "$DIR/stop" ] || [ -n "$down" ] && return 1
    [ "$code" -eq 133 ] && return 0 # the machine asked for a reboot
    [ -n "$leader" ] || return 1
    case $RESTART in
        always | unless-stopped) return 0 ;;
        on-failure)
            [ "$code" -ne 0 ] || return 1
            restarts=$((restarts + 1))
            [ "$RETRIES" -eq 0 ] || [ "$restarts" -le "$RETRIES" ]
            ;;
        *) return 1 ;;
    esac
}

pause() { # Docker's: 0.1 s, doubled up to a minute, from the start again after a run of 10 s
    [ "$(stat -c %s "$DIR/../shim.log")" -lt 1048576 ] || : >"$DIR/../shim.log"
    [ "$code" -ne 133 ] || return 0
    read -r now _ </proc/uptime
    [ $((${now%.*} - begun)) -lt 10 ] || tenths=1
    waited=0
    while [ "$waited" -lt "$tenths" ] && [ ! -e "$DIR/stop" ] && [ -z "$down" ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    tenths=$((tenths * 2))
    [ "$tenths" -le 600 ] || tenths=600
    [ ! -e "$DIR/stop" ] && [ -z "$down" ]
}

go_down() { # the computer is shut down, or somebody stops the service that we are: power the machine off
    down=1
    put down 1
    [ -z "$leader" ] || ! is_born "$leader" "$born" || power_off
}

watch_owner() { # end with our owner. $$ is the shim itself, also in the background
    exec flock --shared --no-fork "$OWNER" sh -c ": >\"\$1/orphan\"; kill -TERM $$" sh "$DIR"
}

finish() {
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
    [ ! -e "$DIR/orphan" ] || REAP=$ORPHAN
    leave_groups
    note exit "$1"
    [ -z "$REAP" ] || {
        rm -f "$DIR/shim" # what comes now removes the machine, and must not wait for itself
        eval "exec $REAP"
    }
    exit 0
}

# Our copies of other stores' mounts would keep their file systems alive after they are unmounted on the computer,
# wherever its own mounts are not shared with ours.
let_go() {
    set --
    while read -r _ _ _ _ place _ rest; do
        case "$place $rest" in */data\ *\ btrfs\ *) ;; *) continue ;; esac
        case $place in
            *\\*) # it writes a blank as \040
                place=$(printf '%b.' "$(printf %s "$place" | sed 's/\\/\\0/g')")
                place=${place%.}
                ;;
        esac
        [ "$place" = "$STORE" ] || [ ! -e "${place%/data}/pool.btrfs" ] || set -- "$@" "$place"
    done </proc/self/mountinfo
    [ $# -eq 0 ] || umount -l "$@"
}

# shellcheck source=/dev/null
. "$RUNNER"
leader='' start=''
down=
trap go_down TERM
watcher=
start_time $$
note shim "$$ $start"
enter_groups
mounts
let_go 7>&- &
[ -z "$OWNER" ] || {
    watch_owner 7>&- &
    watcher=$!
}
restarts=0
tenths=1
while :; do
    read -r now _ </proc/uptime
    begun=${now%.*}
    boot
    again && pause || break
done
finish "$code"
