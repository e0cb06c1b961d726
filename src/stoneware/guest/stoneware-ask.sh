#!/bin/bash
# Ask the metadata server: bash -p stoneware-ask SERVER SECONDS PATH FILE [PATH FILE]…
#
# Each PATH is below /computeMetadata/v1/instance, or begins with a slash; its value goes into FILE, and a line `CODE FILE ETAG` to standard
# output. SECONDS is what the server may take for an answer. As stoneware-tell it says nothing, and where it fails,
# for an answer may be large, in chunks or not text, curl asks.
LC_ALL=C # lengths in bytes
server=${1#http://} seconds=$2
host=${server%%:*} port=80
case $server in
*[!a-zA-Z0-9.:-]* | *:*:*) exit 1 ;;
*:*) port=${server##*:} ;;
esac
shift 2
exec 3<>"/dev/tcp/$host/$port" || exit 1
echo >/dev/null # what bash prints first goes line by line, all later output as it is given
while [ $# -gt 0 ]; do
    case $1 in
    /*) path=$1 ;;
    *) path=/computeMetadata/v1/instance/$1 ;;
    esac
    # In one piece: a line that comes by itself behind the first request waits for the server's acknowledgement of the
    # line before it, which the kernel there holds back for 40 ms.
    printf -v request 'GET %s HTTP/1.1\r\nHost: %s\r\nMetadata-Flavor: Google\r\n\r\n' "$path" "$server"
    printf '%s' "$request" >&3
    read -r -t "$seconds" -u 3 _ code _ || exit 1
    length='' etag='' body=''
    while IFS= read -r -t 10 -u 3 line && [ "$line" != $'\r' ]; do
        line=${line%$'\r'}
        value=${line#*:}
        case ${line,,} in
        content-length:*) length=${value// /} ;;
        etag:*) etag=${value# } ;;
        transfer-encoding:*) exit 1 ;;
        esac
    done
    case $length in '' | *[!0-9]* | ???????*) exit 1 ;; esac
    if [ "$length" -gt 0 ]; then IFS= read -r -t 10 -N "$length" -u 3 body || exit 1; fi
    if [ "${#body}" -ne "$length" ]; then exit 1; fi # NUL bytes
    if [ "$code" = 200 ]; then printf '%s' "$body" >"$2" || exit 1; fi
    printf '%s %s %s\n' "$code" "$2" "$etag"
    shift 2
done
