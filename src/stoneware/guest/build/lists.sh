# shellcheck shell=sh
# What an image says of itself: packages.tsv, files.tsv, templates.tsv. Part of the build agent.
#
# files.tsv: DIGEST TYPE MODE UID GID SIZE PATH TARGET, tabs between, sorted by path. DIGEST is - for
# all but regular files, SIZE is - for all but regular files, TARGET is a link's. Names with a newline
# or a tab are left out, and a note says so.
# files.inodes: inode and ctime of the same lines. Snapshots and disk images keep both, so a file whose
# inode and ctime are known has the content that was hashed for its parent image.

# scan: everything that the image consists of to $WORK/listing (inode, ctime, then the columns of
# files.tsv without the digest) and, for regular files, what is known already to $WORK/known.
scan() {
    newline='
'
    tab=$(printf '\t')
    scanned=$(date +%s)
    # Most of the files are in /usr: two processes share the work.
    list_files "$SW_ROOT/usr" /usr/ "$WORK/listing.usr" -mindepth 1 &
    usr=$!
    list_files "${SW_ROOT:-/}" / "$WORK/listing.rest" -path "$SW_ROOT/usr/*" -prune -o || return 1
    wait "$usr" || return 1
    ours=${SW_IMAGE#"$SW_ROOT"}
    cat "$WORK/listing.usr" "$WORK/listing.rest" |
        grep -v "$tab$ours/\(files\.[a-z]*\|manifest\.json\|env\|contract\.tsv\)$tab" |
        sort -t "$tab" -k 8,8 >"$WORK/listing"
    odd=$(cat "$WORK/listing.usr.odd" "$WORK/listing.rest.odd" | wc -l)
    if [ "$odd" -gt 0 ]; then note "$odd names hold a newline or a tab: they are not in files.tsv"; fi
    : >"$WORK/known"
    if [ -r "$SW_IMAGE/files.inodes" ] && [ -r "$SW_IMAGE/files.tsv" ]; then
        paste "$SW_IMAGE/files.inodes" "$SW_IMAGE/files.tsv" >"$WORK/known"
    fi
    # Regular files whose content is not known, by path.
    awk -F '\t' -v known="$WORK/known" '
        BEGIN { while ((getline line <known) > 0) { split(line, f, "\t"); if (f[4] == "f") digest[f[1] "\t" f[2]] = 1 } }
        $3 == "f" && !(($1 "\t" $2) in digest) { print $8 }' "$WORK/listing" >"$WORK/changed"
}

# list_files DIRECTORY PREFIX FILE TEST…: list what is in a directory; a line per odd name to FILE.odd.
# Few tests: each is made for every file there is.
list_files() {
    from=$1 prefix=$2 to=$3
    shift 3
    : >"$to.odd"
    find "$from" -xdev "$@" -name "*[$newline$tab]*" -fprintf "$to.odd" 'x\n' -prune -o \
        -type d '(' -path "$SW_ROOT/proc" -o -path "$SW_ROOT/sys" -o -path "$SW_ROOT/dev" \
        -o -path "$SW_ROOT/run" -o -path "$SW_ROOT/tmp" ')' -prune -o \
        -printf "%i\t%C@\t%y\t%m\t%U\t%G\t%s\t$prefix%P\t%l\n" >"$to"
}

write_files() {
    tr '\n' '\0' <"$WORK/changed" | sed -z "s|^|$SW_ROOT|" |
        xargs -0 -r sha256sum --zero -- | tr '\0' '\n' >"$WORK/hashed" || return 1
    # What changed within the last second might change again within the same tick of the clock.
    awk -F '\t' -v known="$WORK/known" -v hashed="$WORK/hashed" -v skip="${#SW_ROOT}" -v limit="$((scanned - 1))" \
        -v inodes="$WORK/files.inodes" '
        BEGIN {
            while ((getline line <known) > 0) { split(line, f, "\t"); if (f[4] == "f") digest[f[1] "\t" f[2]] = f[3] }
            while ((getline line <hashed) > 0) fresh[substr(line, 67 + skip)] = substr(line, 1, 64)
        }
        {
            sum = size = "-"
            if ($3 == "f") {
                sum = ($8 in fresh) ? fresh[$8] : digest[$1 "\t" $2]
                size = $7
            }
            print sum "\t" $3 "\t" $4 "\t" $5 "\t" $6 "\t" size "\t" $8 "\t" $9
            if ($2 + 0 < limit) print $1 "\t" $2 >inodes
            else print "-\t-" >inodes
        }' "$WORK/listing" >"$WORK/files.tsv" || return 1
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
        awk -v file="${file#.}" '{ print file "\t" $0 }' "$WORK/uses" >>"$SW_IMAGE/templates.tsv"
    done <"$WORK/templates"
}

# What changes files comes first, so that the checks and files.tsv share one scan.
prepare_lists() {
    # ConditionNeedsUpdate=: without these each first boot would rebuild the caches of systemd and ld.so.
    touch -r "$SW_ROOT/usr" "$SW_ROOT/etc/.updated" "$SW_ROOT/var/.updated"
    write_packages && write_templates && scan
}

# The tar for the driver: the lists, with the templates and the schema, from which it derives the contract.
pack_results() {
    set --
    for more in etc/stoneware/templates etc/stoneware/config.schema.json; do
        if [ -e "$SW_ROOT/$more" ]; then set -- "$@" -C "${SW_ROOT:-/}" "$more"; fi
    done
    tar -c -f "$WORK/sealed.tar" -C "$SW_IMAGE" packages.tsv files.tsv templates.tsv "$@"
}
