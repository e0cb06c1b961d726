# shellcheck shell=sh
# The seal: what may not be in an image goes, what describes the image comes. Part of the build agent.

seal() {
    quiet='' cleaning=''
    if is_quiet; then
        quiet=quiet
    else
        keep_clean & # systemd takes its time; nothing below needs it
        cleaning=$!
    fi
    mkdir -p "$SW_IMAGE"
    keep_workdir
    remember_passing
    # Three independent things at once: most of their time is the start of small programs.
    {
        drop_certificates
        drop_residue
    } &
    dropping=$!
    { write_packages && write_templates; } >"$WORK/why.packages" 2>&1 &
    listing=$!
    lay_image_files || return 1
    service=''
    if [ -r "$SW_IMAGE/service" ]; then IFS= read -r service <"$SW_IMAGE/service"; fi
    settle_packages && hold_units || return 1
    name_image
    drop_service_identity
    drop_identity
    wait "$dropping"
    if [ -n "$cleaning" ]; then wait "$cleaning"; fi
    if ! wait "$listing"; then
        cat "$WORK/why.packages"
        return 1
    fi
    # ConditionNeedsUpdate=: without these each first boot would rebuild the caches of systemd and ld.so.
    touch -r "$SW_ROOT/usr" "$SW_ROOT/etc/.updated" "$SW_ROOT/var/.updated"
}

# is_quiet: nothing runs that wants to be stopped kindly, and nothing is logged to the disk. Such a
# machine may be switched off as it is, and then it has no shutdown that could write anything.
is_quiet() {
    if [ -n "$SW_ROOT" ]; then return 0; fi
    for kept in /var/log/journal/*; do
        if [ -e "$kept" ]; then return 1; fi
    done
    for place in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        if [ -d "$place/system.slice" ]; then break; fi
    done
    seen=''
    for unit in "$place"/system.slice/*.service; do
        seen="$seen ${unit##*/}"
        case ${unit##*/} in
        stoneware-*.service | systemd-*.service | dbus.service) continue ;;
        esac
        return 1
    done
    case $seen in *' stoneware-startup.service'*) ;; *) return 1 ;; esac
}

# Nothing that the builder does as a machine from here on may end up in the image: no journal on disk,
# and none of the services that write at shutdown.
keep_clean() {
    if [ -n "$SW_ROOT" ]; then return 0; fi
    mkdir -p /run/systemd/journald.conf.d /run/systemd/system
    printf '[Journal]\nStorage=volatile\n' >/run/systemd/journald.conf.d/90-stoneware.conf
    for unit in systemd-random-seed systemd-update-utmp systemd-update-utmp-runlevel systemd-journal-flush; do
        ln -sf /dev/null "/run/systemd/system/$unit.service"
    done
    systemctl daemon-reload
    if [ -n "$(ls -A /var/log/journal 2>/dev/null)" ]; then systemctl try-restart systemd-journald.service; fi
}

# has_member PATTERN: whether the bundle has a file of such a name.
has_member() {
    while IFS= read -r member; do
        # shellcheck disable=SC2254 # it is a pattern
        case $member in $1) return 0 ;; esac
    done <"$WORK/members"
    return 1
}

