#!/bin/sh
# What a newcomer does, on a bare Debian with systemd: git clone, make setup, lint, test-pure, demo, and a reboot.
# Makes that host with mmdebstrap in a privileged container of this computer; takes minutes; needs root.
# Afterwards nothing is left but IPv4 forwarding, which Stoneware itself switches on.
#
#   sh tests/bare-host.sh [--full] [12|13]... [-- COMMAND [ARGUMENT...]]
#
# 12|13    Debian's releases, both if none is named
# --full   make test, instead of lint and test-pure
# COMMAND  what to do between make setup and the reboot, instead of all that
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
full=
releases=
while [ $# -gt 0 ]; do
    case $1 in
    --full) full=--full ;;
    12 | 13) releases="$releases $1" ;;
    --) shift && break ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
    shift
done
case ${releases:= 12 13} in
' 12') suite=bookworm ;;
' 13') suite=trixie ;;
*) # one after the other, each by a script of its own
    for release in $releases; do
        # shellcheck disable=SC2086 # no word where it is empty
        sh "$0" $full "$release" -- "$@"
    done
    exit
    ;;
esac

name=sw-bare-$$
work=$(mktemp -d /var/tmp/stoneware-bare.XXXXXX)
root=$work/root
net=198.18.$(($$ % 250))
host=

leader() { # the host's first process: the child of nspawn that has a network namespace of its own
    read -r children <"/proc/$host/task/$host/children" || true # it ends without a newline
    for child in $children; do
        [ "/proc/$child/ns/net" -ef /proc/self/ns/net ] || echo "$child"
    done
}

inside() { # run a command as an operator would: in a unit of its own
    nsenter -t "$(leader)" -a -- systemd-run --quiet --wait --pipe --collect \
        --working-directory=/root/stoneware -E HOME=/root -E TERM=dumb -- env "$@"
}

wait_for() { # wait_for SECONDS COMMAND...
    tries=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { tail -n 20 "$work/console.log" && exit 1; }
        sleep 0.1
    done
}

up() { [ "$(nsenter -t "$(leader)" -a -- systemctl is-system-running)" = running ]; }

boot() {
    unshare --mount sh "$here/tests/local/systemd_host.sh" "$name" "$root" "$work" v2 \
        --bind=/dev/btrfs-control --bind=/dev/loop-control --bind=/sys/fs/btrfs </dev/null >>"$work/console.log" 2>&1 &
    host=$!
    wait_for 60 up
    ip link add "$name" type veth peer name eth0 netns "$(leader)"
    ip addr add "$net.1/30" dev "$name"
    ip link set "$name" up
    # Loop devices, and a /proc and /sys with nothing laid over them, which machines' own need.
    nsenter -t "$(leader)" -a -- sh -euc "
        ip addr add $net.2/30 dev eth0; ip link set eth0 up; ip route add default via $net.1
        for n in \$(seq 0 63); do [ -e /dev/loop\$n ] || mknod /dev/loop\$n b 7 \$n; done
        for kind in proc sysfs; do mkdir -p /run/\$kind; mount -t \$kind \$kind /run/\$kind; done"
}

shut_down() {
    nsenter -t "$(leader)" -a -- systemctl poweroff
    wait "$host" || true
    host=
}

# shellcheck disable=SC2329 # called by the trap
clean() {
    [ -z "$host" ] || kill -KILL "$(leader)" 2>/dev/null || true
    [ -z "$host" ] || wait "$host" || true
    ip link del "$name" 2>/dev/null || true
    nft delete table ip "$name" 2>/dev/null || true
    # shellcheck disable=SC2016
    unshare --mount sh -c 'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup
        find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +' sh "$name" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

echo "== a bare Debian$releases in $root"
mmdebstrap --quiet --variant=minbase --format=directory \
    --include=systemd-sysv,dbus,iproute2,ca-certificates,python3,git,make "$suite" "$root"
chmod 755 "$work" "$root"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# How this computer reaches package registries, where that is special.
if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/pip.conf"; fi
cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates"
chroot "$root" update-ca-certificates >/dev/null

echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<END
table ip $name {
    chain post {
        type nat hook postrouting priority srcnat
        ip saddr $net.0/30 oifname != "$name" masquerade
    }
}
END
git clone --quiet --no-hardlinks "$here" "$root/root/stoneware"
boot

show() {
    echo "== Debian$releases: $*"
    inside "$@"
}

show make setup
show .venv/bin/python --version
show .venv/bin/stoneware doctor
if [ $# -gt 0 ]; then
    show "$@"
elif [ -n "$full" ]; then
    show make test
    show make demo
else
    show make lint
    show make test-pure
    show make demo
fi
echo "== Debian$releases: a reboot"
inside .venv/bin/stoneware bake -t hello examples/hello
inside .venv/bin/stoneware run -d --name h1 --restart always --wait -e GREETING=hi hello
shut_down
boot
inside .venv/bin/stoneware ps
inside .venv/bin/stoneware exec h1 systemctl is-system-running --wait
shut_down
echo "== Debian$releases: all of it worked"
