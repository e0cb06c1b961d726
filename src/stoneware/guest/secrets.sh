# shellcheck shell=sh
# The machine's secrets: fetched, held back until the configuration is accepted, then put below
# /run/secrets. Sourced by the boot agent, after lib.sh; needs its PROBLEMS, TAB and fail.
#
# Attribute stoneware-secrets: lines TARGET<TAB>MODE (octal)<TAB>URL<TAB>VERSION<TAB>UID:GID (root's where it is
# missing); a TARGET is below /run/secrets, or absolute. In /run/stoneware/secrets, for root alone: list (lines
# PATH<TAB>MODE<TAB>TARGET<TAB>OWNER), the fetched files by number until they are in their places, targets (what
# is below /run/secrets by us, and the absolute ones). merge.awk reads the list. No value is ever printed.
SECRETS=$SW_RUN/secrets

# secret_target TARGET: whether it names a file below /run/secrets, or one by its absolute path.
secret_target() {
    case /${1#/}/ in
    *//* | */./* | */../*) return 1 ;;
    esac
}

# fetch_secrets FILE: fetch what the attribute in FILE lists, in one process.
fetch_secrets() {
    : >"$SECRETS/list"
    if [ ! -s "$1" ]; then return 0; fi
    echo >>"$1"
    file=$1 number=0
    : >"$SECRETS/versions"
    set --
    while IFS=$TAB read -r target mode url _ owner; do
        if [ -z "$target" ]; then continue; fi
        if ! secret_target "$target"; then
            echo "the secret $target cannot be a file below /run/secrets" >>"$PROBLEMS"
            continue
        fi
        number=$((number + 1))
        printf '%s\t%s\t%s\t%s\n' "$SECRETS/$number" "$mode" "$target" "${owner:-0:0}" >>"$SECRETS/list"
        case $url in
        *:access) printf '%s\t%s\t%s\n' "$SECRETS/$number" "$url" "$target" >>"$SECRETS/versions" ;;
        *) set -- "$@" -o "$SECRETS/$number" "$url" ;;
        esac
    done <"$file"
    if [ -s "$SECRETS/versions" ]; then fetch_versions; fi
    rm -f "$SECRETS/versions"
    if [ $# -eq 0 ]; then return 0; fi
    codes=$(umask 077 && sw_curl --globoff --max-time 60 --retry 3 --retry-all-errors \
        -w '%{http_code} %{filename_effective}\n' "$@")
    while IFS=$TAB read -r path _ target _; do
        case " $* " in *" $path "*) ;; *) continue ;; esac
        # An empty secret is a file too, which curl does not make.
        case "
$codes
" in
        *"
200 $path
"*) : >>"$path" ;;
        *"
40"[34]" $path
"*) echo "the secret $target is not there: the metadata server does not have it" >>"$PROBLEMS" ;;
        *) echo "the secret $target cannot be fetched from the metadata server" >>"$PROBLEMS" ;;
        esac
    done <"$SECRETS/list"
}

# fetch_versions: fetch what is in Secret Manager, with the machine's own token, which is in no argument.
fetch_versions() {
    sw_account --max-time 20 --retry 5 --retry-all-errors || :
    if [ -z "$sw_header" ]; then
        echo 'the secrets cannot be fetched: the machine has no service account' >>"$PROBLEMS"
        return
    fi
    (umask 077 && printf '%s\n' "$sw_header" >"$SECRETS/curl")
    while IFS=$TAB read -r path url target; do
        fetch_version "$path" "$url" </dev/null
        case $code in
        200) (umask 077 && secret_data <"$SECRETS/reply" >"$path") ;;
        403) echo "the secret $target may not be read by the machine's service account: it needs roles/secretmanager.secretAccessor" >>"$PROBLEMS" ;;
        400 | 404) echo "the secret $target is not there: $url" >>"$PROBLEMS" ;;
        *) echo "the secret $target cannot be fetched (HTTP status $code): $url" >>"$PROBLEMS" ;;
        esac
        rm -f "$SECRETS/reply"
    done <"$SECRETS/versions"
    rm -f "$SECRETS/curl"
}

# fetch_version PATH URL: set `code`. A right that was just given takes a while to be known everywhere.
fetch_version() {
    tries=0
    while :; do
        code=$(umask 077 && curl -q --silent --globoff --connect-timeout 10 --max-time 60 \
            --retry "${SW_SECRET_RETRIES:-5}" --retry-all-errors --config "$SECRETS/curl" -o "$SECRETS/reply" -w '%{http_code}' "$2")
        tries=$((tries + 1))
        if [ "$code" != 403 ] || [ "$tries" -gt "${SW_SECRET_TRIES:-12}" ]; then return; fi
        sleep 5
    done
}

# secret_data: print the value out of a reply of Secret Manager.
secret_data() {
    tr -d '\n' | sed -n 's/.*"data" *: *"\([A-Za-z0-9+\/=_-]*\)".*/\1/p' | tr '_-' '/+' | base64 -d
}

# own PATH MODE OWNER: give a file its mode and owner.
own() {
    chmod "$2" "$1" && { [ -n "$SW_ROOT" ] || [ "$3" = 0:0 ] || chown "$3" "$1"; }
}

# place_secrets: put each file into its place at once, and remove those that are no longer secrets of ours.
# Absolute ones wait for place_files.
place_secrets() {
    if [ ! -s "$SECRETS/list" ] && [ ! -e "$SECRETS/targets" ]; then return 0; fi
    places=$SW_ROOT/run/secrets
    : >"$SECRETS/targets.new"
    while IFS=$TAB read -r path mode target owner; do
        printf '%s\n' "$target" >>"$SECRETS/targets.new"
        case $target in /*) continue ;; esac
        place=$places/$target
        mkdir -p "${place%/*}" && own "$path" "$mode" "$owner" && mv -fT "$path" "$place" ||
            fail "the secret $target cannot be written to /run/secrets"
    done <"$SECRETS/list"
    if [ -r "$SECRETS/targets" ]; then
        while IFS= read -r target; do
            if grep -qxF -e "$target" "$SECRETS/targets.new"; then continue; fi
            case $target in
            /*) rm -f "$SW_ROOT$target" ;;
            *) rm -f "$places/$target" ;;
            esac
        done <"$SECRETS/targets"
    fi
    mv -f "$SECRETS/targets.new" "$SECRETS/targets"
}

# place_files: put what has an absolute target into its place, once the disks are mounted that it may be on. Each
# file is complete beside its place before it is renamed.
place_files() {
    if [ ! -s "$SECRETS/list" ]; then return 0; fi
    while IFS=$TAB read -r path mode target owner; do
        case $target in /*) ;; *) continue ;; esac
        place=$SW_ROOT$target
        if [ -d "$place" ]; then fail "the file $target cannot be written: it is a directory"; fi
        staged=${place%/*}/.${place##*/}.stoneware
        mkdir -p "${place%/*}" && cp "$path" "$staged" && own "$staged" "$mode" "$owner" && mv -fT "$staged" "$place" ||
            fail "the file $target cannot be written"
        rm -f "$path"
    done <"$SECRETS/list"
}
