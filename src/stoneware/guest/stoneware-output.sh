#!/bin/sh
# Pass on what the image's service says: from a pipe, for that can be opened anew (/dev/stdout, /dev/stderr), to
# the journal and the console, which is where our own output goes. The unit's file is the seal's (units.py).
#
# The service opens the pipe when it starts and so makes `used`; once all of it has ended, and all it said is passed
# on, `used` goes again. We outlive the service when the machine is switched off.
set -u
output=${SW_ROOT-}/run/stoneware/output
# Only root gets there: the pipe may be written by whoever has it as an open file.
if [ ! -d "$output" ]; then
    mkdir -p "${output%/*}"
    mkdir -m 700 "$output" 2>/dev/null
fi
if [ ! -p "$output/pipe" ]; then mkfifo -m 622 "$output/pipe" 2>/dev/null; fi
ending=''
trap 'ending=yes' TERM
while :; do
    cat "$output/pipe" &
    reader=$!
    # A signal ends the waiting, not the reader.
    while ! wait "$reader" && [ -d "/proc/$reader" ]; do
        if [ -n "$ending" ] && [ ! -e "$output/used" ]; then
            kill "$reader"
            exit 0
        fi
    done
    rm -f "$output/used"
    if [ -n "$ending" ]; then exit 0; fi
done
