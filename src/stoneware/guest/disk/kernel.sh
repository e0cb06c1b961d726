# shellcheck shell=sh
# The agent of a kernel layer: install a kernel into a copy of an image, so that it boots as a virtual machine. Runs in
# a builder, behind parts of the build agent (kernel_layer.py); its settings stand in front of it:
# SW_TOKEN, KERNEL_PACKAGE, FIRMWARE (a package), EXTRAS (packages), ROOT_UUID, SOURCE_DATE_EPOCH, SKIPPED (checks).

WORK=$SW_RUN/build-agent
LAYER_LOG=$WORK/log

# What of the build agent's own console lines comes here goes nowhere: the layer's reports say enough.
note() { :; }

# tell STATE STEP MESSAGE
tell() {
    printf '{"token":"%s","boot":"%s","step":%d,"state":"%s","exit":0,"message":%s}\n' \
        "$SW_TOKEN" "$boot" "$2" "$1" "$(sw_json_string "$3")" >"$WORK/report"
    until sw_put stoneware/build "$WORK/report"; do sleep 0.2; done
}

# Debian's initramfs-tools copies what the host has by default; a disk has to boot anywhere.
settle_initramfs() {
    mkdir -p /etc/initramfs-tools/conf.d
    printf 'MODULES=most\nRESUME=none\nFSTYPE=ext4\nCOMPRESS=zstd\nCOMPRESSLEVEL=3\nKEYMAP=n\n' >/etc/initramfs-tools/conf.d/stoneware
}

# The root file system is checked before it is mounted for writing, and grown to its partition.
write_fstab() {
    {
        if [ -r /etc/fstab ]; then awk '$1 ~ /^#/ || $2 != "/"' /etc/fstab; fi
        printf 'PARTUUID=%s / ext4 rw,errors=remount-ro,x-systemd.growfs 0 1\n' "$ROOT_UUID"
    } >/etc/fstab.stoneware
    mv /etc/fstab.stoneware /etc/fstab
    mkdir -p /usr/lib/repart.d
    printf '[Partition]\nType=root\n' >/usr/lib/repart.d/50-stoneware-root.conf
}

# Disks are found by their names where Compute Engine's machines find them; Debian's own rules name them otherwise.
write_disk_names() {
    mkdir -p /usr/lib/udev/rules.d
    cat >/usr/lib/udev/rules.d/65-stoneware-disks.rules <<'END'
SUBSYSTEM=="block", KERNEL=="sd*", ENV{DEVTYPE}=="disk", ENV{ID_SERIAL}=="0Google_PersistentDisk_?*", ENV{ID_SERIAL_SHORT}=="?*", SYMLINK+="disk/by-id/google-$env{ID_SERIAL_SHORT}"
SUBSYSTEM=="block", KERNEL=="sd*", ENV{DEVTYPE}=="partition", ENV{ID_SERIAL}=="0Google_PersistentDisk_?*", ENV{ID_SERIAL_SHORT}=="?*", SYMLINK+="disk/by-id/google-$env{ID_SERIAL_SHORT}-part%n"
END
}

# An image may have its own kernel: then that one is taken.
install_kernel() {
    # shellcheck disable=SC2086 # a list
    set -- $EXTRAS "$FIRMWARE" initramfs-tools e2fsprogs kmod udev zstd
    # What an own kernel had may be particular to a computer.
    if has_kernel; then rm -f /boot/initrd.img-*; else set -- "$KERNEL_PACKAGE" "$@"; fi
    if [ ! -x /usr/bin/systemd-repart ] && [ ! -x /bin/systemd-repart ]; then set -- "$@" systemd-repart; fi
    # INITRD: the packages' scripts would make the initramfs twice, the kernel's and then the one of initramfs-tools.
    export DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH INITRD=No
    # Nothing of the image may go for it, as another time daemon or boot loader might.
    apt-get -q update && apt-get -q -y --no-install-recommends --no-remove install "$@" && one_kernel || return 1
    update-initramfs -c -k "$kernel"
}

has_kernel() {
    set -- /boot/vmlinuz-*
    [ -e "$1" ]
}

