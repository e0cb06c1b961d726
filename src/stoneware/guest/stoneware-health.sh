#!/bin/sh
# Run the image's health check and report what it says: soon and in quick succession until the
# first success, then every interval. Times are in milliseconds.
set -u
# shellcheck source=src/stoneware/guest/lib.sh
. "${SW_ROOT-}/usr/lib/stoneware/lib.sh"
interval=30000 timeout=30000 start_period=0 start_interval=5000 retries=3
# shellcheck source=/dev/null
if [ -r "$SW_RUN/healthcheck" ]; then . "$SW_RUN/healthcheck"; else . "$SW_IMAGE/healthcheck"; fi
OUTPUT=$SW_RUN/health/output

# QEMU without KVM translates each instruction: what its author saw take two seconds takes twenty. Under KVM the name
# is kvm, on Compute Engine google, and in a container nothing needs to be asked.
software=''
if [ ! -e "$SW_ROOT/run/systemd/container" ] && [ "$(systemd-detect-virt --vm 2>/dev/null)" = qemu ]; then
    timeout=$((timeout * 10)) start_period=$((start_period * 10)) start_interval=$((start_interval * 10)) software=yes
fi

# uptime_ms: set `now`.
uptime_ms() {
    read -r up _ </proc/uptime
    now=$((${up%.*} * 1000 + 1${up#*.} * 10 - 1000))
}

# decimal MILLISECONDS: set `seconds` to them as sleep and timeout take them.
decimal() {
    seconds=$((1000 + $1 % 1000))
    seconds=$(($1 / 1000)).${seconds#1}
}

pause() {
    decimal "$1"
    sleep "$seconds"
}

# probe: run the check once; sets `code`, `took` and `now`.
probe() {
    uptime_ms
    began=$now
    decimal "$timeout"
    timeout -k 1 "$seconds" "$SW_LIB/service-exec" healthcheck >"$OUTPUT" 2>&1 </dev/null
    code=$?
    if [ "$code" -eq 124 ]; then printf 'the health check took longer than %d ms\n' "$timeout" >>"$OUTPUT"; fi
    uptime_ms
    took=$((now - began))
}

# rest: lengthen `wait` where the kernel runs in software: there a check is eight programs for one or two seconds of the
# processor, and the checks of a broker that started had a fifth of it. So they get ever less, a tenth in the end.
rest() {
    if [ -z "$software" ]; then return 0; fi
    if [ "$times" -lt 9 ]; then times=$((times + 1)); fi
    least=$((took * times))
    if [ "$least" -gt 30000 ]; then least=30000; fi # one that hangs takes long, and no processor
    if [ "$wait" -lt "$least" ]; then wait=$least; fi
}

# tell STATUS: report where something changed. A healthy machine that stays so says nothing.
tell() {
    if [ "$1" = "$told" ] && [ "$failing" -eq 0 ]; then return 0; fi
    told=$1
    said='""'
    if [ -s "$OUTPUT" ]; then said=$(sw_json_string "$(tail -c 1024 "$OUTPUT" | tr -d '\000')"); fi
    printf '{"status":"%s","exit":%d,"failing":%d,"output":%s}\n' "$1" "$code" "$failing" "$said" \
        >"$SW_RUN/health.json"
    sw_report health "$SW_RUN/health.json"
}

# settle: wait as long as it took to start this shell, 0.5 s at most. The service was started a moment before and is not
# listening sooner than we look, and a check that comes too early is four programs for nothing, on a computer that is busy.
settle() {
    read -r stat <"/proc/$$/stat"
    # shellcheck disable=SC2086 # its fields; behind the name of the program the 20th is the start, in hundredths
    set -- ${stat##*) }
    wait=$((now - ${20} * 10))
    if [ "$wait" -gt 500 ]; then wait=500; fi
    if [ "$wait" -ge 10 ]; then pause "$wait"; fi
}

# Until the first success the machine is starting, for as long as Docker would wait: the start period
# and then `retries` intervals.
start() {
    uptime_ms
    deadline=$((now + start_period + retries * interval))
    settle
    wait=20
    while :; do
        probe
        if [ "$code" -eq 0 ]; then break; fi
        failing=$((failing + 1))
        if [ "$now" -ge "$deadline" ]; then return 0; fi
        # A service needs a moment to listen: the second failure is the first worth a report.
        if [ "$failing" -eq 2 ]; then tell starting; fi
        # A check that takes long is not worth asking often.
        wait=$((wait * 3 / 2))
        if [ "$wait" -lt "$took" ]; then wait=$took; fi
        if [ "$wait" -gt "$start_interval" ]; then wait=$start_interval; fi
        if [ "$wait" -lt 10 ]; then wait=10; fi
        rest
        pause "$wait"
    done
    failing=0
    tell healthy
}

follow() {
    if [ "$code" -ne 0 ]; then tell unhealthy; fi
    while :; do
        wait=$interval
        rest
        pause "$wait"
        probe
        if [ "$code" -eq 0 ]; then
            failing=0
            tell healthy
            continue
        fi
        failing=$((failing + 1))
        if [ "$failing" -ge "$retries" ]; then tell unhealthy; else tell "$told"; fi
    done
}

told='' failing=0 code=0 took=0 times=2
# Only root gets there; a check of another user may open its output by name (/dev/stderr).
# shellcheck disable=SC2174 # of a directory that is missing above it, the mode is as ever
if [ ! -d "${OUTPUT%/*}" ]; then mkdir -p -m 700 "${OUTPUT%/*}"; fi
if [ -e "$OUTPUT" ]; then rm -f "$OUTPUT"; fi
(umask 044 && : >"$OUTPUT")
start
follow
