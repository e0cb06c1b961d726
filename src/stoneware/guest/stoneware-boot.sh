#!/bin/sh
# The boot agent: metadata -> check -> render all -> swap -> volumes. What the image serves starts only
# after this has ended well (units.py and seal.sh order every unit of the image after it).
# `stoneware-boot --fetch` only asks the metadata server, while the machine's disks are still being prepared;
# `stoneware-boot --again` renders again for a configuration that changed while the machine ran.
#
# In /run/stoneware: md/ (what the metadata server said, a file per value), values (merged, encoded, one
# KEY=VALUE per line), environment (the same as quoted words, without secrets), secrets/ (see secrets.sh),
# healthcheck and what the reports use (see lib.sh), facts, status.json, no-service and build (markers).
#
# A boot is short, and most of it would be the starting of programs: the shell does what it can itself.
set -u
umask 022
# shellcheck source=src/stoneware/guest/lib.sh
. "${SW_ROOT-}/usr/lib/stoneware/lib.sh"
MD=$SW_RUN/md
NEW=$SW_RUN/new
TEMPLATES=$SW_ROOT/etc/stoneware/templates
PROBLEMS=$SW_RUN/problems
TAB='	'
# shellcheck source=src/stoneware/guest/asking.sh
. "$SW_LIB/asking.sh"
# shellcheck source=src/stoneware/guest/secrets.sh
. "$SW_LIB/secrets.sh"
# shellcheck source=src/stoneware/guest/volumes.sh
. "$SW_LIB/volumes.sh"

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

# find_route: whether a request can leave: by a default route, or by any other once the network has had time for one.
find_route() {
    routes=$SW_ROOT/proc/net/route other=''
    if [ ! -r "$routes" ]; then return 0; fi
    while read -r _ destination _; do
        case $destination in
        00000000) return 0 ;;
        Destination) ;;
        *) other=yes ;;
        esac
    done <"$routes"
    [ -n "$other" ] && [ "${now%.*}" -ge "$patience" ]
}

# Where the host has given the machine its address as a credential, nobody has to wait for DHCP (the network
# daemon is off then, by a condition): ADDRESS/PREFIX GATEWAY MTU.
static_address() {
    credential=/run/host/credentials/stoneware.network
    if [ -n "$SW_ROOT" ] || [ ! -r "$credential" ]; then return 0; fi
    read -r address gateway mtu <"$credential"
    tries=0 sw_pauses='0.01 0.02 0.02 0.03 0.05 0.05 0.1'
    while [ ! -e /sys/class/net/host0 ] && [ "$tries" -lt 55 ]; do # 5 s
        tries=$((tries + 1))
        sw_pause
    done
    ip -batch - <<END || sw_say "the address $address cannot be set"
link set host0 mtu ${mtu:-1500} up
address replace $address dev host0
route replace default via $gateway dev host0
END
}

# The server gets its time from when there is a route to it: until then the machine itself is slow. So are the programs
# that it starts meanwhile, each pause too, and they are in the way of what brings up the network: looking every
# 20 ms, a machine in software on a busy computer had spent 39 s in here, by its own clock, when it gave up the
# network that was about to come. So there are ever fewer looks.
wait_for_metadata() {
    read -r now _ </proc/uptime
    limit=${SW_MDS_TIMEOUT:-120}
    patience=$((${now%.*} + 5)) told=$((${now%.*} + limit)) deadline=''
    last=$((told + 4 * limit)) # without a network
    sw_pauses='0.02 0.02 0.02 0.02 0.02 0.05 0.05 0.05 0.05 0.1 0.1 0.1 0.1 0.1 0.2 0.2 0.2 0.2 0.2 0.5 0.5 1'
    while :; do
        read -r now _ </proc/uptime
        if find_route; then
            deadline=${deadline:-$((${now%.*} + limit))}
            if fetch; then return 0; fi
            if [ "${now%.*}" -ge "$deadline" ]; then
                fail "the metadata server at $SW_MDS did not answer: is this machine on its network?"
            fi
        elif [ "${now%.*}" -ge "$last" ]; then
            fail "this machine has no network, so the metadata server at $SW_MDS cannot be asked"
        elif [ "${now%.*}" -ge "$told" ]; then
            sw_say "no network after $limit seconds, still waiting for it"
            told=$last
        fi
        sw_pause
    done
}

