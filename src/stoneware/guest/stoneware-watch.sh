#!/bin/sh
# Keep watching the machine's configuration. Where the image has a reload command (LABEL
# stoneware.reload) a change is rendered and the command run; else the report says that a restart is
# needed for it.
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

# current_config: set `digest` to that of the configuration as it is now; no attribute is an empty one.
current_config() {
    code=$(sw_curl --max-time 20 -o "$SW_RUN/config.now" -w '%{http_code}' "$SW_V1/instance/attributes/stoneware-config")
    case $code in
    200) ;;
    404) : >"$SW_RUN/config.now" ;;
    *) return 1 ;;
    esac
    digest=$(sha256sum <"$SW_RUN/config.now")
    digest=sha256:${digest%% *}
    rm -f "$SW_RUN/config.now"
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

etag=0
lost=''
handled=''
while :; do
    if ! wait_for_change || ! is_running || ! current_config; then continue; fi
    sw_facts
    if [ "$digest" = "${handled:-$config}" ]; then continue; fi
    handled=$digest
    if [ -r "$SW_IMAGE/reload.argv" ]; then
        sw_say 'the configuration has changed: rendering it and reloading'
        reload
    elif [ "$digest" = "$config" ]; then
        sw_status running ''
    else
        sw_say 'the configuration has changed: a restart is needed for it'
        sw_status running '' ',"restart_needed":true'
    fi
done
