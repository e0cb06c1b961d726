# Runs one command in a virtual machine, its streams at ports that lead to the host: qemu/command.py starts it.
#   inside.sh PORTS TOKEN OWNER FEED TERMINAL COMMAND…
# PORTS.in, .out and .err are the ports; OWNER has the user and group of the command (UID:GID); FEED and TERMINAL are
# words or nothing; with TERMINAL (ROWS COLUMNS) the COMMAND is one word for sh. TOKEN, which nobody else can know, stands
# before and after what is the command's: `TOKEN PID TTY`, output, `TOKEN CODE`.
ports=$1 token=$2 owner=$3 feed=$4 terminal=$5
shift 5
tries=0
until true 2>/dev/null >"$ports.out"; do # the last command's may be about to close it
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || exit 120
    sleep 0.1
done
exec 4>"$ports.out" 5>"$ports.err"
printf '%s\n' "$token" >&5

await_host() { # pass over what is left of another command's input
    tries=0
    until IFS= read -r line && [ "$line" = "$token" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 1000 ] || return 1
        [ -n "$line" ] || sleep 0.02
    done
}

feed_it() { # lines with a number, that many bytes behind each; the input ends with the number 0
    await_host || return
    while IFS= read -r count && [ "${count:-0}" -gt 0 ]; do
        head -c "$count" || return
    done
}

if [ -n "$terminal" ]; then
    exec <"$ports.in"
    await_host || exit 121
    command=$1
    # shellcheck disable=SC2016 # for the shell on the terminal
    first='tty=$(tty) && chown "$OWNER" "$tty" && stty rows "$1" cols "$2" 2>/dev/null
        printf "%s %s %s\n" "$0" "$$" "$tty" >&4; exec 4>&- 5>&-; unset OWNER; eval "$3"'
    words=
    # shellcheck disable=SC2086 # two numbers
    for word in sh -c "$first" "$token" $terminal "$command"; do
        words="$words '$(printf '%s\n' "$word" | sed "s/'/'\\\\''/g")'"
    done
    OWNER=$owner SHELL=/bin/sh script --quiet --return --command "exec$words" /dev/null >&4 2>&5
    code=$?
else
    trap '' INT TERM QUIT HUP PIPE
    place=$(mktemp -d /run/stoneware-exec.XXXXXX) || exit 122
    mkfifo "$place/i" "$place/o" "$place/e"
    chown "$owner" "$place/i" "$place/o" "$place/e"
    cat <"$place/o" >&4 &
    out=$!
    cat <"$place/e" >&5 &
    err=$!
    feeder=
    if [ -n "$feed" ]; then
        feed_it <"$ports.in" >"$place/i" 2>/dev/null &
        feeder=$!
        input=$place/i
    else
        input=/dev/null
    fi
    # shellcheck disable=SC2016 # for the shell in a session of its own
    (
        trap - INT TERM QUIT HUP PIPE
        exec setsid sh -c 'printf "%s %s -\n" "$0" "$$" >&4; exec 4>&- 5>&-; exec "$@"' "$token" "$@"
    ) <"$input" >"$place/o" 2>"$place/e"
    code=$?
    # What the command leaves running may hold its streams for ever.
    { sleep 0.5; kill -KILL "$out" "$err"; } 2>/dev/null 4>&- 5>&- &
    last=$!
    wait "$out" "$err" 2>/dev/null
    [ -z "$feeder" ] || kill -KILL "$feeder" 2>/dev/null
    kill -KILL "$last" 2>/dev/null
    rm -rf "$place"
fi
printf '%s\n' "$token" >&5
printf '%s %s\n' "$token" "$code" >&4
