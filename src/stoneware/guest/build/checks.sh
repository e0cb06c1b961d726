# shellcheck shell=sh
# The leak checks, by name; names, severities and reasons are in checks.tsv. A check prints what it
# found, a path per line, and nothing where all is well; it returns 2 where it could not run. Part of
# the build agent.

SCANNED_SIZE=1048576 # bytes; larger files are not searched for keys

# run_checks: report every check on the console; fails if one of severity error failed.
run_checks() {
    verdict=0
    skipped=" $({ tr '\n' ' ' <"$WORK/seal/checks.skip"; } 2>/dev/null)"
    while IFS="$tab" read -r check severity _ <&4; do
        case $skipped in
        *" $check "*)
            console_line "check $check $severity skip as asked for"
            continue
            ;;
        esac
        name=$check
        while [ "$name" != "${name#*-}" ]; do name=${name%%-*}_${name#*-}; done
        "check_$name" >"$WORK/found" 2>/dev/null </dev/null
        if [ $? -eq 2 ]; then
            console_line "check $check $severity skip it could not run"
        elif [ -s "$WORK/found" ]; then
            console_line "check $check $severity fail $(summary)"
            if [ "$severity" = error ]; then verdict=1; fi
        else
            console_line "check $check $severity pass"
        fi
    done 4<"$WORK/checks.tsv"
    return "$verdict"
}

# The first findings on one line.
summary() {
    sort -u "$WORK/found" | head -n 5 | tr '\n' ' '
    more=$(($(sort -u "$WORK/found" | wc -l) - 5))
    if [ "$more" -gt 0 ]; then printf 'and %d more' "$more"; fi
}

# present PATH…: print those that exist, as the machine names them.
present() {
    for item in "$@"; do
        if [ -e "$item" ] || [ -L "$item" ]; then printf '%s\n' "${item#"$SW_ROOT"}"; fi
    done
}

# filled PATH…: print those that are not empty.
filled() {
    for item in "$@"; do
        if [ -s "$item" ]; then printf '%s\n' "${item#"$SW_ROOT"}"; fi
    done
}

check_machine_id() {
    filled "$SW_ROOT/etc/machine-id"
    if [ ! -L "$SW_ROOT/var/lib/dbus/machine-id" ]; then filled "$SW_ROOT/var/lib/dbus/machine-id"; fi
}

check_ssh_host_keys() { present "$SW_ROOT"/etc/ssh/ssh_host_*_key "$SW_ROOT"/etc/ssh/ssh_host_*_key.pub; }

check_random_seed() { present "$SW_ROOT/var/lib/systemd/random-seed" "$SW_ROOT/boot/efi/loader/random-seed"; }

