# shellcheck shell=sh
# Makes what reads foreign disks: a kernel and an initramfs of nothing but a shell, tar, blkid and the drivers of file
# systems, at /reader in a builder. Behind kernel.sh, whose settings it has; reader-init.sh is what runs in there.

reader_layer() {
    begin_layer || return
    tell running 1 "installing $KERNEL_PACKAGE"
    if ! { install_reader && pack_reader; } >"$LAYER_LOG" 2>&1 </dev/null; then
        tell failed 1 "$(tail -n 12 "$LAYER_LOG")"
        return
    fi
    tell finished 2 "$kernel"
}

install_reader() {
    export DEBIAN_FRONTEND=noninteractive
    # The initramfs that the kernel's package would make for itself is of no use here.
    dpkg-divert --local --rename --add /usr/sbin/update-initramfs
    ln -sf /bin/true /usr/sbin/update-initramfs
    apt-get -q update
    apt-get -q -y --no-install-recommends install "$KERNEL_PACKAGE" initramfs-tools busybox kmod tar util-linux zstd &&
        one_kernel
}

pack_reader() {
    conf=$WORK/initramfs
    mkdir -p "$conf/hooks" "$conf/conf.d" "$conf/scripts" /reader
    printf 'MODULES=list\nBUSYBOX=y\nKEYMAP=n\nCOMPRESS=zstd\n' >"$conf/initramfs.conf"
    printf '%s\n' virtio_pci virtio_blk virtio_console crc32c ext4 xfs btrfs >"$conf/modules"
    sw_curl --fail --retry 5 --retry-all-errors -o "$conf/init" "$SW_MDS/stoneware/v1/files/reader-init" || return 1
    cat >"$conf/hooks/reader" <<EOF
#!/bin/sh
[ "\$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /bin/tar /tools/tar
copy_exec /sbin/blkid /tools/blkid
copy_exec /bin/mount /tools/mount
install -m 0755 $conf/init "\$DESTDIR/init"
EOF
    chmod 0755 "$conf/hooks/reader"
    mkinitramfs -d "$conf" -o /reader/initrd "$kernel" && cp "/boot/vmlinuz-$kernel" /reader/vmlinuz
}
