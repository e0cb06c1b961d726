# shellcheck shell=sh
# The checks of what the image's configuration says is there: a line of seal/promises is a kind, a name and the
# line of the Machinefile, tabs between; seal/path is the PATH of the service, seal/workdir its directory. Part of
# the build agent.

tab=$(printf '\t')

# promised KIND COMMAND: run COMMAND NAME PLACE for each promise of a kind.
promised() {
    if [ ! -s "$WORK/seal/promises" ]; then return 0; fi
    while IFS="$tab" read -r kind name place; do
        if [ "$kind" = "$1" ]; then "$2" "$name" "$place"; fi
    done <"$WORK/seal/promises"
}

check_service_user() {
    promised user missing_user
    promised group missing_group
}

missing_user() {
    if ! named_in passwd "$1"; then printf '%s: there is no user %s.\n' "$2" "$1"; fi
}

missing_group() {
    if ! named_in group "$1"; then printf '%s: there is no group %s.\n' "$2" "$1"; fi
}

# named_in TABLE NAME
named_in() {
    while IFS=: read -r entry _; do
        if [ "$entry" = "$2" ]; then return 0; fi
    done <"$SW_ROOT/etc/$1"
    return 1
}

# remember_passing: before the seal empties /tmp: which files there, or in /run, the image's configuration names.
remember_passing() {
    promised passing passing_file >"$WORK/passing.promised"
}

passing_file() {
    if [ ! -f "$SW_ROOT$1" ]; then return 0; fi
    printf '%s: %s is in no machine: /tmp, /var/tmp and /run are empty when it starts. Put it elsewhere, such as /opt.\n' \
        "$2" "$1"
}

check_service_program() {
    cat "$WORK/passing.promised"
    IFS= read -r search 2>/dev/null <"$WORK/seal/path" || :
    IFS= read -r from 2>/dev/null <"$WORK/seal/workdir" || :
    promised program missing_program
}

# missing_program NAME PLACE: say so if the program is not in the image, or cannot be run.
missing_program() {
    case $1 in
    /*) set -- "$1" "$2" "$1" ;;
    */*) set -- "$1" "$2" "${from%/}/${1#./}" ;;
    *)
        # What a shell has built in has no path.
        case $(command -v -- "$1") in "$1") return 0 ;; esac
        rest=$search:
        while [ -n "$rest" ]; do
            item=${rest%%:*}/$1
            rest=${rest#*:}
            if [ -f "$SW_ROOT$item" ] && [ -x "$SW_ROOT$item" ]; then
                missing_interpreter "$item" "$2"
                return 0
            fi
        done
        printf '%s: there is no program %s in the image.\n' "$2" "$1"
        return 0
        ;;
    esac
    if [ -e "$SW_ROOT/etc/stoneware/templates$3" ]; then return 0; fi # written at boot
    if [ ! -f "$SW_ROOT$3" ]; then
        if grep -qF -e ": $3 " "$WORK/passing.promised"; then return 0; fi # told of already
        printf '%s: there is no %s in the image.\n' "$2" "$3"
    elif [ ! -x "$SW_ROOT$3" ]; then
        printf '%s: %s is not executable: COPY --chmod=0755.\n' "$2" "$3"
    else
        missing_interpreter "$3" "$2"
    fi
}

# missing_interpreter PATH PLACE: a script needs the program behind its #!, and no carriage return behind that.
missing_interpreter() {
    line=''
    case $(head -c 2 "$SW_ROOT$1" | tr -d '\0') in '#!') IFS= read -r line <"$SW_ROOT$1" || : ;; esac
    case $line in
    '') return 0 ;;
    *"$(printf '\r')") printf '%s: the lines of %s end in CR LF, as on Windows: its interpreter is not found.\n' "$2" "$1" ;;
    *)
        line=${line#??}
        line=${line#"${line%%[! ]*}"}
        if [ ! -e "$SW_ROOT${line%% *}" ]; then
            printf '%s: the interpreter %s of %s is not in the image.\n' "$2" "${line%% *}" "$1"
        fi
        ;;
    esac
}
