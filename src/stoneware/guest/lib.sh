# shellcheck shell=sh
# What the guest scripts share. POSIX sh; sourced, never run.
#
# SW_ROOT is put before every path, so that the scripts can be tried in a directory. SW_MDS is the
# metadata server. Nothing here prints on standard output unless it says so.

SW_ROOT=${SW_ROOT-}
SW_MDS=${SW_MDS:-http://169.254.169.254}
SW_V1=$SW_MDS/computeMetadata/v1
SW_LIB=$SW_ROOT/usr/lib/stoneware
SW_IMAGE=$SW_LIB/image
SW_RUN=$SW_ROOT/run/stoneware
SW_STAGE=$SW_RUN/stage/files
LC_ALL=C
export LC_ALL

sw_say() {
    printf 'stoneware: %s\n' "$*" >&2
}

# All requests go through here: no proxy, no ~/.curlrc, the header that the server asks for; also behind each
# --next, where curl has forgotten its options.
sw_curl() {
    for sw_word in "$@"; do
        shift
        set -- "$@" "$sw_word"
        if [ "$sw_word" = --next ]; then
            set -- "$@" -q --silent --noproxy '*' --connect-timeout 2 -H 'Metadata-Flavor: Google'
        fi
    done
    curl -q --silent --noproxy '*' --connect-timeout 2 -H 'Metadata-Flavor: Google' "$@"
}

# sw_patience: begin to be patient, for SW_PATIENCE seconds: a server may be busy or restart, a network may not be up
# yet, and a right that was just given is not known everywhere.
sw_patience() {
    read -r sw_now _ </proc/uptime
    sw_until=$((${sw_now%.*} + ${SW_PATIENCE:-60}))
    sw_pauses='0.1 0.2 0.5 1'
}

# sw_again STATUS: whether to make a request again whose answer had this HTTP status (000: there was none), after a pause.
# What is not there, or is no request that a server could answer, is not asked for again.
sw_again() {
    case $1 in 400 | 404 | 405 | 409 | 410 | 411 | 413 | 416) return 1 ;; esac
    read -r sw_now _ </proc/uptime
    if [ "${sw_now%.*}" -ge "$sw_until" ]; then return 1; fi
    sw_pause
}

