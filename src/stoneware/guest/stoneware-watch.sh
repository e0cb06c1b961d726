#!/bin/sh
# Keep watching the machine's metadata. Where the image has a reload command (LABEL stoneware.reload) a
# change of the configuration or of a secret is rendered and the command run; else the report says that a
# restart is needed for it. A new value of stoneware-inspect asks for the digests of the rendered files.
set -u
# shellcheck source=src/stoneware/guest/lib.sh
. "${SW_ROOT-}/usr/lib/stoneware/lib.sh"

# wait_for_change: until some attribute changes. Waiting on the one key would end at once where it is missing.
wait_for_change() {
    got=$(sw_curl --max-time 330 -o /dev/null -w '%{http_code} %header{etag}' \
        "$SW_V1/instance/attributes/?recursive=true&wait_for_change=true&timeout_sec=300&last_etag=$etag")
    case $got in
    200*)
        etag=${got#200 }
        if [ -n "$lost" ]; then report_again; fi
        lost=''
        ;;
    *)
        lost=yes
        sleep 1
        return 1
        ;;
    esac
}

# report_again: what was to be reported while the metadata server was away.
report_again() {
    for report in status health; do
        if [ -s "$SW_RUN/$report.json" ]; then sw_put "stoneware/$report" "$SW_RUN/$report.json"; fi
    done
    if [ -s "$SW_RUN/rendered" ]; then sw_put stoneware/files "$SW_RUN/rendered"; fi
}

# current_attributes: fetch what this watches, in one process; an attribute that is missing is an empty file.
# Sets `digest` to that of the configuration, `versions` to that of the list of secrets, `nonce`.
current_attributes() {
    set --
    for name in config secrets inspect healthcheck; do
        : >"$NOW/$name"
        set -- "$@" -o "$NOW/$name" "$SW_V1/instance/attributes/stoneware-$name"
    done
    codes=$(sw_curl --max-time 20 -w '%{http_code} %{filename_effective}\n' "$@")
    while read -r code file; do
        case $code in
        200) ;;
        404) : >"$file" ;;
        *) return 1 ;;
        esac
    done <<END
$codes
END
    {
        read -r digest _
        read -r versions _
        read -r check _
    } <<END
$(sha256sum "$NOW/config" "$NOW/secrets" "$NOW/healthcheck")
END
    digest=sha256:$digest
    nonce=''
    IFS= read -r nonce <"$NOW/inspect" || :
}

# inspect: report the digests of the rendered files as they are now, in the lines of sha256sum, and `missing`
# for what is no file any more. Names with a backslash or a line break are written as sha256sum does: the
# line begins with a backslash, and so do the characters in the name.
inspect() {
    set --
    {
        while IFS= read -r line; do
            path=${line#*  }
            # printf reads the escapes of sha256sum; the dot keeps a line break at the end.
            case $line in \\*) path=$(printf '%b.' "$path") && path=${path%.} ;; esac
            if [ -f "$SW_ROOT$path" ]; then
                set -- "$@" ".$path"
            else
                case $line in \\*) printf '%s' "\\" ;; esac
                printf 'missing  %s\n' "${line#*  }"
            fi
        done <"$SW_RUN/rendered"
        if [ $# -gt 0 ]; then (cd "$SW_ROOT/" && sha256sum -- "$@" 2>/dev/null) | sed 's|  \.|  |'; fi
    } >"$NOW/digests"
    {
        printf '%s\n' "$nonce"
        sort -k 2 "$NOW/digests"
    } >"$SW_RUN/inspection"
    sw_put stoneware/inspection "$SW_RUN/inspection"
}

# take_health_check: the metadata has another health check than the one that runs.
take_health_check() {
    sw_health_override "$NOW/healthcheck"
    if [ -e "$SW_RUN/no-healthcheck" ]; then
        printf '{"status":"none","exit":0,"failing":0,"output":""}\n' >"$SW_RUN/health.json"
        sw_put stoneware/health "$SW_RUN/health.json"
    fi
    if [ -z "$SW_ROOT" ]; then systemctl restart --no-block stoneware-health.service; fi
}

is_running() {
    grep -q '"phase":"running"' "$SW_RUN/status.json" 2>/dev/null
}

reload() {
    # It reports for itself when the new configuration is bad: the machine goes on with the old one.
    "$SW_LIB/stoneware-boot" --again || return 0
    sw_facts
    if output=$("$SW_LIB/service-exec" reload 2>&1 </dev/null); then
        sw_status running ''
        sw_put stoneware/files "$SW_RUN/rendered"
    else
        sw_status running "the reload command failed: $(printf '%s' "$output" | tail -c 1000)"
    fi
}

NOW=$SW_RUN/now
mkdir -p "$NOW" && chmod 700 "$NOW"
: >>"$SW_RUN/rendered"
etag=0
lost=''
handled=''
inspected=''
secrets=''
checked=$(sha256sum <"$SW_RUN/md/healthcheck")
checked=${checked%% *}
while :; do
    if ! wait_for_change; then continue; fi
    if ! current_attributes; then
        etag=0 # so that this change is not lost
        sleep 0.2
        continue
    fi
    if [ "$nonce" != "$inspected" ]; then
        inspected=$nonce
        if [ -n "$nonce" ]; then inspect; fi
    fi
    if [ "$check" != "$checked" ]; then
        checked=$check
        take_health_check
    fi
    if ! is_running; then continue; fi
    sw_facts
    if [ "$digest $versions" = "${handled:-$config $secrets}" ]; then continue; fi
    handled="$digest $versions"
    if [ -r "$SW_IMAGE/reload.argv" ]; then
        sw_say 'the configuration has changed: rendering it and reloading'
        reload
    elif [ "$handled" = "$config $secrets" ]; then
        sw_status running ''
    else
        sw_say 'the configuration has changed: a restart is needed for it'
        sw_status running '' ',"restart_needed":true'
    fi
done
