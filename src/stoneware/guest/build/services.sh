# shellcheck shell=sh
# Services in a bake: packages start none and decide about none. Part of the build agent.
#
# A link that a package has made so that its unit starts is set aside (package-hook.sh), in a directory
# stoneware-package.TARGET.wants beside TARGET.wants; one of a script in /etc/init.d becomes K instead of S, to
# ../init.d/./NAME. The seal puts them back where the image has neither CMD nor ENTRYPOINT, and notes which they are
# for an image FROM this one that has. What a step enables is enabled.

POLICY_MARK='# While an image is baked packages start no service. A step may: systemctl start NAME'
PACKAGE_LINKS=$SW_LIB/package-links # those that were put back
UNITS=$SW_ROOT/etc/systemd/system

# begin_packages: once, before the first step.
begin_packages() {
    package_hook >"$SW_RUN/package-hook"
    if [ -e "$PACKAGE_LINKS" ]; then sh "$SW_RUN/package-hook" again "$PACKAGE_LINKS" && rm -f "$PACKAGE_LINKS"; fi
}

# guard_packages: what has to be on the disk while a step runs, and only then. A policy of the image's own holds.
guard_packages() {
    dpkg_guard='' policy=$SW_ROOT/usr/sbin/policy-rc.d
    if [ ! -d "$SW_ROOT/etc/dpkg/dpkg.cfg.d" ] || [ ! -e "$SW_RUN/package-hook" ]; then return 0; fi
    dpkg_guard=$SW_ROOT/etc/dpkg/dpkg.cfg.d/stoneware-bake
    for moment in pre:before post:after; do
        printf '%s-invoke=[ ! -e %s ] || sh %s %s\n' "${moment%:*}" "$SW_RUN/package-hook" "$SW_RUN/package-hook" "${moment#*:}"
    done >"$dpkg_guard"
    if [ -e "$policy" ] || [ -L "$policy" ]; then return 0; fi
    # shellcheck disable=SC2016
    printf '#!/bin/sh\n%s\nfor word in "$@"; do case $word in *stop*) exit 0 ;; esac; done\nexit 101\n' "$POLICY_MARK" >"$policy"
    chmod 755 "$policy"
}

# unguard_packages: what the step itself has written in its place stays.
unguard_packages() {
    if [ -z "$dpkg_guard" ]; then return 0; fi
    set -- "$dpkg_guard"
    second=''
    if [ -f "$policy" ] && [ ! -L "$policy" ]; then
        { IFS= read -r second && IFS= read -r second; } <"$policy"
    fi
    if [ "$second" = "$POLICY_MARK" ]; then set -- "$@" "$policy"; fi
    rm -f "$@"
}

# enable_unit UNIT: by its own links, made by hand so that it works the same in a directory.
enable_unit() {
    wants=$UNITS/multi-user.target.wants
    for place in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        if [ -e "$SW_ROOT$place/$1" ]; then
            if [ ! -d "$wants" ]; then mkdir -p "$wants"; fi
            ln -sfn "$place/$1" "$wants/$1"
            return 0
        fi
    done
    echo "there is no unit $1 to enable"
    return 1
}

# unit_file UNIT: set `file` to where the unit is defined, to nothing where it is not; of NAME@INSTANCE that of NAME@.
unit_file() {
    for place in etc/systemd/system usr/local/lib/systemd/system usr/lib/systemd/system lib/systemd/system; do
        case $1 in *@*) template=${1%%@*}@.${1##*.} ;; *) template=$1 ;; esac
        for file in "$SW_ROOT/$place/$1" "$SW_ROOT/$place/$template"; do
            if [ -e "$file" ] || [ -L "$file" ]; then return 0; fi
        done
    done
    file=''
}

# settle_packages: put back what packages have enabled, or leave it aside. Leaves in $WORK/package-units the names
# of those that start, in $WORK/held-units those of the others.
settle_packages() {
    : >"$WORK/package-units"
    : >"$WORK/held-units"
    : >"$WORK/package-links"
    for link in "$UNITS"/stoneware-package.*/*; do
        name=${link##*/}
        if [ ! -L "$link" ]; then continue; fi
        unit_file "$name"
        if [ -z "$file" ]; then # its package has been removed
            rm -f "$link"
            continue
        fi
        if [ -n "$service" ]; then
            settled "$name"
            continue
        fi
        place=${link%/*}
        place=$UNITS/${place##*/stoneware-package.}
        if [ -L "$place/$name" ]; then # a step has enabled it as well
            rm -f "$link"
        else
            settled "$name"
            mkdir -p "$place" && mv -f "$link" "$place/$name" || return 1
            printf '%s\n' "${place#"$SW_ROOT"}/$name" >>"$WORK/package-links"
        fi
    done
    settle_scripts || return 1
    for place in "$UNITS"/stoneware-package.*; do rmdir "$place" 2>/dev/null; done
    if [ -s "$WORK/package-links" ]; then cp "$WORK/package-links" "$PACKAGE_LINKS"; fi
}

# settle_scripts: the same for packages that have a script in /etc/init.d only. ../init.d/././NAME says that the
# first level's link had to go too.
settle_scripts() {
    # Mostly there is none, and then none of what follows has anything to do.
    found=''
    for link in "$SW_ROOT"/etc/rc[2345].d/K*; do if [ -L "$link" ]; then found=yes; fi; done
    if [ -z "$found" ]; then return 0; fi
    find "$SW_ROOT"/etc/rc[2345].d -name 'K*' -lname '../init.d/./*' -printf '%p\t%l\t\n' | sort >"$WORK/scripts"
    sed 's|.*/||; s|\t$||' "$WORK/scripts" | sort -u >"$WORK/script-names"
    while IFS= read -r name; do settle_script "$name" || return 1; done <"$WORK/script-names"
}

