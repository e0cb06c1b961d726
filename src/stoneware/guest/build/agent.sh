# shellcheck shell=sh
# The build agent: fetch the bundle, run its steps, report each, seal the machine. The driver side is
# stoneware.bake; the layout of the bundle is described in agent.py.

WORK=$SW_RUN/build-agent
REPORTS=/computeMetadata/v1/instance/guest-attributes/stoneware/build
GO=/computeMetadata/v1/instance/attributes/stoneware-go
LISTED=/computeMetadata/v1/instance/attributes/stoneware-listed
SW_CONSOLE=${SW_CONSOLE:-/dev/console}
LINE='
'

console_line() {
    printf '%s %s\n' "$SW_TOKEN" "$*" >>"$SW_CONSOLE"
}

note() {
    console_line "note $*"
}

# step_line NUMBER TEXT: a line as if the step had printed it.
step_line() {
    printf '%s\n' "$2" | sed "s/^/$SW_TOKEN $1| /" >>"$SW_CONSOLE"
}

# value_of NAME: set `value` to an attribute of one line, as the boot agent has fetched it where there is one.
value_of() {
    value=''
    if [ -r "$SW_RUN/md/$1" ]; then
        IFS= read -r value <"$SW_RUN/md/$1" || :
    else
        value=$(attribute "$1") || value=''
    fi
}

# report STATE STEP EXIT MESSAGE
report() {
    reported
    report_text "$@" >"$WORK/report"
    if [ "$(talk put "$REPORTS" "$WORK/report")" = 200 ]; then return 0; fi
    until sw_put stoneware/build "$WORK/report"; do sleep 0.2; done
}

# talk WORD…: make requests as talk.sh says; prints nothing that counts where they fail.
talk() {
    bash -p "$WORK/talk" "$SW_MDS" "$@" 2>/dev/null
}

# report_aside …: the same without waiting for the answer; the next report comes after it all the same.
report_aside() {
    reported
    report "$@" &
    reporting=$!
}

reported() {
    if [ -n "$reporting" ]; then wait "$reporting"; fi
    reporting=''
}

report_text() {
    case $4 in
    *[!a-z]*) message=$(sw_json_string "$4") ;;
    *) message="\"$4\"" ;;
    esac
    printf '{"token":"%s","boot":"%s","step":%d,"state":"%s","exit":%d,"message":%s}\n' \
        "$SW_TOKEN" "$boot" "$2" "$1" "$3" "$message"
}

# wait_for KEY TEST…: wait until the attribute KEY, as $answer, satisfies the command TEST.
wait_for() {
    key=$1 etag=0
    shift
    while :; do
        got=$(sw_curl --max-time 90 -o "$WORK/answer" -w '%{http_code} %header{etag}' \
            "$SW_V1/instance/attributes/$key?wait_for_change=true&timeout_sec=60&last_etag=$etag")
        case $got in
        200*)
            etag=${got#200 }
            answer=$(cat "$WORK/answer")
            if "$@"; then return 0; fi
            ;;
        *) sleep 0.05 ;; # not there yet, or the server is being restarted
        esac
    done
}

# report_done NUMBER: report that a step is done and wait for the driver's go, in one process.
report_done() {
    reported
    report_text 'done' "$1" 0 '' >"$WORK/report"
    while :; do
        {
            read -r status
            read -r code etag
        } <<END
$(exchange "?wait_for_change=true&timeout_sec=60&last_etag=$go_etag")
END
        if [ "$status $code" = '200 200' ]; then
            go_etag=$etag
            IFS= read -r answer <"$WORK/answer" || :
            if acknowledged; then return 0; fi
        else
            sleep 0.05 # the server is being restarted
        fi
    done
}

# exchange QUERY: send the report, and ask for the driver's go; prints the codes, the second with its ETag.
exchange() {
    if talk put "$REPORTS" "$WORK/report" get "$GO$1" "$WORK/answer" >"$WORK/codes"; then
        cat "$WORK/codes"
        return
    fi
    sw_curl --max-time 10 -w '%{http_code}\n' -o /dev/null -X PUT --data-binary "@$WORK/report" "$SW_MDS$REPORTS" \
        --next --max-time 90 -w '%{http_code} %header{etag}\n' -o "$WORK/answer" "$SW_MDS$GO$1"
}

acknowledged() {
    case $answer in
    abort) exit 0 ;;
    *[!0-9]* | '') return 1 ;;
    esac
    [ "$answer" -ge "$number" ]
}

give_up() {
    report failed "$1" "$2" "$3"
    # The driver may open a shell here; it says when it is done, or just stops the machine.
    number=999999
    wait_for stoneware-go acknowledged
    exit 0
}

