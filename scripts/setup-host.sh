#!/bin/sh
# Install the Debian packages that Stoneware and its tests use; does nothing where all are there.
#
#   setup-host.sh [--tests]
#
# --tests: what only tests need as well: a browser to look at the reports in, chattr, a compiler for the programs
# of attackers, what makes disks and looks at them, and virtual machines.
set -eu

# What the local engine needs, what its tests run on this computer (curl, other awks and shells, packers),
# and what making the virtual environment needs.
packages="btrfs-progs busybox bzip2 ca-certificates curl dnsmasq-base gawk iproute2 mawk mmdebstrap nftables
  openssl systemd-container util-linux xz-utils zstd python3-venv"
[ "${1:-}" != --tests ] || packages="$packages chromium dosfstools e2fsprogs fdisk fuse2fs gcc gdisk libc6-dev mtools ovmf
  qemu-system-x86 qemu-utils xfsprogs"

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    printf 'setup: these packages are missing:%s\n' "$missing" >&2
    printf 'setup: run as root: apt-get install%s\n' "$missing" >&2
    exit 3
fi

printf 'setup: installing%s\n' "$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2
# The words are package names: splitting them is what is wanted.
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing >&2
