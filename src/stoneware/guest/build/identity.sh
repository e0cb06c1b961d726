# shellcheck shell=sh
# Identity that packages make once, when they are installed, and that must be another one in every machine:
# taken out by the seal, looked for by checks of the same names, made again by the boot agent or by the program
# itself. A check that is skipped keeps what it is about. Part of the build agent.

# Files that are nothing but one machine's identity and that their programs make again where they are missing.
# The keys of bind and munge are made by the boot agent.
OWN_FILES='/etc/bind/rndc.key /etc/docker/key.json /etc/munge/munge.key /etc/openvswitch/system-id.conf
/opt/consul/data/node-id /var/lib/NetworkManager/secret_key /var/lib/consul/node-id /var/lib/docker/engine-id
/var/lib/libuuid/clock.txt /var/lib/mysql/auto.cnf /var/lib/zerotier-one/identity.public /var/lib/zerotier-one/identity.secret'
DEBIANS_INITIATOR='^InitiatorName=iqn\.1993-08\.org\.debian:01:'

# remember_builder: who this builder is goes into its root, and so into the checkpoints: what steps have written
# down of it is looked for when another builder seals the image.
remember_builder() {
    if [ ! -d "$SW_IMAGE" ]; then mkdir -p "$SW_IMAGE"; fi
    for item in name ip; do
        if [ -s "$SW_RUN/md/$item" ]; then
            IFS= read -r value <"$SW_RUN/md/$item" || :
            printf '%s %s\n' "$item" "$value" >>"$SW_IMAGE/builders"
        fi
    done
    # An image without our programs has no boot agent that has asked.
    if [ ! -d "$SW_RUN/md" ]; then
        for item in name/name ip/network-interfaces/0/ip; do
            value=$(value_at "${item#*/}") || continue
            printf '%s %s\n' "${item%%/*}" "$value" >>"$SW_IMAGE/builders"
        done
    fi
    if [ -s "$SW_ROOT/etc/machine-id" ]; then
        IFS= read -r value <"$SW_ROOT/etc/machine-id" || :
        printf 'id %s\n' "$value" >>"$SW_IMAGE/builders"
    fi
}

# take_builders: the lists of all builders that this image's steps ran in, out of the image.
take_builders() {
    remember_builder
    sort -u "$SW_IMAGE/builders" >"$WORK/builders.all" 2>/dev/null
    sed -n 's/^name \(.\{6,\}\)$/\1/p' "$WORK/builders.all" >"$WORK/builders.names"
    sed -n '/ uninitialized$/d; /^ip 127\./d; s/^[a-z]* \(.\{6,\}\)$/\1/p' "$WORK/builders.all" >"$WORK/builders"
    rm -f "$SW_IMAGE/builders"
}

# kept CHECK: whether a check is skipped, so that what it is about stays. Mostly none is: grep is a process.
kept() {
    [ -s "$WORK/seal/checks.skip" ] && grep -qxF -e "$1" "$WORK/seal/checks.skip"
}

# drop_files CHECK PATH…: remove what is there and say so.
drop_files() {
    if kept "$1"; then return 0; fi
    shift
    for item in "$@"; do
        if [ -e "$item" ] || [ -L "$item" ]; then
            rm -rf "$item"
            note "${item#"$SW_ROOT"} is left out: every machine has its own"
        fi
    done
}

# cut_names CHECK FILE SCRIPT: edit a file with sed for each builder's name that is in it; NAME in SCRIPT is the
# name, as a pattern.
cut_names() {
    if kept "$1" || [ ! -f "$2" ]; then return 0; fi
    grep -oF -f "$WORK/builders.names" "$2" | sort -u >"$WORK/named"
    while IFS= read -r found; do
        sed -i "$(printf '%s' "$3" | sed "s/NAME/$(printf '%s' "$found" | sed 's/\./\\./g')[A-Za-z0-9.-]*/g")" "$2"
        note "$found is taken out of ${2#"$SW_ROOT"}"
    done <"$WORK/named"
}

