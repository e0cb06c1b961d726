#!/bin/sh
# The boot agent: metadata -> check -> render all -> swap -> volumes. What the image serves starts only
# after this has ended well (units.py and seal.sh order every unit of the image after it).
# `stoneware-boot --again` renders anew for a configuration that changed while the machine ran.
#
# In /run/stoneware: md/ (what the metadata server said), values (merged, encoded, one KEY=VALUE per
# line), environment (the same as quoted words, without secrets), secrets/ (see secrets.sh), healthcheck
# (see lib.sh), facts, status.json, no-service and build (markers).
set -u
umask 022
# shellcheck source=src/stoneware/guest/lib.sh
. "${SW_ROOT-}/usr/lib/stoneware/lib.sh"
MD=$SW_RUN/md
TEMPLATES=$SW_ROOT/etc/stoneware/templates
STAGE=$SW_RUN/stage
PROBLEMS=$SW_RUN/problems
TAB='	'
# shellcheck source=src/stoneware/guest/secrets.sh
. "$SW_LIB/secrets.sh"

# The machine cannot serve: say why on the console and to the metadata server, and fail the unit. One
# that runs already goes on with what it has.
fail() {
    sw_say "$1"
    if [ -n "$again" ]; then
        sw_facts
        sw_status running "the new configuration is not in use: $1"
    else
        sw_status failed "$1"
    fi
    exit 1
}

has_route() {
    if [ -n "$SW_ROOT" ]; then return 0; fi
    while read -r _ destination _; do
        if [ "$destination" = 00000000 ]; then return 0; fi
    done </proc/net/route
    return 1
}

# One request per value, all in one process: NAME PATH pairs. A value that is not there has no file.
fetch() {
    rm -rf "$MD"
    mkdir "$MD" && chmod 700 "$MD"
    set --
    while read -r file path; do
        set -- "$@" -o "$MD/$file" "$SW_V1/instance/$path"
    done <<END
config attributes/stoneware-config
volumes attributes/stoneware-volumes
secrets attributes/stoneware-secrets
healthcheck attributes/stoneware-healthcheck
mode attributes/stoneware-mode
cluster attributes/stoneware-cluster
service attributes/stoneware-service
slot attributes/stoneware-slot
startup-script attributes/startup-script
name name
hostname hostname
dns network-interfaces/0/dns-servers
ip network-interfaces/0/ip
END
    codes=$(sw_curl --max-time 20 -w '%{http_code} %{filename_effective}\n' "$@")
    while read -r code file; do
        case $code in
        200) ;;
        403 | 404) rm -f "$file" ;;
        *) return 1 ;;
        esac
    done <<END
$codes
END
}

wait_for_metadata() {
    read -r now _ </proc/uptime
    deadline=$((${now%.*} + ${SW_MDS_TIMEOUT:-120}))
    patience=$((${now%.*} + 5))
    pause=0.02
    while :; do
        read -r now _ </proc/uptime
        if has_route || [ "${now%.*}" -ge "$patience" ]; then
            if fetch; then return 0; fi
            pause=0.1
        fi
        if [ "${now%.*}" -ge "$deadline" ]; then
            fail "the metadata server at $SW_MDS did not answer: is this machine on its network?"
        fi
        sleep "$pause"
    done
}

# md FILE: set `value` to a value of one line, to nothing where it is missing. Forks nothing: a boot is
# short, and most of it would be forks.
md() {
    value=''
    if [ -r "$MD/$1" ]; then IFS= read -r value <"$MD/$1" || :; fi
}

host_name() {
    md hostname
    fqdn=$value
    host=$fqdn
    case $host in *.internal) host=${host%%.*} ;; esac
    if [ -z "$host" ]; then return 0; fi
    if [ -z "$SW_ROOT" ]; then hostname "$host"; fi
    printf '%s\n' "$host" >"$SW_ROOT/etc/hostname"
    hosts=$SW_ROOT/etc/hosts
    {
        if [ -r "$hosts" ]; then sed '/# stoneware$/d' "$hosts"; else printf '127.0.0.1 localhost\n'; fi
        if [ "$fqdn" = "$host" ]; then fqdn=''; else fqdn="$fqdn "; fi
        printf '%s %s%s # stoneware\n' "$1" "$fqdn" "$host"
    } >"$SW_RUN/hosts"
    cat "$SW_RUN/hosts" >"$hosts"
}