# sw_pause: wait for the first of sw_pauses, and have the next one come first.
sw_pause() {
    sleep "${sw_pauses%% *}"
    sw_pauses=${sw_pauses#* } # the last one stays
}

# sw_account OPTION…: ask for the token of the machine's service account, by curl with these options. Sets sw_code to the
# HTTP status and sw_header to the line of curl's configuration with the token; it is empty where the machine has none.
# That line goes to curl by --config: a command line is seen by everybody.
sw_account() {
    sw_header=''
    sw_said=$(sw_curl "$@" -w '\n%{http_code}' "$SW_V1/instance/service-accounts/default/token") || return
    sw_code=${sw_said##*[!0-9]}
    if [ "$sw_code" != 200 ]; then return 0; fi
    sw_header=$(printf '%s\n' "$sw_said" |
        sed -n 's/.*"access_token" *: *"\([^"\\]*\)".*/header = "Authorization: Bearer \1"/p')
}

# sw_text: pass on what is UTF-8; a log may hold anything, and may have been cut within a character.
sw_text() {
    if command -v iconv >/dev/null; then iconv -c -f UTF-8 -t UTF-8 || :; else tr -cd '\011\012\040-\176'; fi
}

# sw_json_string TEXT: print TEXT, its first 8 KiB, as a JSON string. Control characters become blanks.
sw_json_string() {
    # What gsub makes of a backslash in what it puts in differs, but for \\& (POSIX).
    printf '%s\n' "$1" | head -c 8192 | sw_text | awk '
        { gsub(/[\\"]/, "\\\\&")
          n = split($0, parts, "\t")
          line = parts[1]
          for (k = 2; k <= n; k++) line = line "\\t" parts[k]
          gsub(/[\001-\037\177]/, " ", line)
          printf "%s%s", (NR > 1 ? "\\n" : "\""), line }
        END { print "\"" }'
}

# sw_put NAMESPACE/KEY FILE: report one guest attribute. Failures are not fatal: the machine goes on.
sw_put() {
    sw_curl --max-time 10 --retry 2 --retry-all-errors -o /dev/null -X PUT --data-binary "@$2" \
        "$SW_V1/instance/guest-attributes/$1"
}

# sw_report NAME FILE [NAME FILE]…: report guest attributes stoneware/NAME, in that order. Not for the build agent, whose
# machine may have had its files changed by a step.
sw_report() {
    sw_words=$#
    while [ "$sw_words" -gt 0 ]; do
        set -- "$@" "stoneware/$1" "$2"
        shift 2
        sw_words=$((sw_words - 2))
    done
    if command -v bash >/dev/null && bash -p "$SW_LIB/stoneware-tell" "$SW_MDS" "$@" 2>/dev/null; then return; fi
    while [ $# -gt 0 ]; do
        sw_put "$1" "$2"
        shift 2
    done
}

# sw_facts: set commit, image, config and boot_id from what the boot script has left in /run.
sw_facts() {
    image='' commit='' config='' boot_id=''
    # shellcheck source=/dev/null
    if [ -r "$SW_RUN/facts" ]; then . "$SW_RUN/facts"; fi
}

# sw_attributes DIRECTORY [-]: make files of the attributes in DIRECTORY/json, or on standard input, empty ones of what else
# we ask for.
sw_attributes() {
    if [ $# -eq 1 ]; then
        sw_attributes "$1" - <"$1/json"
        return
    fi
    for sw_name in config secrets volumes mode healthcheck hosts inspect command process system; do : >"$1/stoneware-$sw_name"; done
    awk -f "$SW_LIB/attributes.awk" -v directory="$1"
}

# sw_has_hosts: whether $sw_file has a line of sw_hosts. At each boot, so no program is started for it.
sw_has_hosts() {
    if [ ! -r "$sw_file" ]; then return 1; fi
    while IFS= read -r sw_line || [ -n "$sw_line" ]; do
        case $sw_line in *'# stoneware-hosts') return 0 ;; esac
    done <"$sw_file"
    return 1
}

# sw_hosts FILE: let /etc/hosts have what the attribute stoneware-hosts in FILE says, lines ADDRESS<TAB>NAMES, in the place of
# what an earlier one said. What could be no such line is left out.
sw_hosts() {
    sw_file=$SW_ROOT/etc/hosts
    if [ ! -s "$1" ] && ! sw_has_hosts; then return 0; fi
    {
        if [ -r "$sw_file" ]; then grep -v '# stoneware-hosts$' "$sw_file"; fi
        awk -F '\t' 'NF == 2 && $1 ~ /^[0-9.]+$/ && $2 ~ /^[A-Za-z0-9_][A-Za-z0-9_. -]*$/ {
            print $1, $2, "# stoneware-hosts" }' "$1"
    } >"$sw_file.stoneware"
    if cmp -s "$sw_file.stoneware" "$sw_file"; then
        rm -f "$sw_file.stoneware"
    else
        mv -f "$sw_file.stoneware" "$sw_file"
    fi
}

# sw_status PHASE ERROR [EXTRA]: write and report stoneware/status; EXTRA is JSON members with a
# leading comma. The members that do not change within a boot come from sw_facts.
sw_status() {
    # First: what the boot agent is about to send would be this status already, and go out twice.
    if [ -e "$SW_RUN/deferred" ]; then sw_overtake deferred; fi
    sw_write_status "$@"
    sw_send_status
}

# sw_send_status: report the status, and before the first one of a boot the digests of the rendered files.
sw_send_status() {
    if [ -e "$SW_RUN/reported" ] || [ ! -e "$SW_RUN/rendered" ]; then
        sw_report status "$SW_RUN/status.json"
        return
    fi
    sw_digests
    : >"$SW_RUN/reported"
    sw_report files "$SW_RUN/rendered" status "$SW_RUN/status.json"
}

# sw_digests: digest what the boot agent has rendered, from its own copies, under the names in the machine. The agent has
# listed them, so that nothing has to look for them. They are sorted, which they mostly are already.
sw_digests() {
    if [ ! -e "$SW_RUN/undigested" ]; then return 0; fi
    set --
    sw_last='' sw_sorted=yes
    while IFS= read -r sw_name; do
        set -- "$@" "./${sw_name#*/}"
        # shellcheck disable=SC3012 # Debian's sh knows it, and bash
        if [ "$sw_last" \> "./${sw_name#*/}" ]; then sw_sorted=''; fi
        sw_last=./${sw_name#*/}
    done <"$SW_RUN/md/templates"
    if [ $# -eq 0 ]; then
        : >"$SW_RUN/rendered"
    elif [ -n "$sw_sorted" ]; then
        (cd "$SW_STAGE" && sha256sum -- "$@") | sw_named >"$SW_RUN/rendered"
    else
        (cd "$SW_STAGE" && sha256sum -- "$@") | sort -k 2 | sw_named >"$SW_RUN/rendered"
    fi
    rm -rf "$SW_STAGE" "$SW_RUN/undigested"
}

# sw_named: pass on the lines of sha256sum with the names in the machine.
sw_named() {
    while IFS= read -r sw_line; do
        printf '%s  %s\n' "${sw_line%%  .*}" "${sw_line#*  .}"
    done
}

# sw_defer: report the status after a while, unless there is a later one by then. Each side says what it is
# about to do before it looks at the other, so they never both report, or never both don't.
sw_defer() {
    sleep 1
    : >"$SW_RUN/deferred.sending"
    if [ ! -e "$SW_RUN/deferred.overtaken" ]; then sw_send_status; fi
    : >"$SW_RUN/deferred.sent"
}

# sw_overtake NAME: keep another process's report (`deferred`, the boot agent's; `booted`) from going out after ours.
# Its process id is in the file NAME by the time NAME.sending is there.
sw_overtake() {
    : >"$SW_RUN/$1.overtaken"
    if [ ! -e "$SW_RUN/$1.sending" ]; then return 0; fi
    read -r sw_reporter <"$SW_RUN/$1"
    sw_pauses='0.01 0.02 0.03 0.05 0.1'
    while [ ! -e "$SW_RUN/$1.sent" ] && [ -d "/proc/$sw_reporter" ]; do
        sw_pause
    done
}

sw_write_status() {
    sw_error='""'
    if [ -n "$2" ]; then sw_error=$(sw_json_string "$2"); fi
    printf '{"phase":"%s","image":"%s","commit":"%s","config":"%s","boot_id":"%s","error":%s%s}\n' \
        "$1" "$image" "$commit" "$config" "$boot_id" "$sw_error" "${3-}" >"$SW_RUN/status.json.new"
    mv -f "$SW_RUN/status.json.new" "$SW_RUN/status.json"
}

# sw_inside PATH: set `inside` to an absolute path with its links followed as the machine follows them: none leads out
# of its root. Fails on a loop. No program is started where there is no link.
sw_inside() {
    inside='' sw_rest=$1/ sw_links=0
    while [ -n "$sw_rest" ]; do
        sw_part=${sw_rest%%/*}
        sw_rest=${sw_rest#*/}
        case $sw_part in
        '' | .) continue ;;
        ..)
            inside=${inside%/*}
            continue
            ;;
        esac
        if [ ! -L "$SW_ROOT$inside/$sw_part" ]; then
            inside=$inside/$sw_part
            continue
        fi
        sw_links=$((sw_links + 1))
        if [ "$sw_links" -gt 40 ]; then return 1; fi
        sw_target=$(readlink "$SW_ROOT$inside/$sw_part")
        case $sw_target in /*) inside='' ;; esac
        sw_rest=$sw_target/$sw_rest
    done
    inside=${inside:-/}
}

# sw_health_override FILE: take the health check of the attribute stoneware-healthcheck in FILE instead of the
# image's; an empty or missing file: the image's own. The first line is as in the image's file healthcheck,
# or `none`; the rest as in healthcheck.argv, and may be missing.
sw_health_override() {
    for sw_name in no-healthcheck healthcheck healthcheck.argv; do
        if [ -e "$SW_RUN/$sw_name" ]; then rm -f "$SW_RUN/$sw_name"; fi
    done
    if [ ! -s "$1" ]; then return 0; fi
    {
        IFS= read -r sw_times
        case $sw_times in
        none) : >"$SW_RUN/no-healthcheck" ;;
        *[!a-z_=0-9\ ]*) sw_say "the health check of the metadata is not one: $sw_times" ;;
        *) printf '%s\n' "$sw_times" >"$SW_RUN/healthcheck" ;;
        esac
        cat >"$SW_RUN/healthcheck.argv"
    } <"$1"
    if [ ! -s "$SW_RUN/healthcheck.argv" ]; then rm -f "$SW_RUN/healthcheck.argv"; fi
}

# sw_process FILE: take what the attribute stoneware-process in FILE says of the service: assignments in its first
# line, and in the rest the words of its command, if any.
sw_process() {
    if [ -e "$SW_RUN/process" ]; then rm -f "$SW_RUN/process" "$SW_RUN/service.argv"; fi
    if [ ! -s "$1" ]; then return 0; fi
    {
        IFS= read -r sw_line
        printf '%s\n' "$sw_line" >"$SW_RUN/process"
        cat >"$SW_RUN/service.argv"
    } <"$1"
    if [ ! -s "$SW_RUN/service.argv" ]; then rm -f "$SW_RUN/service.argv"; fi
}

# sw_user_of TEXT: resolve the USER of an image as BuildKit does. Sets uid, gid, home, and groups
# ("init" where the user's own groups apply, else "none"). Fails with a sentence on an unknown name.
sw_user_of() {
    uid=0 gid=0 home=/root groups=none login=''
    if [ -z "$1" ]; then return 0; fi
    sw_found=$(awk -F: -v who="${1%%:*}" -v passwd="$SW_ROOT/etc/passwd" '
        BEGIN {
            numeric = who ~ /^[0-9]+$/
            while ((getline <passwd) > 0)
                if ($1 == who || (numeric && $3 == who)) {
                    print $3, $4, $1, ($6 == "" ? "/" : $6)
                    exit
                }
            if (numeric) print who, 0, "-", "/"
        }')
    if [ -z "$sw_found" ]; then
        sw_say "there is no user named ${1%%:*} in the machine"
        return 1
    fi
    read -r uid gid login home <<END
$sw_found
END
    case $1 in
    *:*)
        gid=$(sw_group_of "${1#*:}")
        if [ -z "$gid" ]; then
            sw_say "there is no group named ${1#*:} in the machine"
            return 1
        fi
        ;;
    *)
        if [ "$login" != - ]; then groups=init; fi
        ;;
    esac
}

# sw_group_of NAME|NUMBER: print the number of a group, nothing where it is unknown.
sw_group_of() {
    awk -F: -v who="$1" -v file="$SW_ROOT/etc/group" '
        BEGIN {
            if (who ~ /^[0-9]+$/) { print who; exit }
            while ((getline <file) > 0) if ($1 == who) { print $3; exit }
        }'
}

# sw_more_groups NAMES: add groups to those that sw_user_of has found. Sets groups to `=NUMBERS`, all of them.
sw_more_groups() {
    sw_all=''
    if [ "$groups" = init ]; then sw_all=$(id -G "$login" | tr ' ' ,); fi
    for sw_name in $1; do
        sw_found=$(sw_group_of "$sw_name")
        if [ -z "$sw_found" ]; then
            sw_say "there is no group named $sw_name in the machine"
            return 1
        fi
        sw_all=${sw_all:+$sw_all,}$sw_found
    done
    groups="=$sw_all"
}

# sw_as COMMAND…: replace this shell by COMMAND under the identity that sw_user_of has set, within the limits
# (arguments of setpriv) in $limits.
sw_as() {
    if [ "$uid:$gid:$groups${limits-}" = 0:0:none ]; then exec "$@"; fi
    # shellcheck disable=SC2086 # one argument a word
    case $groups in
    init) exec setpriv --reuid="$login" --regid="$gid" --init-groups ${limits-} "$@" ;;
    =*) exec setpriv --reuid="$uid" --regid="$gid" --groups "${groups#=}" ${limits-} "$@" ;;
    *) exec setpriv --reuid="$uid" --regid="$gid" --clear-groups ${limits-} "$@" ;;
    esac
}
