# shellcheck shell=sh
# RUN: secrets, identity, a control group of its own, output to the console. Part of the build agent.

# step_cgroup: print a fresh control group below our own, nothing where none can be made. Everything
# that a step leaves behind is in it, while services that systemd started for the step are not.
step_cgroup() {
    own=''
    while IFS= read -r line; do case $line in 0::*) own=${line#0::} ;; esac; done </proc/self/cgroup
    for base in "/sys/fs/cgroup${own%/}" "/sys/fs/cgroup/unified${own%/}"; do
        if [ -n "$own" ] && [ -w "$base/cgroup.procs" ] && mkdir -p "$base/step-$$" 2>/dev/null; then
            printf '%s\n' "$base/step-$$"
            return
        fi
    done
}

# kill_left_behind GROUP SESSION: end what the step left running, by control group, else by session.
kill_left_behind() {
    if [ -n "$1" ]; then
        if ! echo 1 2>/dev/null >"$1/cgroup.kill"; then
            # shellcheck disable=SC2046
            kill -KILL $(cat "$1/cgroup.procs") 2>/dev/null
        fi
        rmdir "$1" 2>/dev/null || { sleep 0.05 && rmdir "$1" 2>/dev/null; }
        return 0
    fi
    processes
    awk -v session="$2" '$4 == session { print $1 }' "$WORK/processes" | while read -r pid; do
        kill -KILL "$pid" 2>/dev/null
    done
}

# to_console PREFIX: pass lines on as they come, none longer than 16 KiB. Of a line that was written over
# (progress bars) what a terminal would show in the end. A byte 1 at the end of the last line is ours: it
# stands for the newline that may be missing there.
to_console() {
    stdbuf -oL fold -b -w 16384 |
        stdbuf -oL sed "s/\r*\$//; s/.*\r//; /^\x01\$/d; s/\x01\$//; s/^/$1/" >>"$SW_CONSOLE"
}

# fetch_secrets NUMBER NAME…: have the driver serve what step NUMBER needs, and keep it in memory, for that
# step only. Nothing that an earlier step has left runs by then.
fetch_secrets() {
    mkdir -m 700 "$WORK/secrets" || return 1
    if [ -z "$SW_ROOT" ]; then mount -t tmpfs -o mode=700 tmpfs "$WORK/secrets" || return 1; fi
    sweep
    report secrets "$1" 0 ''
    wait_for stoneware-serving serving "$1"
    shift
    for name in "$@"; do
        case $BUNDLE in
        gs://*)
            if ! fetch_sealed "$name"; then
                echo "the secret ${name#secret-} cannot be had"
                return 1
            fi
            continue
            ;;
        esac
        sw_patience
        until status=$(with_key --max-time 60 -o "$WORK/secrets/$name" -w '%{http_code}' \
            "$SW_MDS/stoneware/v1/build-secrets/$name") && [ "$status" = 200 ]; do
            if sw_again "$status"; then continue; fi
            echo "the secret ${name#secret-} is not served: $status"
            return 1
        done
    done
}

# serving NUMBER: for wait_for, that the driver serves the secrets of this step.
serving() {
    case $answer in "$1" | "$1 "*) return 0 ;; esac
    return 1
}

# with_key ARGUMENT…: a request with the agent's key, which no step knows: no argument, file or variable of the
# environment has it, and steps may not look into the agent.
with_key() {
    printf 'header = "X-Stoneware-Key: %s"\n' "$own_key" | sw_curl -K - "$@"
}

# take_key: make the key before any step runs, and tell it the server, which takes the first one only. Notes what
# runs now: all else comes from steps.
take_key() {
    case $BUNDLE in
    gs://*) make_pair || return 1 ;;
    *)
        own_key=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')
        sw_patience
        until status=$(tell_key) && [ "$status" = 200 ]; do sw_again "$status" || return 1; done
        ;;
    esac
    if [ -n "$SW_ROOT" ]; then return 0; fi
    processes
    running=' '
    while read -r pid _ start _; do running="$running$pid:$start "; done <"$WORK/processes"
    units=" $(running_units | tr '\n' ' ') "
}