drop_service_identity() {
    take_builders
    for item in $OWN_FILES; do drop_files service-identity "$SW_ROOT$item"; done
    drop_files erlang-cookie "$SW_ROOT/root/.erlang.cookie" "$SW_ROOT"/home/*/.erlang.cookie \
        "$SW_ROOT"/var/lib/*/.erlang.cookie
    drop_files nvme-host "$SW_ROOT/etc/nvme/hostnqn" "$SW_ROOT/etc/nvme/hostid"
    item=$SW_ROOT/etc/iscsi/initiatorname.iscsi
    # A name that somebody has chosen is not replaced: the check finds it.
    if [ -e "$item" ] && ! kept iscsi-initiator && grep -qs "$DEBIANS_INITIATOR" "$item"; then
        printf 'GenerateName=yes\n' >"$item"
        note "the name in ${item#"$SW_ROOT"} is left out: every machine makes its own"
    fi
    for item in "$SW_ROOT"/var/lib/snmp/*.conf; do
        if [ -e "$item" ] && ! kept snmp-engine && grep -qs '^\(oldEngineID\|engineBoots\) ' "$item"; then
            sed -i '/^oldEngineID /d; /^engineBoots /d' "$item"
            note "the engine id in ${item#"$SW_ROOT"} is left out: every machine makes its own"
        fi
    done
    if [ ! -s "$WORK/builders.names" ]; then return 0; fi
    for item in "$SW_ROOT"/var/lib/rabbitmq/mnesia/*@*; do
        case $item in *'/mnesia/*@*') continue ;; esac
        if printf '%s\n' "$item" | grep -qF -f "$WORK/builders.names"; then drop_files rabbitmq-node "$item"; fi
    done
    item=$SW_ROOT/etc/mailname
    if [ -e "$item" ] && grep -qsF -f "$WORK/builders.names" "$item"; then
        drop_files mailname "$item"
    fi
    cut_names postfix-hostname "$SW_ROOT/etc/postfix/main.cf" \
        '/^myhostname *=.*NAME/d; /^mydestination/s/NAME *,* *//g'
    # It has the name of the computer that made it; the boot agent makes it again.
    item=$SW_ROOT/etc/aliases.db
    if [ -e "$item" ] && grep -qsaF -f "$WORK/builders.names" "$item"; then
        drop_files postfix-hostname "$item"
    fi
    cut_names builder-identity "$SW_ROOT/etc/exim4/update-exim4.conf.conf" "/^dc_/s/NAME *[:;]* *//g"
    return 0
}

check_erlang_cookie() {
    filled "$SW_ROOT/root/.erlang.cookie" "$SW_ROOT"/home/*/.erlang.cookie "$SW_ROOT"/var/lib/*/.erlang.cookie
}

check_rabbitmq_node() { present "$SW_ROOT"/var/lib/rabbitmq/mnesia/*@* | named_after_builder; }

# A node may be named after no machine at all, rabbit@localhost; what is on standard input is passed on where not.
named_after_builder() {
    if [ -s "$WORK/builders.names" ]; then grep -F -f "$WORK/builders.names"; fi
    return 0
}

check_iscsi_initiator() {
    item=$SW_ROOT/etc/iscsi/initiatorname.iscsi
    if [ -e "$item" ] && grep -qs '^InitiatorName=' "$item"; then present "$item"; fi
    return 0
}

check_nvme_host() { filled "$SW_ROOT/etc/nvme/hostnqn" "$SW_ROOT/etc/nvme/hostid"; }

check_snmp_engine() {
    for item in "$SW_ROOT"/var/lib/snmp/*.conf; do
        if [ -e "$item" ] && grep -qs '^\(oldEngineID\|usmUser\) ' "$item"; then present "$item"; fi
    done
    return 0
}

check_mailname() { naming_builder "$SW_ROOT/etc/mailname"; }

check_postfix_hostname() { naming_builder "$SW_ROOT/etc/postfix/main.cf"; }

# naming_builder FILE: print the file if it has the name of a builder in it.
naming_builder() {
    if [ -s "$WORK/builders.names" ] && [ -e "$1" ] && grep -qsF -f "$WORK/builders.names" "$1"; then present "$1"; fi
    return 0
}

check_service_identity() {
    for item in $OWN_FILES; do present "$SW_ROOT$item"; done
    return 0
}

# Whatever else says who the builder was: its name, its address or its machine-id, in the text or the name of a
# file of /etc or /var/lib.
check_builder_identity() {
    if [ ! -s "$WORK/builders" ]; then return 0; fi
    grep -E '^/(etc|var/lib)/' "$WORK/small" >"$WORK/identity"
    paths_of "$WORK/identity" | xargs -0 -r grep -alwF -f "$WORK/builders" -- | sed "s|^$SW_ROOT||"
    cut -f 7 "$WORK/files.new" | grep -E '^/(etc|var/lib)/' | grep -wF -f "$WORK/builders"
    return 0
}
