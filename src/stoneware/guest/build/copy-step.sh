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

# extract DIRECTORY: unpack the tar on standard input with the owners, modes and attributes it records. A link to a
# directory stays where the tar has a directory: what is in it goes through the link.
extract() {
    tar -x -p --same-owner --numeric-owner --keep-directory-symlink --xattrs --xattrs-include='*' -C "$1" -f -
}

# step_data: the step's source tree as a tar on standard output.
step_data() {
    if [ -d "$1/tree" ]; then
        (cd "$1/tree" && find . -mindepth 1 -maxdepth 1 -print0 | tar -c --null --no-recursion --recursion -T - -f -)
    else
        bundle_member "${1#"$WORK"/}/data.tar"
    fi
}

# prepared DIRECTORY: give what lies in DIRECTORY the step's mode, and pack what standard input names.
prepared() {
    if [ -n "$chmod" ]; then
        # With a zero more chmod(1) takes setgid off directories as well.
        case $chmod in *[!0-7]*) ;; *) chmod=0$chmod ;; esac
        find "$1" -mindepth 1 ! -type l -exec chmod "$chmod" -- '{}' + || return 1
    fi
    packed "$1"
}

# packed DIRECTORY OPTION…: a tar, with the step's owner, of the names in DIRECTORY that come on standard input, apart by
# NUL. The owner is put into the tar: chown(1) takes setuid bits and capabilities off files.
packed() {
    place=$1
    shift
    if [ -n "$chown" ]; then set -- "--owner=:${owner%:*}" "--group=:${owner#*:}" "$@"; fi
    tar -c --numeric-owner --xattrs --xattrs-include='*' "$@" -C "$place" --null --verbatim-files-from -T - -f -
}

# top DIRECTORY: the names in it, for `prepared`, which takes what is below them too.
top() {
    find "$1" -mindepth 1 -maxdepth 1 -printf '%P\0'
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
    unfit='' linked=$1/link
    if [ -e "$linked" ]; then no_links "$dest" || return 1; fi
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
    mkdir -m 700 "$staged" "$staged/as-it-is" "$staged/prepared" || return 1
    step_data "$1" | extract "$staged/as-it-is" || return 1
    top "$staged/as-it-is" >"$WORK/names"
    prepared "$staged/as-it-is" <"$WORK/names" | extract "$staged/prepared" || return 1
    file=$(find "$staged/prepared" -mindepth 1 -maxdepth 1)
    if [ -z "$file" ]; then return 1; fi
    mv -fT -- "$file" "$target"
}

# Directories' contents and files into a directory, which keeps its own mode and owner.
copy_into_directory() {
    make_directories "$SW_ROOT$dest" "$owner" "$made" || return 1
    if ! has_data "$1"; then return 0; fi
    target=$(readlink -f -- "$SW_ROOT$dest")
    fits "$target" "$1/directories" "$1/others" || return 1
    was=$(stat -c '%u:%g %a' -- "$target")
    if [ -z "$chown$chmod" ]; then
        step_data "$1" | extract "$target" || return 1
    else
        mkdir -m 700 "$staged" && step_data "$1" | extract "$staged" || return 1
        top "$staged" >"$WORK/names"
        prepared "$staged" <"$WORK/names" | extract "$target" || return 1
    fi
    chown "${was% *}" -- "$target" && chmod "${was#* }" -- "$target"
}

# fits TARGET DIRECTORIES OTHERS: look whether what is to come fits on what is there: a directory on a directory or a
# link to one, anything else on no directory. Both lists are of names apart by NUL. A link to nowhere gets its
# directory, as it does at the destination itself.
fits() {
    met "$1" "$2" ! -type d >"$WORK/met"
    met "$1" "$3" -type d >"$WORK/met.others"
    while IFS= read -r name; do
        if [ -e "$linked" ] && [ -L "$1/$name" ]; then
            unfit "$name" '--link follows no links, and here is one (leave --link out)'
        elif [ -L "$1/$name" ] && [ ! -e "$1/$name" ]; then
            make_directories "$1/$name" "$owner" "$made" || return 1
        elif [ ! -d "$1/$name" ]; then
            unfit "$name" 'a directory would be put over a file'
        fi
    done <"$WORK/met"
    while IFS= read -r name; do unfit "$name" 'a file would be put over a directory'; done <"$WORK/met.others"
    [ -z "$unfit" ]
}

# met TARGET LIST TEST…: print the names of the list that are there already and pass the test of find(1).
met() (
    if ! [ -s "$2" ] || ! cd "$1"; then exit 0; fi
    list=$2
    shift 2
    # shellcheck disable=SC2185 # the list says where
    find -files0-from "$list" -maxdepth 0 "$@" 2>/dev/null
)

# unfit NAME WHY: say one thing that is in the way of a copy, ten of them at most.
unfit() {
    unfit=$((${unfit:-0} + 1))
    if [ "$unfit" -le 10 ]; then printf '%s: %s\n' "$2" "${dest%/}/$1"; fi
}

has_data() {
    [ -d "$1/tree" ] || grep -qxF "${1#"$WORK"/}/data.tar" "$WORK/members"
}

# ADD of local archives: over the destination, existing directories get what the archive says.
unpack_archives() {
    place=${1#"$WORK"/}/archives
    grep "^$place/." "$WORK/members" >"$WORK/archives" || return 0
    make_directories "$SW_ROOT$dest" "$owner" "$made" || return 1
    target=$(readlink -f -- "$SW_ROOT$dest")
    while IFS= read -r member; do
        bundle_member "$member" >"$WORK/archive" && unpack_archive || return 1
        rm -f "$WORK/archive"
    done <"$WORK/archives"
}

# unpack_archive: with an owner of the step's own by way of a directory beside the system. Only what the
# archive names is carried over.
unpack_archive() {
    tar -t --quoting-style=literal -f "$WORK/archive" | sed 's|^/*||; /^$/d' >"$WORK/names.lines"
    sed -n '/^\.\/*$/d; s|//*$||p' "$WORK/names.lines" | tr '\n' '\0' >"$WORK/names.directories"
    sed '/\/$/d' "$WORK/names.lines" | tr '\n' '\0' >"$WORK/names.others"
    fits "$target" "$WORK/names.directories" "$WORK/names.others" || return 1
    if [ -z "$chown" ]; then
        extract "$target" <"$WORK/archive"
        return
    fi
    mkdir -m 700 "$staged" && extract "$staged" <"$WORK/archive" || return 1
    tr '\n' '\0' <"$WORK/names.lines" >"$WORK/names"
    packed "$staged" --no-recursion <"$WORK/names" | extract "$target" || return 1
    rm -rf "$staged"
}
