#!/bin/sh
# Keep watching the machine's metadata. Where the image has a reload command (LABEL stoneware.reload) a
# change of the configuration or of a secret is rendered and the command run; else the report says that a
# restart is needed for it. The names of the cluster's other machines are kept in /etc/hosts. A new value of stoneware-inspect asks for the digests of the rendered files.
set -u
# shellcheck source=src/stoneware/guest/lib.sh
. "${SW_ROOT-}/usr/lib/stoneware/lib.sh"

# wait_for_change: until some attribute changes; all of them are in $NOW then. Waiting on the one key would end at
# once where it is missing.
wait_for_change() {
    change="attributes/?recursive=true&wait_for_change=true&timeout_sec=$patience&last_etag=$etag"
    if got=$(wait_quickly || wait_by_curl); then
        read -r code _ tag <<END
$got
END
        if [ "$code" = 200 ]; then
            etag=$tag
            if [ -n "$lost" ]; then report_again; fi
            lost=''
            sw_attributes "$NOW"
            return
        fi
    fi
    lost=yes
    sleep 1
    return 1
}

# wait_quickly, wait_by_curl: print `CODE FILE ETAG`.
wait_quickly() {
    command -v bash >/dev/null && bash -p "$SW_LIB/stoneware-ask" "$SW_MDS" 330 "$change" "$NOW/json" 2>/dev/null
}

wait_by_curl() {
    sw_curl --max-time 330 -o "$NOW/json" -w '%{http_code} %{filename_effective} %header{etag}' \
        "$SW_V1/instance/$change"
}

# report_again: what was to be reported while the metadata server was away.
report_again() {
    for report in status health; do
        if [ -s "$SW_RUN/$report.json" ]; then sw_report "$report" "$SW_RUN/$report.json"; fi
    done
    if [ -s "$SW_RUN/rendered" ]; then sw_report files "$SW_RUN/rendered"; fi
}

# read_attributes: set `digest` to that of the configuration, `versions` to that of the list of secrets, `check` to
# that of the health check.
read_attributes() {
    {
        read -r digest _
        read -r versions _
        read -r check _
    } <<END
$(cd "$NOW" && sha256sum stoneware-config stoneware-secrets stoneware-healthcheck)
END
    digest=sha256:$digest
}

# inspect DIRECTORY: if its stoneware-inspect is a new one, report the digests of the rendered files as they are now, in the lines of sha256sum, and `missing`
# for what is no file any more. Names with a backslash or a line break are written as sha256sum does: the
# line begins with a backslash, and so do the characters in the name.
inspect() {
    nonce=''
    IFS= read -r nonce <"$1/stoneware-inspect" || :
    if [ "$nonce" = "$inspected" ]; then return 0; fi
    inspected=$nonce
    if [ -z "$nonce" ]; then return 0; fi
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
    sw_report inspection "$SW_RUN/inspection"
}

# take_health_check: the metadata has another health check than the one that runs.
take_health_check() {
    sw_health_override "$NOW/stoneware-healthcheck"
    if [ -e "$SW_RUN/no-healthcheck" ]; then
        printf '{"status":"none","exit":0,"failing":0,"output":""}\n' >"$SW_RUN/health.json"
        sw_report health "$SW_RUN/health.json"
    fi
    if [ -z "$SW_ROOT" ]; then systemctl restart --no-block stoneware-health.service; fi
}

# take_shutdown_script: one that came after the boot is run at the end as well; the runner asks for it again then.
take_shutdown_script() {
    if [ -e "$SW_RUN/shutdown-script" ] || [ -e "$SW_RUN/shutdown-script-url" ]; then return 0; fi
    if [ ! -s "$NOW/shutdown-script" ] && [ ! -s "$NOW/shutdown-script-url" ]; then return 0; fi
    : >"$SW_RUN/shutdown-script"
    if [ -z "$SW_ROOT" ]; then systemctl start --no-block stoneware-shutdown.service; fi
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
        sw_report files "$SW_RUN/rendered"
    else
        sw_status running "the reload command failed: $(printf '%s' "$output" | tail -c 1000)"
    fi
}

NOW=$SW_RUN/now
if [ ! -d "$NOW" ]; then mkdir -m 700 "$NOW"; fi
patience=300 lost='' handled='' inspected='' secrets=''
etag=0
# What the boot agent has seen already need not be fetched again.
if [ -s "$SW_RUN/md/etag" ]; then read -r etag <"$SW_RUN/md/etag"; fi
checked=$(sha256sum <"$SW_RUN/md/stoneware-healthcheck")
checked=${checked%% *}
inspect "$SW_RUN/md"
while :; do
    if ! wait_for_change; then continue; fi
    inspect "$NOW"
    sw_hosts "$NOW/stoneware-hosts"
    take_shutdown_script
    read_attributes
    if [ "$check" != "$checked" ]; then
        checked=$check
        take_health_check
    fi
    # Soon it runs, or it never will.
    patience=300
    if grep -q '"phase":"configuring"' "$SW_RUN/status.json"; then patience=1; fi
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
