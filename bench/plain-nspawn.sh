#!/bin/sh
# The peer of `stoneware up`: machines of one image by a plain script around systemd-nspawn.
#
#   plain-nspawn.sh prepare IMAGE DIR   make DIR/root from the hello image's root file system
#   plain-nspawn.sh up DIR COUNT        start COUNT machines, and return without waiting for their pages
#   plain-nspawn.sh await COUNT         wait until each has passed the image's health check, from here
#   plain-nspawn.sh down DIR            power them off, remove them and their bridge
#   plain-nspawn.sh remove DIR          as down, and remove DIR
#
# Machine N is NETWORK.(N+1) and its page says so. DIR has to be on the btrfs file system that IMAGE is on.
set -eu

BRIDGE=sw-peer0
NETWORK=${PEER_NETWORK:-198.18.77} # a /24 of the range for benchmarks (RFC 2544)

prepare() { # prepare IMAGE DIR: without the boot agent; an ordinary page, an address that is given
    mkdir -p "$2"
    btrfs -q subvolume snapshot "$1" "$2/root"
    cd "$2/root"
    rm etc/systemd/system/multi-user.target.wants/stoneware-* etc/nginx/conf.d/* 2>/dev/null || :
    rm -r etc/systemd/system/*.service.d etc/systemd/network
    # networkd is for DHCP; these have their addresses written down.
    rm etc/systemd/system/multi-user.target.wants/systemd-networkd.service
    rm etc/systemd/system/sockets.target.wants/systemd-networkd.socket
    cat >etc/systemd/system/address.service <<END
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ip link set lo up; ip addr add \$(cat /etc/address) dev host0; ip link set host0 up'
END
    cat >etc/systemd/system/hello.service <<END
[Unit]
Requires=address.service
After=address.service
[Service]
ExecStart=/usr/sbin/nginx -g "daemon off;"
KillSignal=SIGQUIT
END
    cat >etc/nginx/conf.d/hello.conf <<END
server {
    listen 80 default_server;
    root /var/www/hello;
}
END
    mkdir -p var/www/hello
}

up() { # up DIR COUNT
    ip link add "$BRIDGE" type bridge stp_state 0 forward_delay 0
    ip addr add "$NETWORK.1/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    number=1
    while [ "$number" -le "$2" ]; do
        machine=$1/machine-$number
        mkdir "$machine"
        btrfs -q subvolume snapshot "$1/root" "$machine/root"
        echo "$NETWORK.$((number + 1))/24" >"$machine/root/etc/address"
        echo "<h1>hi web-$number</h1>" >"$machine/root/var/www/hello/index.html"
        setsid --fork unshare --mount --propagation slave \
            sh "$0" machine "$machine" "peer-$number" </dev/null >"$machine/log" 2>&1
        number=$((number + 1))
    done
}

await() { # await COUNT: with the words of the image's HEALTHCHECK; whoever starts machines wants to know that they serve
    number=1
    while [ "$number" -le "$1" ]; do
        until curl --fail --silent --connect-timeout 1 --output /dev/null "http://$NETWORK.$((number + 1))/"; do
            sleep 0.1
        done
        number=$((number + 1))
    done
}

machine() { # machine DIR NAME: run one, to its end; what systemd-nspawn needs is made in this mount namespace
    echo $$ >"$1/pid"
    if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
        umount -R /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    fi
    mkdir -p /run/systemd/nspawn
    mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
    group=/sys/fs/cgroup/$BRIDGE-$2
    mkdir "$group"
    code=0
    sh -c 'echo $$ >"$0/cgroup.procs"; echo $$ >"$1/nspawn"; shift; exec "$@"' "$group" "$1" \
        systemd-nspawn --quiet --boot --register=no --keep-unit --console=read-only \
        --private-users=pick --private-users-ownership=map --resolv-conf=off --timezone=off \
        --link-journal=no --network-bridge="$BRIDGE" --machine="$2" -D "$1/root" || code=$?
    find "$group" -depth -type d -exec rmdir {} + || :
    exit "$code"
}

alive() { # alive PID WORD: that process is there and has WORD in its command line
    tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -q -- "$2"
}

down() { # down DIR
    for machine in "$1"/machine-*; do
        [ -e "$machine/nspawn" ] || continue
        nspawn=$(cat "$machine/nspawn")
        alive "$nspawn" "$machine" || continue
        # The machine's first process, told to power off (SIGRTMIN+4); before it is there, the end comes harder.
        children=$(cat "/proc/$nspawn/task/$nspawn/children")
        # shellcheck disable=SC2086 # a list
        kill -38 $children 2>/dev/null || kill "$nspawn" || :
    done
    for machine in "$1"/machine-*; do
        [ -d "$machine" ] || continue
        waited=0
        while [ -e "$machine/pid" ] && alive "$(cat "$machine/pid")" "$machine"; do
            sleep 0.01
            waited=$((waited + 1))
            [ "$waited" -ne 1000 ] || kill -KILL "$(cat "$machine/nspawn")"
        done
        [ ! -d "$machine/root" ] || btrfs -q subvolume delete "$machine/root"
        rm -r "$machine"
    done
    ip link del "$BRIDGE" 2>/dev/null || :
}

remove() { # remove DIR
    down "$1"
    [ ! -d "$1/root" ] || btrfs -q subvolume delete "$1/root"
    rm -rf "$1"
}

"$@"
