# shellcheck shell=sh
# What the build agent fetches and uploads: the bundle, secrets, caches and results, each with patience. They are objects
# of Cloud Storage, or files of the metadata server of a machine of Stoneware's. Part of the build agent.

SMALL_BUNDLE=67108864 # bytes; a larger bundle is not kept in memory but streamed again for each use

# value_at PATH: print a value of the instance's metadata; fails where there is none.
value_at() {
    # A server that is being restarted must not look like a value that is not there.
    sw_patience
    while :; do
        got=$(sw_curl --max-time 60 -w '\n%{http_code}' "$SW_V1/instance/$1")
        code=${got##*"$LINE"}
        if [ "$code" = 200 ]; then
            printf '%s\n' "${got%"$LINE"*}"
            return
        fi
        sw_again "$code" || return 1
    done
}

attribute() {
    value_at "attributes/$1"
}

# object_url ADDRESS KIND: set `url`, and whether it is `foreign`, where the machine's own token is asked for.
object_url() {
    url=$1 foreign=''
    case $1 in
    gs://*)
        bucket=${1#gs://}
        object=$(printf '%s' "${bucket#*/}" | sed 's|/|%2F|g')
        bucket=${bucket%%/*}
        store=$(attribute stoneware-storage) || store=https://storage.googleapis.com
        case $2 in
        get) url="$store/storage/v1/b/$bucket/o/$object?alt=media" ;;
        put) url="$store/upload/storage/v1/b/$bucket/o?uploadType=media&name=$object" ;;
        esac
        foreign=yes
        ;;
    esac
}

# own_token: set sw_header as sw_account does; fails where the server cannot tell, so that it is asked again.
own_token() {
    sw_account --show-error --max-time 30 || return 1
    case $sw_code in
    200 | 404) ;;
    *)
        echo "the metadata server has no token now: $sw_code" >&2
        return 1
        ;;
    esac
}

# request_once ARG…: one request for `url`. What comes goes to standard output. On standard error: what went wrong, and a
# line `@STATUS BYTES`.
request_once() {
    sw_header=''
    # With a token of now. Not in a file, for two may be fetching, nor on a command line, which every step may read.
    if [ -n "$foreign" ]; then own_token || return 1; fi
    printf '%s\n' "$sw_header" | sw_curl -K - --fail --show-error ${at:+-C} ${at:+"$at"} \
        -w '%{stderr}@%{http_code} %{size_download}\n' "$@" "$url"
}

# request ARG…: the same with patience, and why it failed in the file why.request. Where it is to `resume`, what has
# broken off goes on where it was.
request() {
    at=''
    sw_patience
    while :; do
        said=$(request_once "$@" 2>&1 >&3) && return 0
        ended=$?
        printf '%s\n' "$said" | sed '/^@/d; s/^curl: ([0-9]*) //' | tail -n 1 | head -c 300 >"$WORK/why.request"
        # Who reads it has ended, or it is larger than was asked for.
        case $ended in 23 | 63) return "$ended" ;; esac
        status=$(printf '%s\n' "$said" | sed -n 's/^@\([0-9]* [0-9]*\)$/\1/p')
        bytes=${status#* } status=${status%% *}
        case $status in
        20[06])
            if [ -n "$resume" ] && [ "$bytes" -gt 0 ]; then
                at=$((at + bytes))
                sw_patience
            fi
            ;;
        esac
        sw_again "$status" || return 1
    done 3>&1
}

# object_bytes ADDRESS [ARG…]: what is there on standard output; fails with 63 where it is larger than --max-filesize.
object_bytes() {
    object_url "$1" get
    shift
    resume=yes
    request --speed-limit 1 --speed-time 120 "$@"
}

# upload FILE ADDRESS: bring a file to where results go.
upload() {
    object_url "$2" put
    method=PUT
    case $2 in gs://*) method=POST ;; esac
    resume=''
    request -H 'Content-Type: application/x-tar' -H 'Expect:' -o /dev/null -X "$method" -T "$1"
}

# reason: why the last request failed, or what tar said of what came.
reason() {
    {
        head -n 1 "$WORK/why.tar"
        cat "$WORK/why.request"
    } 2>/dev/null | tail -n 1 | head -c 300
}

# bundle_bytes: the bundle on standard output.
bundle_bytes() {
    if [ -e "$WORK/bundle.tar" ]; then
        cat "$WORK/bundle.tar"
        return
    fi
    object_bytes "$BUNDLE"
}

# bundle_member NAME: one file of the bundle on standard output.
bundle_member() {
    if [ -e "$WORK/bundle.tar" ]; then
        tar -xOf "$WORK/bundle.tar" "$1"
    else
        bundle_bytes | tar -xO -f - "$1"
    fi
}

# bundle_unpack NAME: a file or a directory of the bundle, with all below it, into $WORK.
bundle_unpack() {
    if [ -e "$WORK/$1" ]; then return 0; fi
    bundle_bytes | tar -x -C "$WORK" -f - "$1"
}

# The small files of all steps now; trees, archives and bind mounts when their step comes. And what the driver's go
# looks like before it changes: go_etag.
fetch_bundle() {
    go_etag=''
    if ! fetch_nearby; then
        object_bytes "$BUNDLE" --max-filesize "$SMALL_BUNDLE" >"$WORK/bundle.tar"
        case $? in
        0) ;;
        63) rm -f "$WORK/bundle.tar" "$WORK/why.request" ;;
        *)
            rm -f "$WORK/bundle.tar"
            return 1
            ;;
        esac
        go_etag=$(sw_curl --fail --max-time 10 -w '%header{etag}' -o /dev/null "$SW_MDS$GO") || go_etag=''
    fi
    go_etag=${go_etag:-0}
    bundle_bytes | tar -t --quoting-style=literal -f - 2>/dev/null | sed 's|^\./||; s|/$||' >"$WORK/members" &
    members=$!
    bundle_bytes | tar -x -C "$WORK" --no-same-owner --exclude='steps/*/data.tar' --exclude='steps/*/archives' \
        --exclude='binds' --exclude='seal/root' -f - 2>"$WORK/why.tar" || return 1
    wait "$members"
}

# fetch_nearby: the same without curl, where the metadata server itself has the bundle.
fetch_nearby() {
    case $BUNDLE in "$SW_MDS"/*) ;; *) return 1 ;; esac
    {
        read -r code _
        read -r status go_etag
        read -r _ listed_etag
    } <<END
$(talk get "${BUNDLE#"$SW_MDS"}" "$WORK/bundle.tar" get "$GO" "$WORK/answer" get "$LISTED" "$WORK/answer")
END
    [ "$code $status" = '200 200' ]
}
