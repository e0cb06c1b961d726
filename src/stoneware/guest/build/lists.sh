# shellcheck shell=sh
# What an image says of itself: packages.tsv, files.tsv, templates.tsv. Part of the build agent.
#
# files.tsv: DIGEST TYPE MODE UID GID SIZE PATH TARGET, tabs between, sorted by path. DIGEST is - for
# all but regular files, SIZE is - for all but regular files, TARGET is a link's. Names with a newline
# or a tab are left out, and a note says so.
# files.inodes: inode and ctime of the same lines. Snapshots and disk images keep both, so a file whose
# inode and ctime are known has the content that was hashed for its parent image.

SCANNED_SIZE=1048576 # bytes; larger files are not searched for keys

# scan: walk over everything that the image consists of, once. In $WORK it leaves files.new (files.tsv, with
# ? for digests that are not known), files.inodes, unhashed (the paths of those), changed (those of files that the base
# does not have), small (those of them that are worth searching for keys) and found.CHECK (what the checks ask of names,
# modes and sizes).
scan() {
    newline='
'
    scanned=$(date +%s)
    # Most files are below these two: several processes share the work.
    set --
    listing=''
    for place in share lib; do
        if [ -d "$SW_ROOT/usr/$place" ] && [ ! -L "$SW_ROOT/usr/$place" ]; then
            list_files "$SW_ROOT/usr/$place" "/usr/$place/" "$WORK/listing.$place" -mindepth 1 &
            listing="$listing $!"
            set -- "$@" -path "$SW_ROOT/usr/$place/*" -prune -o
        fi
    done
    list_files "${SW_ROOT:-/}" / "$WORK/listing.rest" "$@" || return 1
    for process in $listing; do wait "$process" || return 1; done
    odd=$(cat "$WORK"/listing.*.odd | wc -l)
    if [ "$odd" -gt 0 ]; then note "$odd names hold a newline or a tab: they are not in files.tsv"; fi
    for result in changed unhashed small found.logs found.temporary found.writable found.setuid found.residue; do
        : >"$WORK/$result"
    done
    set -- "$WORK"/listing.rest
    for place in share lib; do
        if [ -e "$WORK/listing.$place" ]; then set -- "$@" "$WORK/listing.$place"; fi
    done
    sort -m "$@" | compare
}

# list_files DIRECTORY PREFIX FILE TEST…: list what is in a directory, sorted by path: path, inode, ctime,
# then the columns of files.tsv from TYPE on. A line per odd name goes to FILE.odd. Few tests: each is made
# for every file there is.
list_files() {
    from=$1 prefix=$2 to=$3
    shift 3
    rm -f "$to.failed"
    : >"$to.odd"
    {
        find "$from" -xdev "$@" -name "*[$newline$tab]*" -fprintf "$to.odd" 'x\n' -prune -o \
            -type d '(' -path "$SW_ROOT/proc" -o -path "$SW_ROOT/sys" -o -path "$SW_ROOT/dev" \
            -o -path "$SW_ROOT/run" -o -path "$SW_ROOT/tmp" ')' -prune -o \
            -printf "$prefix%P\t%i\t%C@\t%y\t%m\t%U\t%G\t%s\t%l\n" || : >"$to.failed"
    } | sort >"$to"
    [ ! -e "$to.failed" ]
}

# What changed within the last second might change again within the same tick of the clock.
compare() {
    awk -F '\t' -v work="$WORK" -v known="$SW_IMAGE" -v ours="${SW_IMAGE#"$SW_ROOT"}/" \
        -v recent="$((scanned - 1))" -v limit="$SCANNED_SIZE" '
        BEGIN {
            while ((getline line <(known "/files.tsv")) > 0 && (getline inode <(known "/files.inodes")) > 0)
                if (substr(line, 65, 3) == "\tf\t") digest[inode] = substr(line, 1, 64)
            own = length(ours)
        }
        {
            path = $1; type = $4; mode = $5
            if (substr(path, 1, own) == ours &&
                substr(path, own + 1) ~ /^(files\.[a-z]*|manifest\.json|env|contract\.tsv)$/) next
            sum = size = "-"
            if (type == "f") {
                size = $8
                bytes += size
                if (($2 "\t" $3) in digest) sum = digest[$2 "\t" $3]
                else {
                    sum = "?"
                    print path >(work "/changed")
                    print path >(work "/unhashed")
                    if (size > 0 && size <= limit) print path >(work "/small")
                }
                if (length(mode) == 4 && index("24567", substr(mode, 1, 1))) print path >(work "/found.setuid")
            }
            # The last digit of a mode with the write bit; sticky directories are made for that.
            if ((type == "f" || type == "d" && length(mode) < 4) && index("2367", substr(mode, length(mode))))
                print path >(work "/found.writable")
            if (substr(path, 1, 5) == "/var/") {
                if (size > 0 && type == "f" && substr(path, 1, 9) == "/var/log/") print path >(work "/found.logs")
                if (substr(path, 1, 9) == "/var/tmp/") print path >(work "/found.temporary")
            }
            if (index(path, ".stoneware") && path ~ /\/\.[^\/]*\.stoneware$/) print path >(work "/found.residue")
            print sum "\t" type "\t" mode "\t" $6 "\t" $7 "\t" size "\t" path "\t" $9
            print ($3 + 0 < recent ? $2 "\t" $3 : "-\t-") >(work "/files.inodes")
            count++
        }
        END { printf "%d %.0f\n", count, bytes >(work "/files.totals") }' >"$WORK/files.new"
}

