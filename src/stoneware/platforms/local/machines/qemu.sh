# The part of shim.sh for virtual machines of QEMU.
#   POWER_OFF    command that asks the machine to switch itself off, at the press of its button

# QEMU opens the port's far end by its name, in the router's namespace, before it is let out of that one.
LINK="tuntap add dev vb-$ID mode tap"

make_port() { # as shim.sh has it, and tell QEMU's launcher, which starts meanwhile and waits for the word
    : >"$DIR/port"
    if try_port 2>/dev/null || { ip -n "$ROUTER" link del "vb-$ID" 2>/dev/null; try_port; }; then
        note port made
        return 0
    fi
    put error "the machine's network port could not be made"
    note port failed
    return 1
}

mounts() { :; } # the jail has its own

find_leader() { # QEMU itself, once its launcher has become it; it has opened the port by then
    leader=
    while [ -d "/proc/$child" ]; do
        name=
        { read -r name <"/proc/$child/comm"; } 2>/dev/null
        case $name in
            qemu-system-*)
                leader=$child
                return 0
                ;;
        esac
        sleep 0.02
    done
    return 1
}

plug_in() {
    [ -z "$ROUTER" ] || ip -n "$ROUTER" link set "vb-$ID" up
}

power_off() { eval "$POWER_OFF" 7>&- & }

ended() { : >"$DIR/port"; } # the next boot's is another one