check_dhcp_leases() { present "$SW_ROOT"/var/lib/dhcp/*lease* "$SW_ROOT"/var/lib/NetworkManager/*lease*; }

check_hostname() {
    present "$SW_ROOT/etc/hostname"
    if grep -q '# stoneware$' "$SW_ROOT/etc/hosts"; then echo /etc/hosts; fi
}

check_resolver() {
    if [ ! -L "$SW_ROOT/etc/resolv.conf" ]; then filled "$SW_ROOT/etc/resolv.conf"; fi
}

# small_changes: new files worth searching, NUL after each, in $WORK/small.
small_changes() {
    if [ -e "$WORK/small" ]; then return 0; fi
    awk -F '\t' -v changed="$WORK/changed" -v limit="$SCANNED_SIZE" '
        BEGIN { while ((getline line <changed) > 0) wanted[line] = 1 }
        ($8 in wanted) && $7 > 0 && $7 <= limit { print $8 }' "$WORK/listing" |
        sed "s|^|$SW_ROOT|" | tr '\n' '\0' >"$WORK/small"
}

# One name for /usr/lib/x and /lib/x: dpkg may know a file by either.
merged_usr() { sed 's,^/usr/\(bin\|sbin\|lib\|lib32\|lib64\)/,/\1/,'; }

# unowned: pass on those paths that no package brought.
unowned() {
    sed "s|^$SW_ROOT||" | sort -u >"$WORK/candidates"
    if [ ! -s "$WORK/candidates" ]; then return 0; fi
    merged_usr <"$WORK/candidates" >"$WORK/candidates.merged"
    sed 's,^/,/usr/,' "$WORK/candidates.merged" |
        cat - "$WORK/candidates.merged" "$WORK/candidates" >"$WORK/candidates.names"
    cat "$SW_ROOT"/var/lib/dpkg/info/*.list 2>/dev/null | grep -xF -f "$WORK/candidates.names" |
        merged_usr >"$WORK/owned"
    paste "$WORK/candidates.merged" "$WORK/candidates" |
        awk -F '\t' -v owned="$WORK/owned" '
            BEGIN { while ((getline line <owned) > 0) known[line] = 1 }
            !($1 in known) { print $2 }'
}

# search_text PATTERN: print the new files that match an extended expression and that no package owns.
search_text() {
    small_changes
    xargs -0 -r grep -lE -e "$1" -- <"$WORK/small" | unowned
}

check_private_keys() { search_text '-----BEGIN ([A-Z]+ )*PRIVATE KEY( BLOCK)?-----'; }

check_cloud_tokens() {
    search_text '(^|[^A-Za-z0-9])(AKIA|ASIA)[0-9A-Z]{16}([^A-Za-z0-9]|$)|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40}|glpat-[A-Za-z0-9_-]{20}|"private_key_id": *"[0-9a-f]{40}"|ya29\.[A-Za-z0-9_-]{30}|AIza[0-9A-Za-z_-]{35}([^0-9A-Za-z_-]|$)|xox[abprs]-[0-9A-Za-z-]{20}'
}

# The values are fetched once more, and looked for in every new file. The list holds those of all steps,
# also of steps that came from a checkpoint.
check_build_secrets() {
    cat "$WORK/seal/secrets" >"$WORK/names" 2>/dev/null || return 0
    tr '\n' '\0' <"$WORK/changed" | sed -z "s|^|$SW_ROOT|" >"$WORK/all"
    while IFS= read -r secret; do
        if fetch_secret "$secret" "$WORK/secrets/value"; then
            # Each line of eight bytes and more; shorter ones are found everywhere.
            grep -E '.{8}' "$WORK/secrets/value" >"$WORK/secrets/lines" &&
                xargs -0 -r grep -lF -f "$WORK/secrets/lines" -- <"$WORK/all" | sed "s|^$SW_ROOT||"
        fi
    done <"$WORK/names"
    drop_secrets
}

check_shell_history() {
    for place in "$SW_ROOT/root" "$SW_ROOT"/home/*; do present "$place"/.*_history; done
}

check_bake_certificates() {
    present "$SW_ROOT"/usr/local/share/ca-certificates/stoneware-bake-* "$SW_ROOT"/etc/ssl/certs/stoneware-bake-*
}

check_build_residue() {
    present "$SW_ROOT/.stoneware-copy"
    awk -F '\t' '$8 ~ /\/\.[^\/]*\.stoneware$/ { print $8 }' "$WORK/listing"
}

check_package_cache() {
    present "$SW_ROOT"/var/cache/apt/archives/*.deb "$SW_ROOT"/var/lib/apt/lists/*_* "$SW_ROOT/root/.cache/pip"
}

check_logs() { awk -F '\t' '$3 == "f" && $7 > 0 && $8 ~ /^\/var\/log\// { print $8 }' "$WORK/listing"; }

check_temporary_files() { awk -F '\t' '$8 ~ /^\/var\/tmp\/./ { print $8 }' "$WORK/listing"; }

# The last digit of a mode with the write bit; sticky directories are made for that.
check_world_writable() {
    awk -F '\t' '($3 == "f" || $3 == "d" && length($4) < 4) && $4 ~ /[2367]$/ { print $8 }' "$WORK/listing"
}

check_setuid() {
    awk -F '\t' '$3 == "f" && length($4) == 4 && $4 ~ /^[24567]/ { print $8 }' "$WORK/listing" | unowned
}

check_one_kernel() {
    set -- "$SW_ROOT"/boot/vmlinuz-*
    if [ $# -gt 1 ]; then present "$@"; fi
}

check_failed_units() {
    if [ -n "$SW_ROOT" ]; then return 2; fi
    systemctl list-units --failed --plain --no-legend | sed 's/ .*//'
}