# paths_of FILE: the paths that are listed in a file, as they are from here, NUL after each.
paths_of() {
    if [ -z "$SW_ROOT" ]; then
        tr '\n' '\0' <"$1"
    else
        tr '\n' '\0' <"$1" | sed -z "s|^|$SW_ROOT|"
    fi
}

# write_files: hash what is not known. Leaves files.tsv and, for the driver, files.sum: its digest, how many
# files there are, and the sum of their sizes in bytes.
write_files() {
    paths_of "$WORK/unhashed" | xargs -0 -r sha256sum --zero -- | tr '\0' '\n' >"$WORK/hashed" || return 1
    awk -F '\t' -v hashed="$WORK/hashed" -v skip="${#SW_ROOT}" '
        BEGIN { while ((getline line <hashed) > 0) fresh[substr(line, 67 + skip)] = substr(line, 1, 64) }
        substr($0, 1, 1) == "?" { print fresh[$7] substr($0, 2); next }
        { print }' "$WORK/files.new" >"$WORK/files.tsv" || return 1
    {
        sha256sum <"$WORK/files.tsv"
        cat "$WORK/files.totals"
    } | {
        read -r sum _
        read -r totals
        printf '%s %s\n' "$sum" "$totals"
    } >"$WORK/files.sum"
    cp "$WORK/files.tsv" "$WORK/files.inodes" "$SW_IMAGE/"
}

write_packages() {
    : >"$SW_IMAGE/packages.tsv"
    if [ ! -e "$SW_ROOT/var/lib/dpkg/status" ]; then return 0; fi
    dpkg-query --admindir="$SW_ROOT/var/lib/dpkg" -W \
        -f '${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n' |
        sed -n 's/^.i *\t//p' | sort >"$SW_IMAGE/packages.tsv"
}

# PATH, then what interpolate.awk's list mode says of each use of a variable.
write_templates() {
    : >"$SW_IMAGE/templates.tsv"
    if [ ! -d "$SW_ROOT/etc/stoneware/templates" ]; then return 0; fi
    (cd "$SW_ROOT/etc/stoneware/templates" && find . -type f | sort) >"$WORK/templates"
    while IFS= read -r file; do
        awk -f "$SW_LIB/interpolate.awk" -v mode=list -v name="${file#.}" \
            "$SW_ROOT/etc/stoneware/templates${file#.}" </dev/null >"$WORK/uses" || return 1
        while IFS= read -r use; do printf '%s\t%s\n' "${file#.}" "$use"; done <"$WORK/uses" >>"$SW_IMAGE/templates.tsv"
    done <"$WORK/templates"
}

# The commands that machines run when they are asked to, by name.
write_commands() {
    : >"$WORK/commands.tsv"
    for command in "$SW_ROOT"/etc/stoneware/commands/*; do
        if [ -f "$command" ] && [ -x "$command" ]; then printf '%s\n' "${command##*/}"; fi
    done >>"$WORK/commands.tsv"
}

# The tar for the driver: the lists, with the templates and the schema, from which it derives the contract.
pack_results() {
    write_commands
    set --
    for more in etc/stoneware/templates etc/stoneware/config.schema.json; do
        if [ -e "$SW_ROOT/$more" ]; then set -- "$@" -C "${SW_ROOT:-/}" "$more"; fi
    done
    tar -c -f "$WORK/sealed.tar" -C "$WORK" files.sum services.tsv commands.tsv -C "$SW_IMAGE" packages.tsv templates.tsv "$@"
}
