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
    etag=0 # the next answer comes at once, so that the reports do not wait for something to change
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

# had_check: set `checked` to the digest of the health check that the machine has booted with. Not before something has
# changed: most machines never need it.
had_check() {
    checked=$(sha256sum <"$SW_RUN/md/stoneware-healthcheck")
    checked=${checked%% *}
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

# answer DIRECTORY: if its stoneware-command is a new one, run the command of the image's own that it names. Its lines are a nonce,
# seconds, the name, and words: `e NAME=VALUE` for the environment, then `a WORD` for the command.
answer() {
    {
        nonce='' seconds='' name='' named=''
        IFS= read -r nonce || :
        if [ "$nonce" = "$asked" ]; then return 0; fi
        asked=$nonce
        printf '%s\n' "$nonce" >"$SW_RUN/asked"
        if [ -z "$nonce" ]; then return 0; fi
        IFS= read -r seconds || :
        IFS= read -r name || :
        program=$SW_ROOT/etc/stoneware/commands/$name
        case $name in '' | .* | *[!a-zA-Z0-9._-]*) program='' ;; esac
        case $seconds in '' | *[!0-9]* | ?????*) seconds=30 ;; esac
        set --
        while IFS= read -r line; do
            case $line in
            'e '*) set -- "$@" "${line#e }" ;;
            'a '*)
                if [ -z "$named" ]; then set -- "$@" "$program"; fi
                named=yes
                set -- "$@" "${line#a }"
                ;;
            esac
        done
        if [ -z "$named" ]; then set -- "$@" "$program"; fi
    } <"$1/stoneware-command"
    answer_with "$@" &
}

# answer_with WORD…: run env(1) with these words and report `NONCE CODE` and the end of what it said. One command at a time.
answer_with() {
    answering=$SW_RUN/answering
    if ! mkdir "$answering" 2>/dev/null; then
        printf '%s 75\nanother command is still running\n' "$nonce" >"$SW_RUN/answer.busy"
        sw_report command "$SW_RUN/answer.busy"
        return
    fi
    if [ -z "$program" ] || [ ! -f "$program" ] || [ ! -x "$program" ]; then
        printf 'the image declares no command %s\n' "$name" >"$answering/output"
        echo 127 >"$answering/code"
    else
        # A process that the command leaves behind may keep its output open.
        {
            timeout -k 5 "$seconds" "$SW_LIB/service-exec" declared /usr/bin/env "$@" </dev/null 2>&1
            echo "$?" >"$answering/code"
        } | timeout "$((seconds + 10))" tail -c 4000 >"$answering/output"
    fi
    {
        read -r code <"$answering/code"
        printf '%s %s\n' "$nonce" "$code"
        sw_text <"$answering/output"
    } >"$answering/answer"
    # Before it is told: with the answer the next command may come at once, and is not to find this one running.
    said=$(mktemp "$SW_RUN/answer.XXXXXX")
    mv "$answering/answer" "$said"
    rm -rf "$answering"
    sw_report command "$said"
    rm -f "$said"
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
checked=''
inspect "$SW_RUN/md"
# What was asked before this boot is not run again, nor what an earlier watch has run.
asked=''
if [ -d "$SW_RUN/answering" ]; then rm -rf "$SW_RUN/answering"; fi
if [ -e "$SW_RUN/asked" ]; then IFS= read -r asked <"$SW_RUN/asked" || :; else IFS= read -r asked <"$SW_RUN/md/stoneware-command" || :; fi
while :; do
    if ! wait_for_change; then continue; fi
    inspect "$NOW"
    answer "$NOW"
    sw_hosts "$NOW/stoneware-hosts"
    take_shutdown_script
    read_attributes
    if [ -z "$checked" ]; then had_check; fi
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
