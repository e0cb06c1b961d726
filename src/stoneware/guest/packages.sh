#!/bin/sh
# The first program of a builder that has no init system to start: installs packages into a root file system that was
# imported, with its own apt and from its own package sources (packages.py). PACKAGES is set in front of it. It ends with
# apt-get's exit code, and what it says is on the builder's console.
set -u
umask 022
cd /
exec </dev/null
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true

FILES=/run/stoneware/files      # what the builder was given
BUNDLE=/run/stoneware/ca.pem    # certificates, for apt alone
WARNINGS=/run/stoneware/warnings
TRUSTED=/etc/ssl/certs/ca-certificates.crt
RESOLVER=/etc/resolv.conf
POLICY=/usr/sbin/policy-rc.d
ASIDE=.before-stoneware

# has_route: a way out of here. There may be no program that could tell.
has_route() {
    while read -r _ destination _; do
        if [ "$destination" = 00000000 ]; then return 0; fi
    done </proc/net/route
    return 1
}

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# take_place FILE: make room for a file of ours, which put_back removes again.
take_place() {
    if is_there "$1"; then mv "$1" "$1$ASIDE"; fi
}

put_back() {
    rm -f "$1"
    if is_there "$1$ASIDE"; then mv "$1$ASIDE" "$1"; fi
}

apt() {
    set -- -q -y -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io "$@"
    if [ -s "$BUNDLE" ]; then set -- -o "Acquire::https::CAInfo=$BUNDLE" "$@"; fi
    apt-get "$@"
}

# An index that cannot be fetched is a warning to apt: another source may have the packages. Where none has them, it is
# why, and said last.
install_packages() {
    apt update 2>"$WARNINGS"
    code=$?
    cat "$WARNINGS" >&2
    [ "$code" -eq 0 ] || return "$code"
    # Nothing of the system may go for them, as another init system might.
    # shellcheck disable=SC2086 # a list
    apt --no-install-recommends --no-remove install $PACKAGES && apt clean && return
    code=$?
    tail -n 3 "$WARNINGS" >&2
    return "$code"
}

if [ -s "$FILES/ca.pem" ]; then
    { if [ -r "$TRUSTED" ]; then cat "$TRUSTED"; fi && cat "$FILES/ca.pem"; } >"$BUNDLE"
fi
take_place "$RESOLVER"
echo 'nameserver 169.254.169.254' >"$RESOLVER"
# invoke-rc.d: services of packages are not started here.
take_place "$POLICY"
printf '#!/bin/sh\nexit 101\n' >"$POLICY"
chmod 755 "$POLICY"
until has_route; do sleep 0.05; done
install_packages
code=$?
put_back "$POLICY"
put_back "$RESOLVER"
exit "$code"