# md FILE: set `value` to a value of one line, to nothing where it is missing.
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
    if [ -z "$SW_ROOT" ]; then
        read -r value </proc/sys/kernel/hostname
        if [ "$value" != "$host" ]; then hostname "$host"; fi
    fi
    printf '%s\n' "$host" >"$SW_ROOT/etc/hostname"
    hosts=$SW_ROOT/etc/hosts
    if [ ! -r "$hosts" ]; then printf '127.0.0.1 localhost\n' >"$hosts"; fi
    lines=''
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        *'# stoneware') ;;
        *) lines="$lines$line
" ;;
        esac
    done <"$hosts"
    if [ "$fqdn" = "$host" ]; then fqdn=''; else fqdn="$fqdn "; fi
    printf '%s%s %s%s # stoneware\n%s' "$lines" "$1" "$fqdn" "$host" "$more_hosts" >"$hosts"
}

# The image holds no resolver; the metadata server names it (its own address on Compute Engine).
resolver() {
    resolv=$SW_ROOT/etc/resolv.conf
    if [ -L "$resolv" ]; then
        if [ -e "$resolv" ]; then return 0; fi
        rm -f "$resolv"
    fi
    md hostname
    {
        case $more_search$value in *.*) printf 'search %s%s\n' "$more_search" "${value#*.}" ;; esac
        if [ -n "$more_options" ]; then printf 'options%s\n' "$more_options"; fi
        while IFS=" $TAB," read -r servers || [ -n "$servers" ]; do
            # shellcheck disable=SC2086 # one address per word
            printf 'nameserver %s\n' $servers
        done <"$MD/dns-servers"
        if [ ! -s "$MD/dns-servers" ]; then printf 'nameserver 169.254.169.254\n'; fi
    } >"$resolv"
}

# What every report says of this boot, as assignments of safe words.
write_facts() {
    image='' commit='' config='' secrets='' boot_id=''
    read -r boot_id </proc/sys/kernel/random/boot_id
    if [ -r "$SW_IMAGE/commit" ]; then read -r commit <"$SW_IMAGE/commit"; fi
    set -- "$MD/stoneware-config" "$MD/stoneware-secrets"
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
        "$image" "$commit" "$config" "$secrets" "$boot_id" "$name" >"$NEW/facts"
}

# Merge in order of precedence: built in, secrets, configuration, the image's ENV. Writes values,
# environment and masked (see merge.awk), and a line per problem to $PROBLEMS.
merge_values() {
    {
        printf '%s=%s\n' STONEWARE_NAME "$name" STONEWARE_IP "$ip" STONEWARE_IMAGE "$image" \
            STONEWARE_COMMIT "$commit"
        for word in cluster:CLUSTER service:SERVICE slot:SLOT; do
            md "stoneware-${word%:*}"
            printf 'STONEWARE_%s=%s\n' "${word#*:}" "$value"
        done
    } >"$MD/builtin"
    umask 077
    for file in "$NEW/values" "$NEW/environment" "$MD/masked"; do : >"$file"; done
    umask 022
    set -- "$MD/builtin" "$MD/stoneware-config"
    if [ -r "$SW_IMAGE/env" ]; then set -- "$@" "$SW_IMAGE/env"; fi
    contract=$SW_IMAGE/contract.tsv
    if [ ! -r "$contract" ]; then contract=''; fi
    awk -f "$SW_LIB/merge.awk" -v values="$NEW/values" -v environment="$NEW/environment" \
        -v contract="$contract" -v secrets="$SECRETS/list" -v masked="$MD/masked" "$@" >>"$PROBLEMS"
}

# Render every template into the stage, a copy of the templates' tree: owner and mode are right already. One
# awk does all, and finds all faults of all templates; with asterisks for secrets it says what they are, since
# a template's own messages may quote values.
render() {
    : >"$MD/templates"
    if [ -d "$SW_STAGE" ]; then rm -rf "$SW_STAGE"; fi
    if [ ! -d "$TEMPLATES" ]; then return 0; fi
    cp -a "$TEMPLATES" "$SW_STAGE" || fail "the templates cannot be copied to $SW_STAGE"
    find "$TEMPLATES" -type f -printf '%s/%P\n' >"$MD/templates"
    while IFS= read -r name; do
        case /$name in /[0-9]*/*) if [ -f "$SW_STAGE/${name#*/}" ]; then continue; fi ;; esac
        echo "the name of a file in /etc/stoneware/templates has a line break" >>"$PROBLEMS"
        return 0
    done <"$MD/templates"
    interpolate "$NEW/values" 2>/dev/null && return 0
    interpolate "$NEW/values:$MD/masked" 2>>"$PROBLEMS"
    if [ ! -s "$PROBLEMS" ]; then echo 'the templates cannot be rendered' >>"$PROBLEMS"; fi
}

