# shellcheck shell=sh
# Asking the metadata server for what a boot needs: `fetch` puts a file per value into $MD. Sourced by the boot agent.
# In the order of an answer to /stoneware/v1/boot.
VALUES='name hostname network-interfaces/0/ip network-interfaces/0/dns-servers'

# All attributes in one request, which tells of a change as well; then what else is of use, in the same process.
fetch() {
    if ask_at_once; then return 0; fi
    ask_quickly || ask_patiently
    etag=0
    while read -r code file tag; do
        case $code in
        200) ;;
        403 | 404) : >"$file" ;;
        *) return 1 ;;
        esac
        if [ "$file" = "$MD/json" ]; then etag=${tag:-0}; fi
    done <<END
$codes
END
    sw_attributes "$MD" || return 1
    printf '%s\n' "$etag" >"$MD/etag"
}

# ask_at_once: all of it in one answer, of our own metadata server: the attributes' ETag, name, host name, address and name
# servers, a line each, then the attributes.
ask_at_once() {
    if [ -n "$asked" ] || ! command -v bash >/dev/null; then return 1; fi
    codes=$(timeout 5 bash -p "$SW_LIB/stoneware-ask" "$SW_MDS" 5 /stoneware/v1/boot "$MD/boot" 2>/dev/null)
    case $codes in
    '200 '*) ;;
    '404 '*) return 1 ;; # Compute Engine's
    *)
        asked=yes
        return 1
        ;;
    esac
    {
        IFS= read -r etag
        for value in $VALUES; do
            IFS= read -r line
            printf '%s' "$line" >"$MD/${value##*/}"
        done
        sw_attributes "$MD" - || return 1
    } <"$MD/boot"
    printf '%s\n' "$etag" >"$MD/etag"
}

# ask_quickly: set `codes` to lines `CODE FILE ETAG`, once; what has to be asked again, curl asks.
ask_quickly() {
    if [ -n "$asked" ] || ! command -v bash >/dev/null; then return 1; fi
    asked=yes
    set -- 'attributes/?recursive=true' "$MD/json"
    for value in $VALUES; do set -- "$@" "$value" "$MD/${value##*/}"; done
    codes=$(timeout 5 bash -p "$SW_LIB/stoneware-ask" "$SW_MDS" 5 "$@" 2>/dev/null)
}

ask_patiently() {
    set -- "$SW_V1/instance/attributes/?recursive=true" -o "$MD/json"
    for value in $VALUES; do set -- "$@" -o "$MD/${value##*/}" "$SW_V1/instance/$value"; done
    codes=$(sw_curl --max-time 20 -w '%{http_code} %{filename_effective} %header{etag}\n' "$@")
}
