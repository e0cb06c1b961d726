#!/bin/sh
# Check every shell script of the repository: lint-shell.sh SHELLCHECK
#
# A file with a #! line is a script of its own, found by that line, since some have no .sh ending inside a
# machine. A *.sh without one is a part that others read in: its variables come from and go to elsewhere.
set -eu

shellcheck=$1
list=$(mktemp)
trap 'rm -f "$list" "$list.scripts" "$list.parts"' EXIT
: >"$list.scripts"
: >"$list.parts"

git ls-files --cached --others --exclude-standard >"$list"
while IFS= read -r file; do
    [ -f "$file" ] || continue
    case $(head -c 64 "$file" | tr -d '\0' | head -n 1) in
    '#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'*) printf '%s\0' "$file" >>"$list.scripts" ;;
    *)
        case $file in
        *.sh) printf '%s\0' "$file" >>"$list.parts" ;;
        esac
        ;;
    esac
done <"$list"

# SC2015: `A && B || C` is used on purpose where C is right for a failed B as well.
xargs -0 -r "$shellcheck" --external-sources --exclude=SC2015 -- <"$list.scripts"
# SC2034, SC2154: variables that are set or used in another part.
xargs -0 -r "$shellcheck" --shell=sh --exclude=SC2015,SC2034,SC2154 -- <"$list.parts"
