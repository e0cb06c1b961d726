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
    # Three independent things at once: most of their time is the start of small programs.
    {
        drop_certificates
        drop_residue
    } &
    dropping=$!
    { write_packages && write_templates; } >"$WORK/why.packages" 2>&1 &
    listing=$!
    lay_image_files || return 1
    hold_units
    name_image
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
    if grep -q '^seal/root/.' "$WORK/members"; then
        bundle_bytes | tar -x -p --no-same-owner --no-overwrite-dir --strip-components=2 \
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

# enable_unit UNIT: by its own links, made by hand so that it works the same in a directory.
enable_unit() {
    wants=$SW_ROOT/etc/systemd/system/multi-user.target.wants
    for place in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        if [ -e "$SW_ROOT$place/$1" ]; then
            if [ ! -d "$wants" ]; then mkdir -p "$wants"; fi
            ln -sfn "$place/$1" "$wants/$1"
            return 0
        fi
    done
    echo "there is no unit $1 to enable"
    return 1
}

# enabled_units: print every unit that starts by itself because of a link in /etc, or by a SysV script.
enabled_units() {
    for link in "$SW_ROOT"/etc/systemd/system/*.target.wants/* "$SW_ROOT"/etc/systemd/system/*.target.requires/*; do
        case $link in
        */sysinit.target.* | */local-fs.target.* | */*-pre.target.* | */getty.target.* | */network-online.target.*) ;;
        # A link to nowhere hides one that the package has.
        *) if [ -L "$link" ] && ! [ "$link" -ef /dev/null ]; then printf '%s\n' "${link##*/}"; fi ;;
        esac
    done
    for link in "$SW_ROOT"/etc/rc3.d/S[0-9][0-9]*; do
        if [ -L "$link" ]; then printf '%s.service\n' "${link##*/S[0-9][0-9]}"; fi
    done
}

# How the image's units wait for the boot agent: a drop-in for each unit that was enabled since the
# base was made. `units` lists the services among them, for the report that all are running.
hold_units() {
    service=''
    if [ -r "$SW_IMAGE/service" ]; then IFS= read -r service <"$SW_IMAGE/service"; fi
    known=' '
    if [ -r "$SW_LIB/base-units" ]; then
        while IFS= read -r unit; do known="$known$unit "; done <"$SW_LIB/base-units"
    fi
    : >"$SW_IMAGE/units"
    enabled_units | sort -u >"$WORK/enabled"
    after=''
    while IFS= read -r unit; do
        case $unit in stoneware-* | systemd-* | dbus-org.*) continue ;; esac
        case $known in *" $unit "*) continue ;; esac
        dropin=$SW_ROOT/etc/systemd/system/$unit.d
        if [ ! -d "$dropin" ]; then mkdir -p "$dropin"; fi
        {
            printf '%s\n' '# Written by the seal: this unit starts only in a machine whose configuration is good.' \
                '[Unit]' 'Requires=stoneware-boot.service' 'After=stoneware-boot.service' \
                'ConditionPathExists=!/run/stoneware/build'
            case $unit in
            "$service") ;;
            *.service) printf 'OnFailure=stoneware-failed@%%n.service\n' ;;
            esac
        } >"$dropin/50-stoneware.conf"
        case $unit in
        *.service)
            printf '%s\n' "$unit" >>"$SW_IMAGE/units"
            after="$after $unit"
            ;;
        esac
    done <"$WORK/enabled"
    dropin=$SW_ROOT/etc/systemd/system/stoneware-report.service.d
    if [ ! -d "$dropin" ]; then mkdir -p "$dropin"; fi
    printf '[Unit]\nAfter=%s\n' "$after" >"$dropin/50-units.conf"
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
    find "$SW_ROOT/tmp" "$SW_ROOT/var/tmp" -xdev -mindepth 1 -delete 2>/dev/null
    # Logs are emptied rather than removed: some belong to a user that could not make them again.
    find "$SW_ROOT/var/log" -xdev -type f '(' -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' ')' -delete \
        -o -type f -size +0 -exec truncate -s 0 '{}' +
    return 0
}
