#!/bin/bash
# Requests of the build agent to the metadata server, over one connection: bash -p talk SERVER WORD…
#
# The words are `get PATH FILE`, which prints `CODE ETAG`, and `put PATH FILE`, which prints `CODE`; a get's FILE is
# written where the code is 200. bash has sockets of its own, while curl's libraries take longer to load than a step
# takes that does little. It says nothing: where it fails, for a server may be far away or answer in chunks, curl asks.
LC_ALL=C # lengths in bytes
server=${1#http://}
host=${server%%:*} port=80
case $server in
*[!a-zA-Z0-9.:-]* | *:*:*) exit 1 ;;
*:*) port=${server##*:} ;;
esac
shift
SHORT=3000 # bytes of a text that goes or comes without another process
exec 3<>"/dev/tcp/$host/$port" || exit 1
echo >/dev/null # see stoneware-ask
while [ $# -gt 0 ]; do
    size=0 body='' rest=''
    if [ "$1" = put ]; then
        if [ ! -r "$3" ]; then exit 1; fi
        # A short text goes in one piece with what is before it, see stoneware-ask. Where it holds NUL bytes it is none.
        if IFS= read -r -d '' -n "$SHORT" body <"$3"; then
            body='' rest=$3
            size=$(stat -c %s -- "$3") || exit 1
        else
            size=${#body}
        fi
    fi
    printf -v request '%s %s HTTP/1.1\r\nHost: %s\r\nMetadata-Flavor: Google\r\nContent-Length: %d\r\n\r\n%s' \
        "${1^^}" "$2" "$server" "$size" "$body"
    printf '%s' "$request" >&3
    if [ -n "$rest" ]; then cat -- "$rest" >&3 || exit 1; fi
    patience=10
    if [ "$1" = get ]; then patience=90; fi # it may wait for a change
    read -r -t "$patience" -u 3 _ code _ || exit 1
    length='' etag=''
    while IFS= read -r -t 10 -u 3 line && [ "$line" != $'\r' ]; do
        line=${line%$'\r'}
        value=${line#*:}
        case ${line,,} in
        content-length:*) length=${value// /} ;;
        etag:*) etag=${value# } ;;
        transfer-encoding:*) exit 1 ;;
        esac
    done
    case $length in '' | *[!0-9]* | ????????????*) exit 1 ;; esac
    target=/dev/null
    if [ "$1 $code" = 'get 200' ]; then
        target=$3
        # What is too large to be kept in memory is streamed instead: SMALL_BUNDLE of agent.sh.
        if [ "$length" -gt 67108864 ]; then exit 1; fi
    fi
    if [ "$length" -le "$SHORT" ]; then
        body=''
        if [ "$length" -gt 0 ]; then IFS= read -r -t 10 -N "$length" -u 3 body || exit 1; fi
        if [ "${#body}" -ne "$length" ]; then exit 1; fi # NUL bytes
        printf '%s' "$body" >"$target" || exit 1
    else
        head -c "$length" <&3 >"$target" || exit 1
        if [ "$target" != /dev/null ] && [ "$(stat -c %s -- "$target")" != "$length" ]; then exit 1; fi
    fi
    if [ "$1" = put ]; then printf '%s\n' "$code"; else printf '%s %s\n' "$code" "$etag"; fi
    shift 3
done