# in_files_root COMMAND…: run a step's command with the directory of a stage FROM scratch as its root.
in_files_root() {
    if [ -n "${FILES_ROOT:-}" ]; then
        SW_ROOT=$SW_ROOT$FILES_ROOT
        mkdir -p "$SW_ROOT" || return 1
    fi
    "$@"
}

# run_one DIRECTORY NUMBER: run a step of any kind; sets `code`.
run_one() {
    read -r kind <"$1/kind"
    code=0
    case $kind in
    RUN) run_step "$1" "$2" ;;
    COPY) (in_files_root copy_step "$1") >"$WORK/why" 2>&1 || code=1 ;;
    WORKDIR) (in_files_root workdir_step "$1") >"$WORK/why" 2>&1 || code=1 ;;
    *)
        code=1
        echo "this agent does not know the step kind $kind" >"$WORK/why"
        ;;
    esac
    if [ "$code" -ne 0 ] && [ "$kind" != RUN ]; then step_line "$2" "$(cat "$WORK/why")"; fi
}

run_steps() {
    number=$FIRST
    while [ "$number" -le "$LAST" ]; do
        place=$WORK/steps/$(printf '%04d' "$number")
        report_aside running "$number" 0 ''
        IFS= read -r title <"$place/title"
        console_line "$number start $title"
        run_one "$place" "$number"
        tell_of_passing "$number"
        console_line "$number exit $code"
        if [ "$code" -ne 0 ]; then
            failed=$number failed_code=$code
            end_caches
            give_up "$failed" "$failed_code" ''
        fi
        if [ "$checkpoints" = TRUE ]; then report_done "$number"; else report 'done' "$number" 0 ''; fi
        number=$((number + 1))
    done
}

# hand_in FILE: upload the results and report that the machine is sealed, in one process where the metadata server takes both.
hand_in() {
    value_of stoneware-results
    reported
    report_text sealed "$LAST" 0 "$quiet" >"$WORK/report"
    case $value in
    "$SW_MDS"/*)
        codes=$(talk put "${value#"$SW_MDS"}" "$1" put "$REPORTS" "$WORK/report" | tr '\n' ' ')
        if [ "$codes" = '200 200 ' ]; then return 0; fi
        ;;
    esac
    upload "$1" "$value" && report sealed "$LAST" 0 "$quiet"
}

# Seal, checks and lists; then the manifest that the driver makes of them goes into the image as it is.
seal_and_finish() {
    report_aside sealing "$LAST" 0 ''
    # What changes files comes first, so that the checks and files.tsv share one scan.
    if ! seal >"$WORK/why" 2>&1; then give_up "$LAST" 1 "the seal failed: $(tail -n 3 "$WORK/why")"; fi
    list_failed 2>/dev/null &
    failing=$!
    if ! fetch_lists && ! scan >"$WORK/why" 2>&1; then give_up "$LAST" 1 "the lists failed: $(tail -n 3 "$WORK/why")"; fi
    { write_files && pack_results; } >"$WORK/why.lists" 2>&1 &
    lists=$!
    search_changes 2>/dev/null
    wait "$failing"
    if ! run_checks; then give_up "$LAST" 1 'the image did not pass its checks'; fi
    if ! wait "$lists"; then give_up "$LAST" 1 "the lists failed: $(tail -n 3 "$WORK/why.lists")"; fi
    if ! hand_in "$WORK/sealed.tar"; then give_up "$LAST" 1 "the results cannot be uploaded: $(reason)"; fi
    # From here on the driver may just stop the machine, and put the rest into the image itself.
    take_documents
    sync -f "$SW_IMAGE"
    report finished "$LAST" 0 ''
}

# fetch_lists: have the files listed from outside, by what is known of those that this machine was made from, and take
# what scan would have found. Fails where that cannot be; then nobody but scan knows.
fetch_lists() {
    value_of stoneware-lists
    if [ "$value" != TRUE ]; then return 1; fi
    reported
    report_text listing "$LAST" 0 '' >"$WORK/report"
    while :; do
        {
            read -r status
            read -r code listed_etag
            read -r served _
        } <<END
$(talk put "$REPORTS" "$WORK/report" get "$LISTED?wait_for_change=true&timeout_sec=60&last_etag=${listed_etag:-0}" \
            "$WORK/answer" get /stoneware/v1/files/listed.tar "$WORK/listed.tar")
END
        if [ "$status $code" != '200 200' ]; then return 1; fi
        IFS= read -r answer <"$WORK/answer" || :
        case $answer in
        TRUE) break ;;
        FALSE) return 1 ;;
        esac
    done
    [ "$served" = 200 ] && tar -x -C "$WORK" -f "$WORK/listed.tar" && [ -s "$WORK/files.totals" ]
}

# take_documents: wait for the manifest, and take what was set with it.
take_documents() {
    etag=0
    while :; do
        got=$(sw_curl --fail --max-time 90 -w '%{http_code} %header{etag} ' \
            -o "$SW_IMAGE/manifest.json" \
            "$SW_V1/instance/attributes/stoneware-manifest?wait_for_change=true&timeout_sec=60&last_etag=$etag" \
            -o "$SW_IMAGE/env" "$SW_V1/instance/attributes/stoneware-env" \
            -o "$SW_IMAGE/contract.tsv" "$SW_V1/instance/attributes/stoneware-contract")
        if [ -s "$SW_IMAGE/manifest.json" ]; then return 0; fi
        case $got in
        200*)
            etag=${got#200 }
            etag=${etag%% *}
            ;;
        *) sleep 0.05 ;; # not there yet, or the server is being restarted
        esac
    done
}

# beat PID SECONDS: say every so often that the builder lives and has its network, as long as the agent does.
beat() {
    beats=0
    while sleep "$2" && kill -0 "$1"; do
        beats=$((beats + 1))
        sw_curl --max-time 5 -o /dev/null -X PUT --data-binary "$beats" "$SW_V1/instance/guest-attributes/stoneware/alive"
    done
}

# install_guest: put our programs into a machine whose image lacks them, and list what is enabled without us.
install_guest() {
    if [ ! -d "$WORK/guest" ]; then return 0; fi
    cp -a "$WORK/guest/." "$SW_ROOT/" || return 1
    {
        find "$SW_ROOT/etc/systemd/system" -path '*.wants/*' -o -path '*.requires/*' | sed 's|.*/||'
        find "$SW_ROOT/etc/rc3.d" -name 'S*' 2>/dev/null | sed 's|.*/S..||; s|$|.service|'
    } | sort -u >"$SW_LIB/base-units"
    if [ -n "$SW_ROOT" ]; then return 0; fi
    systemctl daemon-reload
    # Debian's cloud images update themselves soon after a boot, and steps would find dpkg's lock taken.
    systemctl stop apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service 2>/dev/null || :
}