interpolate() {
    awk -f "$SW_LIB/interpolate.awk" -v values="$1" -v from="$TEMPLATES" -v into="$SW_STAGE" "$MD/templates"
}

# accepted: no problem so far. In a machine for one command no service starts, so what would keep
# services from starting is said there, and the templates are left as they are.
accepted() {
    if [ ! -s "$PROBLEMS" ]; then return 0; fi
    if [ "$mode" != command ]; then fail "$(cat "$PROBLEMS")"; fi
    sw_say "$(cat "$PROBLEMS")"
    return 1
}

# make_parents DIRECTORY TEMPLATE: missing directories get the mode and owner of those the template is in.
make_parents() {
    if [ -d "$1/" ]; then return 0; fi
    make_parents "${1%/*}" "${2%/*}"
    mkdir "$1" && chmod --reference="${2%/*}" "$1" || return 1
    # Mostly it is ours, as the new one is.
    # shellcheck disable=SC3066,SC3067 # Debian's sh knows them, and bash
    if [ ! -O "${2%/*}" ] || [ ! -G "${2%/*}" ]; then chown --reference="${2%/*}" "$1"; fi
}

# Every file is complete beside its target before the first one is renamed.
swap() {
    if [ ! -d "$SW_STAGE" ]; then return 0; fi
    while IFS= read -r name; do
        name=${name#*/}
        target=$SW_ROOT/$name
        make_parents "${target%/*}" "$SW_STAGE/$name"
        cp -a "$SW_STAGE/$name" "${target%/*}/.${target##*/}.stoneware" || fail "cannot write /$name"
    done <"$MD/templates"
    while IFS= read -r name; do
        name=${name#*/}
        target=$SW_ROOT/$name
        if [ -d "$target" ] && [ ! -L "$target" ]; then fail "/$name is a directory"; fi
        mv -fT "${target%/*}/.${target##*/}.stoneware" "$target" || fail "cannot write /$name"
    done <"$MD/templates"
    : >"$SW_RUN/undigested"
}

# What a boot reports before its services run goes out only if they take their time; no service waits for it.
report_configuring() {
    sw_write_status configuring ''
    sw_defer &
    printf '%d\n' "$!" >"$SW_RUN/deferred"
}

configure() {
    : >"$PROBLEMS"
    fetch_secrets "$MD/stoneware-secrets"
    merge_values
    if accepted; then
        render
        if accepted; then swap; fi
    fi
    place_secrets
    : >>"$SW_RUN/rendered"
    mv -f "$NEW"/* "$SW_RUN/"
}

# Keys that the seal took out of the image, since each machine needs its own.
own_keys() {
    if [ -n "$SW_ROOT" ]; then return 0; fi
    if [ -x /usr/sbin/sshd ]; then host_keys; fi
    if [ -x /usr/sbin/make-ssl-cert ] && [ ! -e /etc/ssl/private/ssl-cert-snakeoil.key ]; then
        DEBIAN_FRONTEND=noninteractive make-ssl-cert generate-default-snakeoil --force-overwrite >&2
    fi
    own_names
}

# host_keys: all of them or none, whenever the machine is cut off: they are made in a directory of their own and moved when
# all are on the disk, those that were moved before a cut too.
host_keys() {
    made=$SW_ROOT/etc/ssh/.stoneware-keys
    if [ ! -e "$made" ] && ls "$SW_ROOT"/etc/ssh/ssh_host_*_key >/dev/null 2>&1; then return 0; fi
    if [ ! -e "$made/whole" ]; then
        rm -rf "$made"
        (umask 077 && mkdir -p "$made/etc/ssh")
        ssh-keygen -A -f "$made" >&2
        sync -f "$made"
        : >"$made/whole"
        sync -f "$made"
    fi
    for key in "$made"/etc/ssh/*; do if [ -e "$key" ]; then mv "$key" "$SW_ROOT/etc/ssh/"; fi; done
    sync -f "$made"
    rm -rf "$made"
}

# What Debian's packages make when they are installed, and the seal took out as well (identity.sh).
own_names() {
    if [ -x /usr/sbin/nvme ] && [ ! -s /etc/nvme/hostnqn ]; then
        read -r value </proc/sys/kernel/random/uuid
        printf 'nqn.2014-08.org.nvmexpress:uuid:%s\n' "$value" >/etc/nvme/hostnqn
        printf '%s\n' "$value" >/etc/nvme/hostid
    fi
    if [ -x /usr/sbin/sendmail ] && [ ! -e /etc/mailname ]; then
        md hostname
        printf '%s\n' "$value" >/etc/mailname
    fi
    if [ -x /usr/sbin/postalias ] && [ -e /etc/aliases ] && [ ! -e /etc/aliases.db ]; then
        postalias /etc/aliases >&2
    fi
    cookie=/var/lib/rabbitmq/.erlang.cookie
    if [ -x /usr/sbin/rabbitmq-server ] && [ ! -e "$cookie" ]; then
        (umask 377 && head -c 42 /dev/urandom | base64 -w 0 >"$cookie") && chown rabbitmq:rabbitmq "$cookie"
    fi
    if [ -x /usr/sbin/rndc-confgen ] && [ ! -e /etc/bind/rndc.key ]; then
        rndc-confgen -a >&2 && chown bind:bind /etc/bind/rndc.key
    fi
    if [ -x /usr/sbin/mungekey ] && [ ! -e /etc/munge/munge.key ]; then
        mungekey --create >&2 && chown munge:munge /etc/munge/munge.key
    fi
}

# stop_signal: let the service be stopped by the signal that the machine was given instead of the image's.
stop_signal() {
    stop_signal='' unit=stoneware-command.service
    # shellcheck source=/dev/null
    . "$SW_RUN/process"
    if [ -z "$stop_signal" ]; then return 0; fi
    if [ -s "$SW_IMAGE/service" ]; then read -r unit <"$SW_IMAGE/service"; fi
    mkdir -p "$SW_ROOT/run/systemd/system/$unit.d"
    printf '[Service]\nKillSignal=%s\n' "$stop_signal" >"$SW_ROOT/run/systemd/system/$unit.d/60-stoneware.conf"
    if [ -z "$SW_ROOT" ]; then systemctl daemon-reload; fi
}

# prepare: empty directories to begin with, and those of the health check, the watch and the output, in one process. Only root may look
# into these; /run/stoneware itself is open.
prepare() {
    if [ -d "$MD" ]; then rm -rf "$MD" "$NEW"; fi
    # shellcheck disable=SC2174
    mkdir -p -m 700 "$MD" "$NEW" "$SECRETS" "${SW_STAGE%/*}" "$SW_RUN/health" "$SW_RUN/now" "$SW_RUN/output"
}

# ask: get what the metadata server says, unless stoneware-fetch.service has just done so.
ask() {
    if [ -z "$again" ] && [ -e "$MD/etag" ] && [ ! -e "$MD/used" ]; then return 0; fi
    prepare
    static_address
    wait_for_metadata
}

main() {
    again='' asked='' image='' commit='' config='' secrets='' boot_id='' name='' ip=''
    if [ "${1-}" = --again ]; then again=yes; fi
    ask
    if [ "${1-}" = --fetch ]; then return 0; fi
    : >"$MD/used"
    md name
    name=$value
    md ip
    ip=$value
    md stoneware-mode
    mode=$value
    write_facts
    if [ -n "$again" ]; then
        configure
        place_files
        sw_digests
        return
    fi
    # The units that run them look for the files.
    for script in startup-script startup-script-url shutdown-script shutdown-script-url; do
        if [ -s "$MD/$script" ]; then mv "$MD/$script" "$SW_RUN/$script"; fi
    done
    more_hosts='' more_search='' more_options=''
    if [ -s "$MD/stoneware-system" ]; then
        # shellcheck source=src/stoneware/guest/system.sh
        . "$SW_LIB/system.sh"
        apply_system "$MD/stoneware-system"
    fi
    host_name "$ip"
    sw_hosts "$MD/stoneware-hosts"
    resolver
    own_keys
    if [ "$mode" = build ]; then
        : >"$SW_RUN/build"
        mv -f "$NEW/facts" "$SW_RUN/facts"
        return
    fi
    if [ "$mode" = command ]; then : >"$SW_RUN/no-service"; fi
    sw_health_override "$MD/stoneware-healthcheck"
    sw_process "$MD/stoneware-process"
    if [ -r "$SW_RUN/process" ]; then stop_signal; fi
    configure
    if [ -s "$MD/stoneware-volumes" ]; then mount_volumes "$MD/stoneware-volumes"; fi
    place_files
    report_configuring
}

main "$@"
