# shellcheck shell=sh
# Settings of a machine's system that are not in its image. Sourced by the boot agent, after lib.sh, where there
# are any; needs its TAB and fail.
#
# Attribute stoneware-system: lines `sysctl<TAB>NAME<TAB>VALUE`, `host<TAB>ADDRESS<TAB>NAME`, `search<TAB>DOMAIN`
# and `option<TAB>OPTION` (of resolv.conf).

# apply_system FILE: set the kernel parameters; sets more_hosts (lines of /etc/hosts), more_search, more_options.
apply_system() {
    parameters=''
    while IFS=$TAB read -r word first second; do
        case $word in
        sysctl) parameter "$first" "$second" ;;
        host) more_hosts="$more_hosts$first $second # stoneware
" ;;
        search) more_search="$more_search$first " ;;
        option) more_options="$more_options $first" ;;
        esac
    done <"$1"
    if [ -n "$parameters" ]; then umount "$parameters" && rmdir "$parameters"; fi
}

# parameter NAME VALUE: set one. /proc/sys is read-only but for the network; a fresh proc shows what the machine may
# set besides, the limits of its IPC.
parameter() {
    path='' rest=$1
    case $rest in */*) path=$rest rest='' ;; esac
    while [ -n "$rest" ]; do
        path=${path:+$path/}${rest%%.*}
        case $rest in *.*) rest=${rest#*.} ;; *) rest='' ;; esac
    done
    tree=${SW_PROC-/proc}
    case $path in
    net/*) ;;
    *)
        if [ -z "$parameters" ] && [ -z "$SW_ROOT" ]; then
            parameters=$SW_RUN/proc
            mkdir -p "$parameters" && mount -t proc proc "$parameters" ||
                fail "the kernel parameter $1 cannot be set: no proc file system can be mounted"
        fi
        if [ -n "$parameters" ]; then tree=$parameters; fi
        ;;
    esac
    printf '%s\n' "$2" 2>/dev/null >"$tree/sys/$path" || fail "the kernel parameter $1 cannot be set to $2"
}
