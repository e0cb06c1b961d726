#!/bin/sh
# Say that the machine runs, once every unit of the image has been started; or which of them failed.
#   stoneware-report               at the end of the boot
#   stoneware-report failed UNIT   a unit of the image failed (OnFailure=)
#   stoneware-report ended UNIT    the image's service has ended (ExecStopPost=)
set -u
# shellcheck source=src/stoneware/guest/lib.sh
. "${SW_ROOT-}/usr/lib/stoneware/lib.sh"
if [ ! -d "$SW_RUN" ]; then mkdir -p "$SW_RUN"; fi
sw_facts

# last_lines UNIT: what its processes said last, for people who see only the report. The journal may
# lag behind the end of a process.
last_lines() {
    journalctl --sync 2>/dev/null
    journalctl "_SYSTEMD_UNIT=$1" + "OBJECT_SYSTEMD_UNIT=$1" _SYSTEMD_UNIT=stoneware-output.service --lines=15 --output=cat --no-pager 2>/dev/null | tail -c 2000
}

complain() {
    sw_say "$1"
    sw_overtake booted
    sw_status failed "$1" "${2-}"
}

unit_failed() {
    code=$(systemctl show --property=ExecMainStatus --value "$1")
    why="exit code $code"
    if [ "${code:-0}" = 0 ]; then # the main process never ran
        code=1
        why=$(systemctl show --property=Result --value "$1")
    fi
    complain "$1 failed ($why)
$(last_lines "$1")" ",\"exit\":$code"
}

# has_processes UNIT: whether it runs; systemd takes the group of a unit away that has ended. Asking systemd is a
# program of several milliseconds, at every boot.
has_processes() {
    main=''
    for place in "$SW_ROOT"/sys/fs/cgroup "$SW_ROOT"/sys/fs/cgroup/systemd "$SW_ROOT"/sys/fs/cgroup/unified; do
        if [ -r "$place/system.slice/$1/cgroup.procs" ]; then
            read -r main <"$place/system.slice/$1/cgroup.procs" || :
            break
        fi
    done
    [ -n "$main" ]
}

booted() {
    if [ -s "$SW_IMAGE/units" ]; then
        set --
        while read -r unit; do
            if ! has_processes "$unit"; then set -- "$@" "$unit"; fi
        done <"$SW_IMAGE/units"
        # Each failed unit reports for itself: OnFailure= or, the image's service, ExecStopPost=.
        if [ $# -gt 0 ] && systemctl --quiet is-failed "$@"; then return; fi
    fi
    # What has gone wrong meanwhile is said after us, or instead of us.
    echo $$ >"$SW_RUN/booted"
    : >"$SW_RUN/booted.sending"
    if [ ! -e "$SW_RUN/booted.overtaken" ]; then sw_status running ''; fi
    : >"$SW_RUN/booted.sent"
}

# all_said: wait, for a second at most, until all that the service has said is passed on (stoneware-output).
all_said() {
    tries=0
    while [ -e "$SW_RUN/output/used" ] && [ "$tries" -lt 100 ]; do
        tries=$((tries + 1))
        sleep 0.01
    done
}

# Docker's rule: when the main process ends, the machine ends. Not so when somebody restarts the unit.
ended() {
    case ${EXIT_CODE-} in
    exited) code=$EXIT_STATUS ;;
    killed | dumped) code=$((128 + $(signal_number "$EXIT_STATUS"))) ;;
    *) code=1 ;;
    esac
    all_said
    if is_stopping; then
        sw_status stopped '' ",\"exit\":$code"
        return
    fi
    job=$(systemctl show --property=Job --value "$1")
    if [ "${job:-0}" != 0 ] && [ "${SERVICE_RESULT-}" = success ]; then return; fi
    if [ "$code" -eq 0 ]; then
        sw_overtake booted
        sw_status stopped '' ',"exit":0'
    else
        complain "the service ${1%.service} ended with exit code $code
$(last_lines "$1")" ",\"exit\":$code"
    fi
    systemctl --no-block exit "$code"
}

# is_stopping: whether the machine goes down. systemd then stops stoneware-report.service before the units of the image, and
# takes its RuntimeDirectory= away. Asking systemd is a program of several milliseconds, in each machine that stops.
is_stopping() {
    if [ -d "$SW_RUN/up" ]; then return 1; fi
    # It is not there either where the boot has not come so far, or the report has failed.
    [ -e "$SW_RUN/booted.sent" ] || [ "$(systemctl is-system-running)" = stopping ]
}

# signal_number NAME: kill -l of a POSIX shell only goes from numbers to names.
signal_number() {
    n=1
    while [ "$n" -lt 64 ] && [ "$(kill -l "$n" 2>/dev/null)" != "$1" ]; do n=$((n + 1)); done
    printf '%d\n' "$n"
}

case ${1-} in
failed) unit_failed "$2" ;;
ended) ended "$2" ;;
*) booted ;;
esac
