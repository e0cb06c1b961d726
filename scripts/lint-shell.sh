#!/bin/sh
# Check every shell script of the repository: lint-shell.sh SHELLCHECK
set -eu

shellcheck=$1

# Scripts are told by their first line: some have no .sh ending inside a machine.
git ls-files --cached --others --exclude-standard | while IFS= read -r file; do
    [ -f "$file" ] || continue
    case $(head -c 64 "$file" | head -n 1 | tr -d '\0') in
    '#!/bin/sh'* | '#!/bin/bash'* | '#!/usr/bin/env bash'*) printf '%s\0' "$file" ;;
    esac
done | xargs -0 -r "$shellcheck" --
