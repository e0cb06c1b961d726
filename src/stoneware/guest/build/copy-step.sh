# shellcheck shell=sh
# COPY, ADD and WORKDIR, after BuildKit's rules. Part of the build agent.

# owner_of TEXT: print uid:gid of a --chown (or of the user of a WORKDIR): unknown names count as 0, a
# bare number stands for both.
owner_of() {
    who=${1%%:*}
    case $who in
    '') who=0:0 ;;
    *[!0-9]*)
        who=$(awk -F: -v who="$who" -v passwd="$SW_ROOT/etc/passwd" '
            BEGIN { while ((getline <passwd) > 0) if ($1 == who) { print $3 ":" $4; exit } print "0:0" }')
        ;;
    *) who=$who:$who ;;
    esac
    who=${who%%
*}
    case $1 in
    *:?*)
        theirs=$(sw_group_of "${1#*:}")
        printf '%s:%s\n' "${who%:*}" "${theirs:-${who#*:}}"
        ;;
    *) printf '%s\n' "$who" ;;
    esac
}

# make_directories PATH OWNER MODE: make PATH with its missing parents, links followed.
make_directories() {
    wanted=$(readlink -m -- "${1:-/}")
    missing_directories "$wanted" | sort >"$WORK/directories"
    while IFS= read -r place; do
        mkdir -- "$place" && chown "$2" -- "$place" && chmod "$3" -- "$place" || return 1
    done <"$WORK/directories"
    if [ ! -d "$wanted" ]; then
        printf 'cannot make the directory %s: something else is there\n' "${1#"$SW_ROOT"}"
        return 1
    fi
}

workdir_step() {
    make_directories "$SW_ROOT$(cat "$1/path")" "$(owner_of "$(cat "$1/user" 2>/dev/null)")" 0755
}

# extract DIRECTORY: unpack the tar on standard input with the owners, modes and attributes it records.
extract() {
    tar -x -p --same-owner --numeric-owner --xattrs --xattrs-include='*' -C "$1" -f -
}

# step_data: the step's source tree as a tar on standard output.
step_data() {
    if [ -d "$1/tree" ]; then
        (cd "$1/tree" && find . -mindepth 1 -maxdepth 1 -print0 | tar -c --null --no-recursion --recursion -T - -f -)
    else
        bundle_member "${1#"$WORK"/}/data.tar"
    fi
}

# apply DIRECTORY: give what lies in DIRECTORY (not itself) the step's owner and mode.
apply() {
    if [ -n "$chown" ]; then
        find "$1" -mindepth 1 -exec chown -h "$owner" -- '{}' + || return 1
    fi
    if [ -n "$chmod" ]; then
        find "$1" -mindepth 1 ! -type l -exec chmod "$chmod" -- '{}' + || return 1
    fi
}

# no_links PATH: --link follows no links at the destination. Putting directories in their place, as layers would,
# is not what a machine survives (/lib is one).
no_links() (
    IFS=/ path=''
    set -f
    for part in $1; do
        if [ -z "$part" ]; then continue; fi
        path=$path/$part
        if [ -L "$SW_ROOT$path" ]; then
            echo "--link follows no links, and $path is one: leave --link out"
            return 1
        fi
    done
)

# copy_step DIRECTORY: set things up, then one of the two shapes of a copy.
copy_step() {
    dest=$(cat "$1/dest")
    chown=$(cat "$1/chown" 2>/dev/null)
    chmod=$(cat "$1/chmod" 2>/dev/null)
    into=$(cat "$1/into" 2>/dev/null)
    owner=0:0
    if [ -n "$chown" ]; then owner=$(owner_of "$chown"); fi
    # An octal mode also applies to directories made on the way; a symbolic one has no base there.
    made=0755
    case $chmod in '' | *[!0-7]*) ;; *) made=$chmod ;; esac
    if [ -e "$1/link" ]; then no_links "$dest" || return 1; fi
    # Beside the system, so that the last rename stays within one file system where it can.
    staged=$SW_ROOT/.stoneware-copy
    rm -rf "$staged"
    case $dest in */ | */. | */..) into=dir ;; esac
    if [ "$into" != dir ] && [ ! -d "$SW_ROOT$dest" ]; then
        copy_to_file "$1"
    else
        copy_into_directory "$1"
    fi
    outcome=$?
    rm -rf "$staged"
    if [ "$outcome" -ne 0 ]; then return "$outcome"; fi
    unpack_archives "$1"
}

# A regular file under the name of the destination: a link there is written through, even a dangling one.
copy_to_file() {
    if ! has_data "$1"; then return 0; fi
    target=$(readlink -m -- "$SW_ROOT$dest")
    make_directories "${target%/*}" "$owner" "$made" || return 1
    mkdir -m 700 "$staged" && step_data "$1" | extract "$staged" && apply "$staged" || return 1
    file=$(find "$staged" -mindepth 1 -maxdepth 1)
    mv -fT -- "$file" "$target"
}

# Directories' contents and files into a directory, which keeps its own mode and owner.
copy_into_directory() {
    make_directories "$SW_ROOT$dest" "$owner" "$made" || return 1
    if ! has_data "$1"; then return 0; fi
    target=$(readlink -f -- "$SW_ROOT$dest")
    was=$(stat -c '%u:%g %a' -- "$target")
    if [ -z "$chown$chmod" ]; then
        step_data "$1" | extract "$target" || return 1
    else
        mkdir -m 700 "$staged" && step_data "$1" | extract "$staged" && apply "$staged" || return 1
        tar -c --numeric-owner --xattrs --xattrs-include='*' -C "$staged" -f - . | extract "$target" || return 1
    fi
    chown "${was% *}" -- "$target" && chmod "${was#* }" -- "$target"
}

has_data() {
    [ -d "$1/tree" ] || grep -qxF "${1#"$WORK"/}/data.tar" "$WORK/members"
}

# ADD of local archives: over the destination, existing directories get what the archive says.
unpack_archives() {
    place=${1#"$WORK"/}/archives
    grep "^$place/." "$WORK/members" >"$WORK/archives" || return 0
    make_directories "$SW_ROOT$dest" "$owner" "$made" || return 1
    while IFS= read -r member; do
        bundle_member "$member" >"$WORK/archive" || return 1
        tar -x -p --same-owner --numeric-owner --xattrs --xattrs-include='*' -C "$SW_ROOT$dest" -f "$WORK/archive" || return 1
        if [ -n "$chown" ]; then
            tar -t --quoting-style=literal -f "$WORK/archive" |
                (cd "$SW_ROOT$dest" && tr '\n' '\0' | xargs -0 -r chown -h "$owner" --) || return 1
        fi
        rm -f "$WORK/archive"
    done <"$WORK/archives"
}
