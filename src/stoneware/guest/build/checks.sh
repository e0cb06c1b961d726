# shellcheck shell=sh
# The leak checks, by name; names, severities and reasons are in checks.tsv. A check prints what it
# found, a path per line, and nothing where all is well; it returns 2 where it could not run. Part of
# the build agent.

PRIVATE_KEY='-----BEGIN ([A-Z]+ )*PRIVATE KEY( BLOCK)?-----'
CLOUD_TOKEN='(^|[^A-Za-z0-9])(AKIA|ASIA)[0-9A-Z]{16}([^A-Za-z0-9]|$)|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40}|glpat-[A-Za-z0-9_-]{20}|"private_key_id": *"[0-9a-f]{40}"|ya29\.[A-Za-z0-9_-]{30}|AIza[0-9A-Za-z_-]{35}([^0-9A-Za-z_-]|$)|xox[abprs]-[0-9A-Za-z-]{20}'

# list_failed: found.failed holds the units that failed; systemd takes its time to say so.
list_failed() {
    if [ -n "$SW_ROOT" ]; then return 0; fi
    systemctl list-units --failed --plain --no-legend | while read -r unit _; do echo "$unit"; done >"$WORK/found.failed"
}

# search_changes: what takes processes, while write_files hashes: found.keys and found.tokens hold what no
# package owns, and found.setuid loses what one does.
search_changes() {
    paths_of "$WORK/small" | xargs -0 -r grep -lE -e "$PRIVATE_KEY" -e "$CLOUD_TOKEN" -- >"$WORK/found.either"
    for kind in keys tokens; do
        : >"$WORK/found.$kind"
        if [ ! -s "$WORK/found.either" ]; then continue; fi
        case $kind in keys) pattern=$PRIVATE_KEY ;; tokens) pattern=$CLOUD_TOKEN ;; esac
        tr '\n' '\0' <"$WORK/found.either" | xargs -0 -r grep -lE -e "$pattern" -- | unowned >"$WORK/found.$kind"
    done
    if [ -s "$WORK/found.setuid" ]; then
        unowned <"$WORK/found.setuid" >"$WORK/found.unowned"
        mv "$WORK/found.unowned" "$WORK/found.setuid"
    fi
}

# run_checks: report every check on the console; fails if one of severity error failed.
run_checks() {
    verdict=0
    skipped=' '
    if [ -r "$WORK/seal/checks.skip" ]; then
        while IFS= read -r name; do skipped="$skipped$name "; done <"$WORK/seal/checks.skip"
    fi
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

# findings NAME: print what scan or search_changes has found; cat is a process, and mostly there is nothing.
findings() {
    if [ -s "$WORK/found.$1" ]; then cat "$WORK/found.$1"; fi
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
    while IFS= read -r host; do
        case $host in *'# stoneware') echo /etc/hosts ;; esac
    done <"$SW_ROOT/etc/hosts"
    return 0
}

check_resolver() {
    if [ ! -L "$SW_ROOT/etc/resolv.conf" ]; then filled "$SW_ROOT/etc/resolv.conf"; fi
}

# unowned: pass on, as the machine names them, those paths that no package brought. dpkg may know a file of
# /usr/lib as /lib/x, or the other way round.
unowned() {
    awk -v root="$SW_ROOT" -v work="$WORK" '
        {
            path = root != "" && index($0, root "/") == 1 ? substr($0, length(root) + 1) : $0
            print path >(work "/candidates")
            if (path ~ /^\/usr\/(bin|sbin|lib|lib32|lib64)\//) print path "\n" substr(path, 5)
            else print path "\n/usr" path
        }' >"$WORK/candidates.names"
    if [ ! -s "$WORK/candidates.names" ]; then return 0; fi
    grep -hxF -f "$WORK/candidates.names" "$SW_ROOT"/var/lib/dpkg/info/*.list 2>/dev/null |
        awk -v candidates="$WORK/candidates" '
            function merged(path) {
                return path ~ /^\/usr\/(bin|sbin|lib|lib32|lib64)\// ? substr(path, 5) : path
            }
            { known[merged($0)] = 1 }
            END { while ((getline path <candidates) > 0) if (!(merged(path) in known)) print path }'
}

check_private_keys() { findings keys; }

check_cloud_tokens() { findings tokens; }

# What the values of all secrets look like, plain and in common encodings, is fetched from the driver and looked
# for in every new file: those of all steps, also of steps that came from a checkpoint.
check_build_secrets() {
    if [ ! -s "$WORK/seal/secrets" ]; then return 0; fi
    paths_of "$WORK/changed" >"$WORK/all"
    IFS= read -r secret <"$WORK/seal/secrets"
    if fetch_secrets "$((LAST + 1))" "$secret" >"$WORK/why"; then
        # Lines of eight bytes and more; shorter ones are found everywhere.
        grep -aE '.{8}' "$WORK/secrets/$secret" >"$WORK/secrets/lines" &&
            xargs -0 -r grep -lF -f "$WORK/secrets/lines" -- <"$WORK/all" | sed "s|^$SW_ROOT||"
    else
        echo "not looked for: $(cat "$WORK/why")"
    fi
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
    findings residue
}

check_package_cache() {
    present "$SW_ROOT"/var/cache/apt/archives/*.deb "$SW_ROOT"/var/lib/apt/lists/*_* "$SW_ROOT/root/.cache/pip"
}

check_logs() { findings logs; }

check_temporary_files() { findings temporary; }

check_world_writable() { findings writable; }

check_setuid() { findings setuid; }

check_one_kernel() {
    set -- "$SW_ROOT"/boot/vmlinuz-*
    if [ $# -gt 1 ]; then present "$@"; fi
}

check_failed_units() {
    if [ -n "$SW_ROOT" ]; then return 2; fi
    findings failed
}

# A step may have removed, masked or made unusable what machines boot with.
check_boot_agent() {
    for name in lib.sh interpolate.awk service-exec stoneware-boot stoneware-health stoneware-output stoneware-report; do
        item=/usr/lib/stoneware/$name
        if [ ! -f "$SW_ROOT$item" ] || [ ! -s "$SW_ROOT$item" ]; then
            echo "$item"
            continue
        fi
        case $name in *.*) ;; *) if [ ! -x "$SW_ROOT$item" ]; then echo "$item"; fi ;; esac
    done
    for name in boot health report; do
        # What is in /etc comes before what is in /usr; an empty file and a link to /dev/null mask the unit.
        for place in /etc/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system; do
            item=$place/stoneware-$name.service
            if [ -e "$SW_ROOT$item" ] || [ -L "$SW_ROOT$item" ]; then break; fi
        done
        if [ ! -s "$SW_ROOT$item" ]; then echo "$item"; fi
        item=/etc/systemd/system/multi-user.target.wants/stoneware-$name.service
        if [ ! -L "$SW_ROOT$item" ] || [ "$SW_ROOT$item" -ef /dev/null ]; then echo "$item"; fi
    done
    item=/etc/systemd/system/default.target
    case $(readlink "$SW_ROOT$item") in
    */rescue.target | */emergency.target | */halt.target | */poweroff.target | */reboot.target | /dev/null) echo "$item" ;;
    esac
}