# The image holds no resolver; the metadata server names it (its own address on Compute Engine).
resolver() {
    if [ -L "$SW_ROOT/etc/resolv.conf" ] && [ -e "$SW_ROOT/etc/resolv.conf" ]; then return 0; fi
    {
        md hostname
        case $value in *.*) printf 'search %s\n' "${value#*.}" ;; esac
        servers=''
        if [ -r "$MD/dns" ]; then servers=$(tr ',\n' '  ' <"$MD/dns"); fi
        for server in $servers; do printf 'nameserver %s\n' "$server"; done
        if [ ! -s "$MD/dns" ]; then printf 'nameserver 169.254.169.254\n'; fi
    } >"$SW_RUN/resolv.conf"
    rm -f "$SW_ROOT/etc/resolv.conf"
    cat "$SW_RUN/resolv.conf" >"$SW_ROOT/etc/resolv.conf"
}

# What every report says of this boot, as assignments of safe words.
write_facts() {
    image='' commit='' config='' secrets='' boot_id=''
    read -r boot_id </proc/sys/kernel/random/boot_id
    if [ -r "$SW_IMAGE/commit" ]; then read -r commit <"$SW_IMAGE/commit"; fi
    for file in config secrets healthcheck; do : >>"$MD/$file"; done
    set -- "$MD/config" "$MD/secrets"
    if [ -r "$SW_IMAGE/manifest.json" ]; then set -- "$@" "$SW_IMAGE/manifest.json"; fi
    {
        read -r config _
        read -r secrets _
        read -r image _
    } <<END
$(sha256sum "$@")
END
    config=sha256:$config image=${image:+sha256:$image}
    printf "image='%s' commit='%s' config='%s' secrets='%s' boot_id='%s' name='%s'\n" \
        "$image" "$commit" "$config" "$secrets" "$boot_id" "$name" >"$SW_RUN/facts.new"
}

# Merge in order of precedence: built in, secrets, configuration, the image's ENV. Writes values,
# environment and masked (see merge.awk), and a line per problem to $PROBLEMS.
merge_values() {
    {
        printf '%s=%s\n' STONEWARE_NAME "$name" STONEWARE_IP "$ip" STONEWARE_IMAGE "$image" \
            STONEWARE_COMMIT "$commit"
        for word in cluster:CLUSTER service:SERVICE slot:SLOT; do
            md "${word%:*}"
            printf 'STONEWARE_%s=%s\n' "${word#*:}" "$value"
        done
    } >"$SW_RUN/builtin"
    for file in values.new environment.new masked; do : >"$SW_RUN/$file"; done
    chmod 600 "$SW_RUN/values.new" "$SW_RUN/environment.new" "$SW_RUN/builtin"
    set -- "$SW_RUN/builtin" "$MD/config"
    if [ -r "$SW_IMAGE/env" ]; then set -- "$@" "$SW_IMAGE/env"; fi
    contract=$SW_IMAGE/contract.tsv
    if [ ! -r "$contract" ]; then contract=''; fi
    awk -f "$SW_LIB/merge.awk" -v values="$SW_RUN/values.new" -v environment="$SW_RUN/environment.new" \
        -v contract="$contract" -v secrets="$SECRETS/list" -v masked="$SW_RUN/masked" "$@" >>"$PROBLEMS"
}