settle_script() {
    set -- "$1" "$SW_ROOT"/etc/rc[2345].d/S[0-9][0-9]"$1"
    if [ ! -L "$2" ] && ! grep -qF -e "../init.d/././$1$(printf '\t')" "$WORK/scripts"; then return 0; fi # a step has disabled it
    settled "$1.service"
    name=$1
    shift
    if [ -n "$service" ]; then
        for link in "$@"; do
            if [ ! -L "$link" ]; then continue; fi
            ln -sf "../init.d/././$name" "${link%/*}/K01$name" && rm -f "$link" || return 1
        done
        return 0
    fi
    while IFS="$(printf '\t')" read -r link target; do
        if [ "${target##*/}" != "$name" ]; then continue; fi
        mv -f "$link" "${link%/*}/S01$name" || return 1
        link=${link%/*}/S01$name
        printf '%s\n' "${link#"$SW_ROOT"}" >>"$WORK/package-links"
    done <"$WORK/scripts"
}

settled() {
    if [ -z "$service" ]; then
        printf '%s\n' "$1" >>"$WORK/package-units"
    elif [ "$1" != "$service" ]; then
        printf '%s\n' "$1" >>"$WORK/held-units"
    fi
}

# enabled_units: print every unit that starts by itself because of a link in /etc, or by a SysV script.
enabled_units() {
    for link in "$UNITS"/*.target.wants/* "$UNITS"/*.target.requires/* "$UNITS"/*.target.upholds/*; do
        case $link in
        "$UNITS"/stoneware-package.*) ;;
        # A link to nowhere hides one that the package has.
        *) if [ -L "$link" ] && ! [ "$link" -ef /dev/null ]; then printf '%s\n' "${link##*/}"; fi ;;
        esac
    done
    for link in "$SW_ROOT"/etc/rc3.d/S[0-9][0-9]*; do
        if [ ! -L "$link" ]; then continue; fi
        unit_file "${link##*/S[0-9][0-9]}.service"
        if [ -z "$file" ]; then printf '%s.service\n' "${link##*/S[0-9][0-9]}"; fi
    done
}

# is_early UNIT: whether what wants it belongs to the start of the system, before there is a configuration.
is_early() {
    for link in "$UNITS"/*.wants/"$1" "$UNITS"/*.requires/"$1"; do
        case $link in
        */sysinit.target.* | */local-fs.target.* | */*-pre.target.* | */getty.target.* | */network-online.target.*)
            if [ -L "$link" ]; then return 0; fi
            ;;
        esac
    done
    return 1
}

# hold_units: how the image's units wait for the boot agent: a drop-in for each unit that was enabled since the
# base was made, also for those that wait for somebody to start them. `units` lists the services that start, for the
# report that all are running, services.tsv what is known of each unit: NAME, who enabled it, whether it starts.
hold_units() {
    known=' '
    if [ -r "$SW_LIB/base-units" ]; then
        while IFS= read -r unit; do known="$known$unit "; done <"$SW_LIB/base-units"
    fi
    : >"$SW_IMAGE/units"
    : >"$WORK/services.tsv"
    enabled_units | sort -u >"$WORK/enabled"
    after=''
    while IFS= read -r unit; do
        case $known in *" $unit "*) continue ;; esac
        case $unit in stoneware-* | dbus-org.*) continue ;; esac
        unit_file "$unit"
        if [ -n "$file" ] && [ "$file" -ef /dev/null ]; then continue; fi # masked
        by=step
        if grep -qxF -e "$unit" "$WORK/package-units"; then by=package; fi
        if [ "$unit" = "$service" ]; then by=image; fi
        printf '%s\t%s\tyes\n' "$unit" "$by" >>"$WORK/services.tsv"
        case $unit in systemd-*) continue ;; esac
        if is_early "$unit"; then continue; fi
        hold_unit "$unit" || return 1
        case $unit in
        *.service)
            printf '%s\n' "$unit" >>"$SW_IMAGE/units"
            after="$after $unit"
            ;;
        esac
    done <"$WORK/enabled"
    if [ -s "$WORK/held-units" ]; then sort -u "$WORK/held-units"; fi | while IFS= read -r unit; do
        if grep -qxF -e "$unit" "$WORK/enabled"; then continue; fi # a step has enabled it as well
        printf '%s\tpackage\tno\n' "$unit" >>"$WORK/services.tsv"
        case $unit in systemd-*) ;; *) hold_unit "$unit" ;; esac
    done
    dropin=$UNITS/stoneware-report.service.d
    if [ ! -d "$dropin" ]; then mkdir -p "$dropin"; fi
    printf '[Unit]\nAfter=%s\n' "$after" >"$dropin/50-units.conf"
}

# hold_unit UNIT
hold_unit() {
    dropin=$UNITS/$1.d
    if [ ! -d "$dropin" ]; then mkdir -p "$dropin" || return 1; fi
    {
        printf '%s\n' '# Written by the seal: this unit starts only in a machine whose configuration is good.' \
            '[Unit]' 'Requires=stoneware-boot.service' 'After=stoneware-boot.service' \
            'ConditionPathExists=!/run/stoneware/build'
        case $1 in
        "$service") ;;
        *.service) printf 'OnFailure=stoneware-failed@%%n.service\n' ;;
        esac
    } >"$dropin/50-stoneware.conf"
}