tell_key() {
    printf %s "$own_key" | sw_curl --max-time 10 -o /dev/null -w '%{http_code}' -X PUT --data-binary @- \
        "$SW_MDS/stoneware/v1/build-key"
}

# processes: list process, parent, start and session of all that runs, in $WORK/processes. Names may hold anything.
# No process is started for it: there may be a thousand.
processes() {
    for stat in /proc/[0-9]*/stat; do
        text=''
        while IFS= read -r part; do text="$text$part "; done 2>/dev/null <"$stat"
        if [ -z "$text" ]; then continue; fi
        # shellcheck disable=SC2086
        set -- ${text##*) }
        pid=${stat#/proc/}
        printf '%s %s %s %s\n' "${pid%/stat}" "$2" "${20}" "$4"
    done >"$WORK/processes" 2>/dev/null
}

running_units() {
    systemctl list-units --plain --no-legend --type=service,socket,timer,path,automount,scope \
        --state=active,activating,reloading | while read -r unit _; do echo "$unit"; done
}

# sweep: end all that steps have left running, services too: it could ask for the secrets of a later step.
sweep() {
    if [ -n "$SW_ROOT" ] || [ -z "$stepped" ]; then return 0; fi
    set --
    for unit in $(running_units); do
        case $units in *" $unit "*) ;; *) set -- "$@" "$unit" ;; esac
    done
    if [ $# -gt 0 ]; then
        systemctl kill --signal=KILL -- "$@" 2>/dev/null
        timeout -k 1 10 systemctl stop -- "$@" 2>/dev/null
    fi
    for _ in 1 2 3 4 5; do
        processes
        # shellcheck disable=SC2046
        set -- $(awk -v self="$$" -v known="$running" '
            { parent[$1] = $2; started[$1] = $3 }
            END {
                for (pid in parent) {
                    if (index(known, " " pid ":" started[pid] " ")) continue
                    for (up = pid; up in parent && up != self; up = parent[up]) if (up <= 1) break
                    if (up != self) print pid
                }
            }' "$WORK/processes")
        if [ $# -eq 0 ]; then return 0; fi
        kill -KILL "$@" 2>/dev/null
        sleep 0.05
    done
}

drop_secrets() {
    if [ ! -d "$WORK/secrets" ]; then return 0; fi
    rm -f "$WORK"/secrets/* "$WORK"/secrets/.[!.]*
    if [ -z "$SW_ROOT" ]; then umount "$WORK/secrets"; fi
    rmdir "$WORK/secrets"
}

# quoted WORD: print WORD as one word of sh.
quoted() {
    case $1 in
    *[!A-Za-z0-9/._=,:-]* | '') ;;
    *)
        printf '%s\n' "$1"
        return
        ;;
    esac
    printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"
}

# secret_variables: print the commands that put the secrets which are wanted as variables where the step's script
# finds them. They run before the step's user is taken on, who could not read the files.
secret_variables() {
    while read -r mount variable; do
        # shellcheck disable=SC2016 # the step's shell expands it
        printf 'SW_SECRET_%s=$(cat %s; echo x)\nexport SW_SECRET_%s="${SW_SECRET_%s%%x}"\n' \
            "$mount" "$(quoted "$WORK/secrets/$mount")" "$mount" "$mount"
    done <"$WORK/secret-env"
}

# The step's script with those variables in its environment; the driver writes `exec env -i …` at the beginning
# of a line.
script_with_secrets() {
    if [ ! -s "$WORK/secret-env" ]; then
        cat "$1"
        return
    fi
    # shellcheck disable=SC2016
    words=$(sed 's/^\([0-9]*\) \(.*\)$/"\2=$SW_SECRET_\1"/' "$WORK/secret-env" | tr '\n' ' ')
    sed "0,/^exec env -i /s//exec env -i $words/" "$1"
}

# without_network: print the commands that leave a step in a network namespace of its own nothing but loopback:
# what the manager of services would run for it has the network.
without_network() {
    echo 'ip link set lo up 2>/dev/null'
    echo 'echo 0 2>/dev/null >/proc/sys/net/ipv4/ip_unprivileged_port_start'
    echo 'if [ -d /run/dbus ]; then mount -t tmpfs -o mode=755 tmpfs /run/dbus || exit 1; fi'
    echo 'if [ -S /run/systemd/private ]; then mount --bind /dev/null /run/systemd/private || exit 1; fi'
}

# run_step DIRECTORY NUMBER: run it and set `code`.
run_step() {
    code=1
    user=''
    if [ -s "$1/user" ]; then IFS= read -r user <"$1/user" || :; fi
    sw_user_of "$user" 2>"$WORK/why" || { step_line "$2" "$(cat "$WORK/why")"; return 0; }
    HOME=$home
    export HOME
    # As BuildKit does: an earlier step may have removed it.
    if [ -s "$1/workdir" ]; then
        IFS= read -r place <"$1/workdir" || :
        if [ ! -d "$SW_ROOT$place" ] && ! mkdir -p "$SW_ROOT$place" 2>"$WORK/why"; then
            step_line "$2" "$(cat "$WORK/why")"
            return 0
        fi
    fi
    network=''
    if [ -s "$1/network" ]; then IFS= read -r network <"$1/network" || :; fi
    if ! prepare_mounts "$1" "$2" >"$WORK/why" 2>&1; then
        step_line "$2" "a mount of this step cannot be prepared: $(tail -n 1 "$WORK/why")"
    else
        script_with_secrets "$1/run" >"$WORK/script"
        {
            if [ "$network" = none ]; then without_network; fi
            if [ -s "$WORK/mounting" ]; then cat "$WORK/mounting"; fi
            secret_variables
            printf 'exec %s sh %s\n' "$(identity)" "$(quoted "$WORK/script")"
        } >"$WORK/start"
        guard_packages
        guard_resolver
        run_in_session "$2"
        unguard_resolver
        unguard_packages
    fi
    stepped=yes
    remove_mount_points
    drop_secrets
    rm -f "$WORK/script" "$WORK/start"
}

# identity: print the words that change to the user which sw_user_of has set.
identity() {
    # Docker's containers have not this capability either. With it a step could read the agent's key, or take on
    # the network of another process.
    if [ -n "$own_key" ] || [ "$network" = none ]; then printf 'setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace '; fi
    case $uid:$gid:$groups in
    0:0:none) ;;
    *:init) printf 'setpriv --reuid=%s --regid=%s --init-groups' "$login" "$gid" ;;
    *) printf 'setpriv --reuid=%s --regid=%s --clear-groups' "$uid" "$gid" ;;
    esac
}

run_in_session() {
    group=$(step_cgroup)
    set -- "$1" setsid
    if [ "$network" = none ]; then
        set -- "$@" unshare --mount --net
    elif [ -s "$WORK/mounting" ]; then
        set -- "$@" unshare --mount
    fi
    number=$1
    shift
    # A step may open its output by name, as /dev/stdout or /dev/stderr: whoever it becomes. Nobody else finds it.
    if [ -e "$WORK/output" ]; then rm -f "$WORK/output"; fi
    mkfifo -m 622 "$WORK/output"
    if [ "$uid:$gid" != 0:0 ]; then chown "$uid:$gid" "$WORK/output"; fi
    # Opened for both first, so that neither open waits for the other end: busybox gives up one that a child's end
    # interrupts, and the agent with it.
    exec 7<>"$WORK/output"
    exec 8<"$WORK/output"
    exec 9>"$WORK/output"
    exec 7>&-
    rm -f "$WORK/output"
    # By exec: a redirection of the function alone would keep a copy of the writing end, and the reader no end.
    (
        exec <&8 8<&- 9>&-
        to_console "$SW_TOKEN $number| "
    ) &
    filter=$!
    exec 8<&-
    (
        # Only this process and its children enter the step's group.
        if [ -n "$group" ]; then sh -c 'echo $PPID' >"$group/cgroup.procs"; fi
        exec "$@" sh "$WORK/start"
    ) >&9 2>&1 </dev/null 9>&- &
    child=$!
    wait "$child"
    code=$?
    kill_left_behind "$group" "$child"
    printf '\001\n' >&9
    exec 9>&-
    # What escaped and still holds the pipe must not hold the bake.
    (sleep 3 && kill "$filter") >/dev/null 2>&1 &
    guard=$!
    wait "$filter"
    kill "$guard" 2>/dev/null
    wait "$guard" 2>/dev/null
}
