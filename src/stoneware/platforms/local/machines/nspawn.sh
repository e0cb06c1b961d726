# The part of shim.sh for machines of systemd-nspawn.

# The port's far end waits in the router's namespace, shut, until there is a machine to have it.
LINK="link add vb-$ID type veth peer name vp-$ID address $MAC"

mounts() {
    # nspawn cleans this up only when it is on a disk of its own.
    [ -d /run/systemd/nspawn ] || mkdir -p /run/systemd/nspawn
    mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn ||
        fail "/run/systemd/nspawn cannot be mounted"
    # On the computer the store is nosuid. Here, where this machine alone looks, its setuid programs are its own.
    mount -o bind,suid,nodev "$STORE" "$STORE" || fail "$STORE cannot be mounted"
}

find_leader() { # the child of nspawn that has a network namespace of its own is the machine's PID 1
    leader=
    uptime_hundredths
    since=$now
    # The port is needed first, and takes as long: each look that comes before it is a process for nothing.
    [ -z "$port" ] || [ -n "$port_made" ] || { wait "$port" && port_made=yes; }
    while [ -d "/proc/$child" ]; do
        children=
        { read -r children <"/proc/$child/task/$child/children"; } 2>/dev/null
        for pid in $children; do
            if [ -e "/proc/$pid/ns/net" ] && ! [ "/proc/$pid/ns/net" -ef /proc/self/ns/net ]; then
                leader=$pid
                return 0
            fi
        done
        # Usually 0.05 s; with many machines that start at once seconds, and each look is a process that holds them
        # up. So the longer it takes, the longer is the pause.
        uptime_hundredths
        pause=$(((now - since) / 2))
        case $pause in
            [0-1]) sleep 0.03 ;;
            [2-9]) sleep "0.0$pause" ;;
            [1-4]?) sleep "0.$pause" ;;
            *) sleep 0.5 ;;
        esac
    done
    return 1
}

hand_over() { # give the machine its port's far end; from here on frames go
    ip -n "$ROUTER" -batch - <<END
link set vp-$ID netns $leader name host0
link set vb-$ID up
END
}

plug_in() { # give the machine the port that was made while systemd-nspawn began, at once
    [ -n "$ROUTER" ] || return 0
    # Made again where another process that was taken for the machine's first has had it, and is gone.
    { { [ -n "$port_made" ] || wait "$port"; } && hand_over 2>/dev/null; } || { make_port && hand_over; } || return 1
    [ -n "$ADDRESS" ] || return 0
    nsenter --net="/proc/$leader/ns/net" ip -batch - <<END
link set host0 mtu $MTU up
address add $ADDRESS dev host0
route add default via $GATEWAY
END
}

power_off() { kill -38 "$leader"; } # SIGRTMIN+4: systemd(1)

ended() {
    # nspawn says 1 when its machine is killed; Docker's 128 + 9 tells it from a machine that failed.
    if [ "$code" -eq 1 ]; then
        last=
        while IFS= read -r line; do last=$line; done <"$DIR/../shim.log"
        case $last in
            *"terminated by signal KILL.") code=137 ;;
        esac
    fi
}