# The files of this image take the place of those that its parent image had laid down.
lay_image_files() {
    set -- "$SW_IMAGE/manifest.json" "$SW_IMAGE/contract.tsv"
    if [ -r "$SW_IMAGE/owned" ]; then
        while IFS= read -r old; do
            case $old in
            */..*) ;;
            /etc/systemd/system/*.d/*)
                rm -f "$SW_ROOT$old"
                rmdir "$SW_ROOT${old%/*}" 2>/dev/null
                ;;
            /*) set -- "$@" "$SW_ROOT$old" ;;
            esac
        done <"$SW_IMAGE/owned"
    fi
    rm -f "$@"
    if has_member 'seal/root/?*'; then
        bundle_bytes | tar -x -p --no-same-owner --no-overwrite-dir --keep-directory-symlink --strip-components=2 \
            -C "${SW_ROOT:-/}" -f - seal/root || return 1
    fi
    # The image's own service, and what else the driver wants enabled.
    for names in "$SW_IMAGE/service" "$WORK/seal/enable"; do
        if [ ! -s "$names" ]; then continue; fi
        while IFS= read -r unit; do
            if [ -n "$unit" ]; then enable_unit "$unit" || return 1; fi
        done <"$names"
    done
}

# IMAGE_ID and IMAGE_VERSION of os-release(5), in the characters that it allows.
name_image() {
    release=$(readlink -f "$SW_ROOT/etc/os-release") || release=$SW_ROOT/usr/lib/os-release
    case $release in "$SW_ROOT"/*) ;; *) release=$SW_ROOT/usr/lib/os-release ;; esac
    if [ ! -e "$release" ]; then return 0; fi
    # shellcheck disable=SC2153 # NAME and VERSION come from bundle.env
    names=$(printf '%s\n%s\n' "$NAME" "$VERSION" | tr '[:upper:]' '[:lower:]' | tr -c 'a-z0-9._\n-' '-')
    # shellcheck disable=SC2153
    sed -i '/^IMAGE_ID=/d; /^IMAGE_VERSION=/d' "$release"
    printf 'IMAGE_ID=%s\nIMAGE_VERSION=%s\n' "${names%%
*}" "${names##*
}" >>"$release"
}

drop_identity() {
    # Empty, not missing: a missing one would make systemd apply its presets at the first boot.
    : >"$SW_ROOT/etc/machine-id"
    if [ -f "$SW_ROOT/var/lib/dbus/machine-id" ] && [ ! -L "$SW_ROOT/var/lib/dbus/machine-id" ]; then
        ln -sf /etc/machine-id "$SW_ROOT/var/lib/dbus/machine-id"
    fi
    set -- "$SW_ROOT"/etc/ssh/ssh_host_*_key "$SW_ROOT"/etc/ssh/ssh_host_*_key.pub
    # The key of Debian's ssl-cert; the boot agent makes a new one, as it does for sshd.
    if [ -e "$SW_ROOT/etc/ssl/private/ssl-cert-snakeoil.key" ]; then
        set -- "$@" "$SW_ROOT/etc/ssl/private/ssl-cert-snakeoil.key" "$SW_ROOT/etc/ssl/certs/ssl-cert-snakeoil.pem"
    fi
    if [ ! -L "$SW_ROOT/etc/resolv.conf" ]; then set -- "$@" "$SW_ROOT/etc/resolv.conf"; fi
    rm -rf "$@" "$SW_ROOT/var/lib/systemd/random-seed" "$SW_ROOT/var/lib/systemd/credential.secret" \
        "$SW_ROOT/boot/efi/loader/random-seed" "$SW_ROOT"/var/lib/dhcp/* "$SW_ROOT"/var/lib/NetworkManager/*lease* \
        "$SW_ROOT"/var/lib/systemd/timers/* "$SW_ROOT/etc/hostname"
    if [ -e "$SW_ROOT/etc/hosts" ]; then sed -i '/# stoneware$/d' "$SW_ROOT/etc/hosts"; fi
}

drop_residue() {
    set -- "$SW_ROOT"/var/lib/apt/lists/* "$SW_ROOT"/var/cache/apt/*.bin "$SW_ROOT"/var/cache/apt/archives/*.deb \
        "$SW_ROOT"/var/cache/apt/archives/partial/* "$SW_ROOT"/var/cache/debconf/*-old "$SW_ROOT"/var/lib/dpkg/*-old \
        "$SW_ROOT/.stoneware-copy"
    for file in passwd group shadow gshadow subuid subgid; do set -- "$@" "$SW_ROOT/etc/$file-"; done
    for place in "$SW_ROOT/root" "$SW_ROOT"/home/*; do
        set -- "$@" "$place"/.*_history "$place/.lesshst" "$place/.viminfo" "$place/.wget-hsts" "$place/.cache/pip"
    done
    rm -rf "$@" "$SW_ROOT"/var/log/journal/* "$SW_ROOT/var/log/apt" "$SW_ROOT/var/log/bootstrap.log" \
        "$SW_ROOT/var/log/dpkg.log" "$SW_ROOT/var/log/alternatives.log"
    for place in tmp var/tmp; do
        find "$SW_ROOT/$place" -xdev -mindepth 1 -delete 2>/dev/null
        if [ ! -e "$SW_ROOT/$place" ] && [ ! -L "$SW_ROOT/$place" ]; then mkdir -m 1777 "$SW_ROOT/$place"; fi
    done
    # Logs are emptied rather than removed: some belong to a user that could not make them again.
    find "$SW_ROOT/var/log" -xdev -type f '(' -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' ')' -delete \
        -o -type f -size +0 -exec truncate -s 0 '{}' +
    return 0
}
