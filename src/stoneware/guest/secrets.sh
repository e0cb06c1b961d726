# shellcheck shell=sh
# The machine's secrets: fetched, held back until the configuration is accepted, then put below
# /run/secrets. Sourced by the boot agent, after lib.sh; needs its PROBLEMS, TAB and fail.
#
# Attribute stoneware-secrets: lines TARGET<TAB>MODE (octal)<TAB>URL<TAB>VERSION. In /run/stoneware/secrets,
# for root alone: list (lines PATH<TAB>MODE<TAB>TARGET), the fetched files by number until they are in their
# places, targets (what is below /run/secrets by us). merge.awk reads the list. No value is ever printed.
SECRETS=$SW_RUN/secrets

# secret_target TARGET: whether it names a file below /run/secrets.
secret_target() {
    case /$1/ in
    *//* | */./* | */../*) return 1 ;;
    esac
}

# fetch_secrets FILE: fetch what the attribute in FILE lists, in one process.
fetch_secrets() {
    : >"$SECRETS/list"
    if [ ! -s "$1" ]; then return 0; fi
    echo >>"$1"
    file=$1 number=0
    set --
    while IFS=$TAB read -r target mode url _; do
        if [ -z "$target" ]; then continue; fi
        if ! secret_target "$target"; then
            echo "the secret $target cannot be a file below /run/secrets" >>"$PROBLEMS"
            continue
        fi
        number=$((number + 1))
        printf '%s\t%s\t%s\n' "$SECRETS/$number" "$mode" "$target" >>"$SECRETS/list"
        set -- "$@" -o "$SECRETS/$number" "$url"
    done <"$file"
    if [ "$number" -eq 0 ]; then return 0; fi
    codes=$(umask 077 && sw_curl --globoff --max-time 60 --retry 3 --retry-connrefused \
        -w '%{http_code} %{filename_effective}\n' "$@")
    while IFS=$TAB read -r path _ target; do
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

# place_secrets: put each file into its place at once, and remove those that are no longer secrets of ours.
place_secrets() {
    if [ ! -s "$SECRETS/list" ] && [ ! -e "$SECRETS/targets" ]; then return 0; fi
    places=$SW_ROOT/run/secrets
    : >"$SECRETS/targets.new"
    while IFS=$TAB read -r path mode target; do
        place=$places/$target
        mkdir -p "${place%/*}" && chmod "$mode" "$path" && mv -fT "$path" "$place" ||
            fail "the secret $target cannot be written to /run/secrets"
        printf '%s\n' "$target" >>"$SECRETS/targets.new"
    done <"$SECRETS/list"
    if [ -r "$SECRETS/targets" ]; then
        while IFS= read -r target; do
            if ! grep -qxF -e "$target" "$SECRETS/targets.new"; then rm -f "$places/$target"; fi
        done <"$SECRETS/targets"
    fi
    mv -f "$SECRETS/targets.new" "$SECRETS/targets"
}
