#!/bin/sh
# A systemd.generator(7) of builders: what the image starts by itself does not start while a builder boots. A step
# may start it, and the machine will. Units of the base are needed and stay as they are.
set -u
root=${SW_ROOT-}
early=$2
drop_ins=''
known=' '
while IFS= read -r unit; do known="$known$unit "; done <"$root/usr/lib/stoneware/base-units"
for link in "$root"/etc/systemd/system/*.wants/* "$root"/etc/systemd/system/*.requires/* \
    "$root"/etc/systemd/system/*.upholds/* "$root"/etc/rc[2345].d/S[0-9][0-9]*; do
    unit=${link##*/}
    case $link in */rc?.d/*) unit=${unit#S??}.service ;; esac
    case "$known" in *" $unit "*) continue ;; esac
    case $unit in stoneware-*) continue ;; esac
    if [ -L "$link" ]; then drop_ins="$drop_ins$unit
"; fi
done
if [ -z "$drop_ins" ]; then exit 0; fi
printf '%s' "$drop_ins" | while IFS= read -r unit; do
    mkdir -p "$early/$unit.d"
    printf '[Unit]\nConditionPathExists=/run/stoneware/booted\n' >"$early/$unit.d/stoneware-later.conf"
done