# one_kernel: set `kernel` to its version.
one_kernel() {
    set -- /boot/vmlinuz-*
    if [ $# -ne 1 ] || [ ! -f "$1" ]; then
        echo "the image has to have one kernel in /boot, and it has: $*" >&2
        return 1
    fi
    kernel=${1#/boot/vmlinuz-}
}

enable_units() {
    # Started on demand elsewhere: here they take the power button, by which a hypervisor asks a machine to stop.
    for unit in dbus systemd-logind; do
        link=/etc/systemd/system/multi-user.target.wants/$unit.service
        if [ "$(readlink "$link")" = /dev/null ]; then rm "$link"; fi
    done
    mkdir -p /etc/systemd/system/timers.target.wants
    # It switches the machine off when the power button is pressed; in a container there is none.
    ln -sf /lib/systemd/system/systemd-logind.service /etc/systemd/system/multi-user.target.wants/systemd-logind.service
    if [ -e /usr/lib/systemd/system/fstrim.timer ] || [ -e /lib/systemd/system/fstrim.timer ]; then
        ln -sf /lib/systemd/system/fstrim.timer /etc/systemd/system/timers.target.wants/fstrim.timer
    fi
}

# show_scripts: what scripts that Google's agent runs say is on the serial port of Google's own images, whose rsyslog
# passes it on.
show_scripts() {
    case " $EXTRAS " in *' google-guest-agent '*) ;; *) return 0 ;; esac
    for unit in google-startup-scripts google-shutdown-scripts; do
        mkdir -p "/etc/systemd/system/$unit.service.d"
        printf '[Service]\nStandardOutput=journal+console\n' >"/etc/systemd/system/$unit.service.d/console.conf"
    done
}

# leave_out: what is this builder's, or of no use in a machine.
leave_out() {
    drop_certificates
    drop_service_identity
    drop_identity
    drop_residue
    rm -rf /var/cache/ldconfig/aux-cache /var/lib/initramfs-tools/* /var/lib/systemd/catalog/database \
        /boot/*.old-dkms /initrd.img* /vmlinuz*
    rmdir "$SW_IMAGE" "$SW_LIB" 2>/dev/null || : # empty where nothing else is ours, as on a cloud's own disk
    touch -r /usr /etc/.updated /var/.updated
}

kernel_layer() {
    begin_layer || return
    settle_initramfs
    write_fstab
    write_disk_names
    tell running 1 "installing $KERNEL_PACKAGE"
    if ! install_kernel >"$LAYER_LOG" 2>&1 </dev/null; then
        tell failed 1 "$(tail -n 12 "$LAYER_LOG")"
        return
    fi
    tell running 2 'sealing'
    enable_units
    show_scripts
    if ! leave_out >"$LAYER_LOG" 2>&1; then
        tell failed 2 "$(tail -n 12 "$LAYER_LOG")"
        return
    fi
    tell finished 2 "$kernel"
}

# begin_layer: once the builder has booted, with the certificates that its downloads need.
begin_layer() {
    set -u
    umask 022
    cd /
    IFS= read -r boot </proc/sys/kernel/random/uuid
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    rm -rf "$WORK"
    mkdir -p "$WORK/seal"
    printf '%s\n' "$SKIPPED" >"$WORK/seal/checks.skip"
    take_layer_certificates
    until [ -z "${SW_BOOTED-}" ] || [ -e "$SW_BOOTED" ]; do sleep 0.01; done
    rm -f "$SW_RUN/build"
    if ! install_certificates; then
        tell failed 1 "the certificates cannot be installed: $(tail -n 1 "$WORK/why")"
        return 1
    fi
}

# take_layer_certificates: those that this computer trusts besides its distribution's, which it serves as a file.
take_layer_certificates() {
    mkdir -p "$WORK/ca"
    sw_patience
    until code=$(sw_curl -w '%{http_code}' -o "$WORK/ca.tar" "$SW_MDS/stoneware/v1/files/ca.tar") && [ "$code" = 200 ]; do
        sw_again "$code" || return 0 # there are none
    done
    tar -x -C "$WORK/ca" --no-same-owner -f "$WORK/ca.tar"
}
