#!/bin/bash
# Report guest attributes: bash -p stoneware-tell SERVER NAME FILE [NAME FILE]…
#
# bash has sockets of its own and starts in a fifth of curl's time. It says nothing: where it fails, because a
# file holds NUL bytes or the server does not take a report, curl reports all of them (sw_report in lib.sh).
LC_ALL=C # lengths in bytes
server=${1#http://}
host=${server%%:*} port=80
case $server in
*[!a-zA-Z0-9.:-]* | *:*:*) exit 1 ;;
*:*) port=${server##*:} ;;
esac
shift
echo >/dev/null # see stoneware-ask
while [ $# -gt 0 ]; do
    if [ ! -r "$2" ] || IFS= read -r -d '' body <"$2"; then exit 1; fi
    exec 3<>"/dev/tcp/$host/$port" || exit 1
    # In one piece, see stoneware-ask.
    printf -v request 'PUT /computeMetadata/v1/instance/guest-attributes/%s HTTP/1.1\r\nHost: %s\r\n' "$1" "$server"
    printf -v request '%sMetadata-Flavor: Google\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
        "$request" "${#body}" "$body"
    printf '%s' "$request" >&3
    read -r -t 10 -u 3 _ code _ || exit 1
    [ "$code" = 200 ] || exit 1
    exec 3>&-
    shift 2
done