# Render every template into $STAGE, a copy of the templates' tree: owner and mode are right already.
# One awk finds all faults of all templates.
render() {
    rm -rf "$STAGE"
    if [ ! -d "$TEMPLATES" ]; then return 0; fi
    cp -a "$TEMPLATES" "$STAGE" || fail "the templates cannot be copied to $STAGE"
    chmod 700 "$STAGE"
    find "$STAGE" -type f >"$SW_RUN/templates"
    if [ -n "$(find "$STAGE" -name '*
*')" ]; then
        echo "the name of a file in /etc/stoneware/templates has a line break" >>"$PROBLEMS"
        return 0
    fi
    while IFS= read -r staged; do
        target=${staged#"$STAGE"}
        # Writing into the staged copy keeps its owner and mode. What is wrong is said by a second reading
        # that has asterisks for secrets: a template's own messages may quote values.
        awk -f "$SW_LIB/interpolate.awk" -v values="$SW_RUN/values.new" "$TEMPLATES$target" \
            >"$staged" 2>/dev/null || explain "$TEMPLATES$target"
    done <"$SW_RUN/templates"
}

# explain TEMPLATE: add what is wrong with it to the problems.
explain() {
    label=$1
    case $1 in *\\*) label=$(printf '%s\n' "$1" | sed 's/\\/&&/g') ;; esac # awk reads escapes in -v
    awk -f "$SW_LIB/interpolate.awk" -v values="$SW_RUN/values.new:$SW_RUN/masked" -v name="$label" \
        "$1" >/dev/null 2>>"$PROBLEMS" || return 0
    echo "$1: it cannot be rendered" >>"$PROBLEMS"
}

# accepted: no problem so far. In a machine for one command no service starts, so what would keep
# services from starting is said there, and the templates are left as they are.
accepted() {
    if [ ! -s "$PROBLEMS" ]; then return 0; fi
    if [ "$mode" != command ]; then fail "$(cat "$PROBLEMS")"; fi
    sw_say "$(cat "$PROBLEMS")"
    return 1
}

# make_parents DIRECTORY TEMPLATE_DIRECTORY: missing directories get the mode and owner of the template's.
make_parents() {
    if [ -d "$1" ]; then return 0; fi
    make_parents "${1%/*}" "${2%/*}"
    mkdir "$1" && chmod --reference="$2" "$1" && chown --reference="$2" "$1"
}

# Every file is complete beside its target before the first one is renamed.
swap() {
    if [ ! -s "$SW_RUN/templates" ] || [ ! -d "$STAGE" ]; then return 0; fi
    while IFS= read -r staged; do
        target=$SW_ROOT${staged#"$STAGE"}
        make_parents "${target%/*}" "${staged%/*}"
        cp -a "$staged" "${target%/*}/.${target##*/}.stoneware" || fail "cannot write ${target#"$SW_ROOT"}"
    done <"$SW_RUN/templates"
    while IFS= read -r staged; do
        target=$SW_ROOT${staged#"$STAGE"}
        if [ -d "$target" ] && [ ! -L "$target" ]; then fail "${target#"$SW_ROOT"} is a directory"; fi
        mv -fT "${target%/*}/.${target##*/}.stoneware" "$target" || fail "cannot write ${target#"$SW_ROOT"}"
    done <"$SW_RUN/templates"
    # Digests name the files as the machine sees them.
    (cd "$STAGE" && find . -type f -exec sha256sum -- '{}' + | sed 's|  \.|  |' | sort -k 2) \
        >"$SW_RUN/rendered"
    rm -rf "$STAGE"
}

mounted() {
    mountpoint -q "$1"
}

# A disk is formatted only where no tool finds anything at all on it.
open_disk() {
    tries=0
    while [ ! -e "$1" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then fail "the disk $1 did not appear within 30 s"; fi
        sleep 0.1
    done
    signs=$(wipefs --no-act --parsable "$1" 2>&1) || fail "the disk $1 cannot be read: $signs"
    blkid -p "$1" >/dev/null 2>&1
    if [ $? -eq 2 ] && [ -z "$signs" ]; then
        sw_say "$1 is blank: formatting it"
        mkfs.ext4 -q -m 0 "$1" >&2 || fail "the disk $1 cannot be formatted"
    fi
    mkdir -p "$2"
    mounted "$2" || mount "$1" "$2" || fail "the disk $1 cannot be mounted"
    if command -v resize2fs >/dev/null; then resize2fs "$1" >/dev/null 2>&1; fi
}

# volume DEVICE PATH MODE: mount <volume>/data on PATH; on first use it begins with what the image has there.
volume() {
    top=$SW_ROOT$1
    place=$SW_ROOT$2
    case $1 in
    /dev/*)
        top=$SW_RUN/disks/${1##*/}
        open_disk "$1" "$top"
        ;;
    esac
    if [ ! -d "$top" ]; then fail "the volume for $2 is not there ($1)"; fi
    mkdir -p "$place" || fail "the mount point $2 cannot be made"
    if mounted "$place"; then return 0; fi
    if [ ! -d "$top/data" ]; then
        rm -rf "$top/.init"
        cp -a "$place" "$top/.init" || fail "the volume for $2 cannot be filled"
        mv -T "$top/.init" "$top/data"
    fi
    mount --bind "$top/data" "$place" || fail "the volume for $2 cannot be mounted"
    if [ "$3" = ro ]; then mount -o remount,bind,ro "$place" || fail "the volume for $2 cannot be made read-only"; fi
}

volumes() {
    if [ ! -s "$MD/volumes" ]; then return 0; fi
    echo >>"$MD/volumes"
    while IFS=$TAB read -r device path mode; do
        if [ -n "$device" ]; then volume "$device" "$path" "$mode" </dev/null; fi
    done <"$MD/volumes"
}

# The two reports of a boot in one process, which no service waits for; the next report does.
report_configuring() {
    : >>"$SW_RUN/rendered"
    sw_write_status configuring ''
    cp "$SW_RUN/status.json" "$SW_RUN/configuring.json"
    send_configuring &
    printf '%d\n' "$!" >"$SW_RUN/reporting"
}

send_configuring() {
    sw_curl --max-time 10 -o /dev/null -X PUT --data-binary "@$SW_RUN/configuring.json" \
        "$SW_V1/instance/guest-attributes/stoneware/status" \
        --next -q --silent --noproxy '*' --max-time 10 -H 'Metadata-Flavor: Google' -o /dev/null -X PUT \
        --data-binary "@$SW_RUN/rendered" "$SW_V1/instance/guest-attributes/stoneware/files"
}

configure() {
    : >"$PROBLEMS"
    fetch_secrets "$MD/secrets"
    merge_values
    if accepted; then
        render
        if accepted; then swap; fi
    fi
    place_secrets
    for file in values environment facts; do
        if [ -e "$SW_RUN/$file.new" ]; then mv -f "$SW_RUN/$file.new" "$SW_RUN/$file"; fi
    done
}

# Keys that the seal took out of the image, since each machine needs its own.
own_keys() {
    if [ -n "$SW_ROOT" ]; then return 0; fi
    if [ -x /usr/sbin/sshd ] && ! ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1; then ssh-keygen -A >&2; fi
    if [ -x /usr/sbin/make-ssl-cert ] && [ ! -e /etc/ssl/private/ssl-cert-snakeoil.key ]; then
        make-ssl-cert generate-default-snakeoil --force-overwrite >&2
    fi
}

main() {
    again=${1-}
    mkdir -p "$SW_RUN"
    image='' commit='' config='' secrets='' boot_id='' name='' ip=''
    wait_for_metadata
    md name
    name=$value
    md ip
    ip=$value
    md mode
    mode=$value
    write_facts
    if [ -n "$again" ]; then
        configure
        return
    fi
    # `cat` of a missing script would make an empty one: the unit that runs it looks for the file.
    if [ -r "$MD/startup-script" ]; then mv "$MD/startup-script" "$SW_RUN/startup-script"; fi
    host_name "$ip"
    resolver
    own_keys
    if [ "$mode" = build ]; then
        : >"$SW_RUN/build"
        mv -f "$SW_RUN/facts.new" "$SW_RUN/facts"
        return
    fi
    if [ "$mode" = command ]; then : >"$SW_RUN/no-service"; fi
    sw_health_override "$MD/healthcheck"
    configure
    volumes
    report_configuring
}

main "$@"
