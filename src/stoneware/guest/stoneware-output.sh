#!/bin/sh
# Pass on what the image's service says: from a pipe, for that can be opened once more (/dev/stdout, /dev/stderr), to
# the journal and the console, which is where our own output goes. The unit's file is the seal's (units.py).
#
# The service opens the pipe when it starts and so makes `used`; once all of it has ended, and all it said is passed
# on, `used` goes again. We outlive the service when the machine is switched off.
set -u
output=${SW_ROOT-}/run/stoneware/output
# Only root gets there: the pipe may be written by whoever has it as an open file.
# shellcheck disable=SC2174 # of a directory that is missing above it, the mode is as ever
if [ ! -d "$output" ]; then mkdir -p -m 700 "$output" 2>/dev/null; fi
if [ ! -p "$output/pipe" ]; then mkfifo -m 622 "$output/pipe" 2>/dev/null; fi
ending='' reader=''
# The reader is ended by whoever comes last: the signal, or we who have just started it. It only waits for one who opens
# the pipe, and another signal would be lost while it is our copy still: our trap is in that, cat not yet.
trap 'ending=yes; end_unused' TERM
end_unused() {
    if [ ! -e "$output/used" ] && [ -n "$reader" ]; then kill -KILL "$reader" 2>/dev/null; fi
}
while [ -z "$ending" ]; do
    cat "$output/pipe" &
    reader=$!
    if [ -n "$ending" ]; then end_unused; fi
    # A signal ends the waiting, not the reader.
    while ! wait "$reader" && [ -d "/proc/$reader" ]; do :; done
    reader=''
    if [ -e "$output/used" ]; then rm -f "$output/used"; fi
done
