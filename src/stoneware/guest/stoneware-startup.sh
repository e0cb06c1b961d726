#!/bin/sh
# Run the scripts of the machine's metadata, as the guest agent of Compute Engine does: `stoneware-startup` those of the
# start (the boot agent has fetched them), `stoneware-startup shutdown` those of the end, as they are then. Of each
# kind there are two: the script itself, and -url, where one is. /run may be mounted noexec, so the
# interpreter is started by name.
set -u
# shellcheck source=src/stoneware/guest/lib.sh
. "${SW_ROOT-}/usr/lib/stoneware/lib.sh"
ENDPOINT=${SW_ENDPOINT:-${SW_MDS}:8089} # where instances of an emulated cloud find objects
FETCH='--globoff --fail --location --retry 3 --retry-connrefused --max-time 600 --max-filesize 268435456'

# interpreter_of SCRIPT: set `interpreter` and `argument` to what its first line says. Without one it is bash, as where bash is
# asked to run it.
interpreter_of() {
    IFS= read -r first <"$1"
    argument=''
    interpreter=/bin/sh
    if [ -x "$SW_ROOT/bin/bash" ]; then interpreter=/bin/bash; fi
    case $first in
    '#!'*)
        first=${first#'#!'}
        interpreter=${first#"${first%%[! ]*}"}
        case $interpreter in
        *' '*)
            argument=${interpreter#* }
            interpreter=${interpreter%% *}
            ;;
        esac
        ;;
    esac
}

# trim SCRIPT: take blank lines, and blanks, from its beginning.
trim() {
    case $first in
    '' | ' '* | '	'*)
        awk '!begun { sub(/^[ \t]+/, "") } begun || /[^ \t\r]/ { begun = 1; print }' "$1" >"$1.trimmed"
        mv "$1.trimmed" "$1"
        ;;
    esac
}

# run KEY SCRIPT: run it, each line of its output with its key in front. The unit ends well however it ends.
run() {
    chmod 700 "$2"
    interpreter_of "$2"
    trim "$2"
    interpreter_of "$2"
    # The steps of a bake are told apart on the console by the build agent itself.
    if [ -e "$SW_RUN/build" ]; then exec "$interpreter" ${argument:+"$argument"} "$2"; fi
    ended=$SW_RUN/${1%%-*}-exit
    {
        { "$interpreter" ${argument:+"$argument"} "$2" 2>&1 && echo 0 >"$ended" || echo $? >"$ended"; } |
            sed -u "s/^/$1: /"
        echo "$1 exit status $(cat "$ended")"
    } | tee -a "${SW_CONSOLE:-/dev/console}"
}

# object_of URL: set `object` to BUCKET/NAME, as a URL spells it, where a URL names an object of Cloud Storage.
object_of() {
    object=''
    case $1 in
    gs://?*/?*)
        object=$(printf '%s\n' "${1#gs://}" | sed 's/%/%25/g; s/ /%20/g; s/?/%3F/g; s/#/%23/g; s/\[/%5B/g; s/\]/%5D/g')
        ;;
    http*://storage.googleapis.com/?*/?* | http*://storage.cloud.google.com/?*/?* | \
        http*://commondatastorage.googleapis.com/?*/?*) object=${1#*://*/} ;;
    http*://?*.storage.googleapis.com/?*)
        object=${1#*://}
        object=${object%%.storage.googleapis.com/*}/${object#*/}
        ;;
    esac
}

# download URL FILE: get what is there; an object with the token of the machine's service account.
download() {
    object_of "$1"
    url=$1
    if [ -n "$object" ]; then
        if with_token "$object" "$2"; then return; fi
        url=https://storage.googleapis.com/$object
    fi
    # shellcheck disable=SC2086
    curl -q --silent --show-error --proto '=http,https' $FETCH -o "$2" -- "$url"
}

with_token() {
    sw_account --max-time 10 --retry 3 --retry-connrefused || return
    if [ -z "$sw_header" ]; then return 1; fi
    # shellcheck disable=SC2086
    printf '%s\n' "$sw_header" |
        curl -q --silent --noproxy '*' --config - $FETCH -o "$2" "$ENDPOINT/$1"
}

# run_url KEY FILE: run what the URL in a file leads to.
run_url() {
    IFS=' 	' read -r url <"$2" || [ -n "$url" ] || return 0
    if said=$(download "$url" "$2.script" 2>&1); then
        run "$1" "$2.script"
    else
        echo "$1: cannot get $url: $said" | tee -a "${SW_CONSOLE:-/dev/console}"
    fi
}

# of_now KEY FILE: get a value of the metadata as it is now; fails where there is none.
of_now() {
    sw_curl --fail --max-time 10 --retry 2 --retry-connrefused -o "$2" "$SW_V1/instance/attributes/$1" && [ -s "$2" ]
}

kind=${1:-startup}
for key in "$kind-script" "$kind-script-url"; do
    file=$SW_RUN/$key
    if [ "$kind" = shutdown ] && ! of_now "$key" "$file"; then continue; fi
    if [ ! -s "$file" ]; then continue; fi
    case $key in
    *-url) run_url "$key" "$file" ;;
    *) run "$key" "$file" ;;
    esac
done