build_agent() {
    set -u
    umask 022
    cd /
    reporting='' own_key='' stepped='' listed_etag=''
    IFS= read -r boot </proc/sys/kernel/random/uuid # another one if the builder restarts
    if [ -e "$WORK" ]; then rm -rf "$WORK"; fi
    mkdir -p "$WORK"
    talk_program >"$WORK/talk"
    value_of stoneware-token
    SW_TOKEN=$value
    value_of stoneware-bundle
    BUNDLE=$value
    value_of stoneware-checkpoints
    checkpoints=$value
    value_of stoneware-beat
    seconds=${value:-2}
    if [ -z "$SW_TOKEN" ] || [ -z "$BUNDLE" ]; then exit 1; fi
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    beat "$$" "$seconds" </dev/null >/dev/null 2>&1 &
    if ! fetch_bundle; then give_up 0 1 "the bundle cannot be fetched: $(reason)"; fi
    # shellcheck source=/dev/null
    . "$WORK/bundle.env"
    if ! install_guest >"$WORK/why" 2>&1; then give_up 0 1 "Stoneware cannot be installed: $(tail -n 1 "$WORK/why")"; fi
    remember_builder
    checks_table >"$WORK/checks.tsv"
    if ! install_certificates; then give_up 0 1 "the certificates cannot be installed: $(tail -n 1 "$WORK/why")"; fi
    # An early agent is told when the boot is over: units of the image have been held back until then.
    until [ -z "${SW_BOOTED-}" ] || [ -e "$SW_BOOTED" ]; do sleep 0.01; done
    rm -f "$SW_RUN/build"
    begin_steps
    if [ "${SECRETS:-}" = yes ] && ! take_key; then give_up 0 1 'the secrets of this bake cannot be had'; fi
    if ! begin_caches 2>"$WORK/why"; then give_up 0 1 "the caches cannot be had: $(tail -n 1 "$WORK/why")"; fi
    run_steps
    end_caches
    if [ -s "$WORK/handed" ]; then hand_out; fi
    if [ "${SEAL:-yes}" = yes ]; then
        seal_and_finish
    elif [ "$checkpoints" != TRUE ]; then
        sync
        report over "$LAST" 0 ''
    fi
}
