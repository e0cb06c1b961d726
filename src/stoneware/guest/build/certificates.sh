# shellcheck shell=sh
# Certificates that are trusted during the bake and gone after the seal. Part of the build agent.
#
# update-ca-certificates would take a second each time; what it does for one certificate are a copy, two
# links and an entry in the bundle. Where hooks are installed (Java's key store) it has to run all the same.

needs_update_command() {
    for hook in "$SW_ROOT"/etc/ca-certificates/update.d/*; do
        if [ -e "$hook" ]; then return 0; fi
    done
    ! command -v openssl >/dev/null
}

# already_trusted CERTIFICATE…: a checkpoint was made in a builder that had installed the very same.
already_trusted() {
    for certificate in "$@"; do
        name=stoneware-bake-${certificate##*/}
        if [ ! -e "$trusted/$name" ] || [ ! -e "$certs/${name%.crt}.pem" ]; then return 1; fi
    done
    cat "$@" >"$WORK/ours.pem"
    cat "$trusted"/stoneware-bake-*.crt | cmp -s - "$WORK/ours.pem"
}

install_certificates() {
    set -- "$WORK"/ca/*.crt
    if [ ! -e "$1" ]; then return 0; fi
    trusted=$SW_ROOT/usr/local/share/ca-certificates
    certs=$SW_ROOT/etc/ssl/certs
    if already_trusted "$@"; then return 0; fi
    mkdir -p "$trusted"
    for certificate in "$@"; do
        cp "$certificate" "$trusted/stoneware-bake-${certificate##*/}" || return 1
    done
    if needs_update_command; then
        if [ -z "$SW_ROOT" ]; then update-ca-certificates >"$WORK/why" 2>&1; fi
        return
    fi
    mkdir -p "$certs"
    for certificate in "$trusted"/stoneware-bake-*.crt; do
        name=${certificate##*/}
        name=${name%.crt}.pem
        ln -sf "${certificate#"$SW_ROOT"}" "$certs/$name"
        hash=$(openssl x509 -noout -hash -in "$certificate" 2>"$WORK/why") || return 1
        number=0
        while [ -L "$certs/$hash.$number" ]; do number=$((number + 1)); done
        ln -s "$name" "$certs/$hash.$number"
        awk 1 "$certificate" >>"$certs/ca-certificates.crt"
    done
}

drop_certificates() {
    set -- "$SW_ROOT"/usr/local/share/ca-certificates/stoneware-bake-*.crt
    if [ ! -e "$1" ]; then return 0; fi
    certs=$SW_ROOT/etc/ssl/certs
    cat "$@" >"$WORK/bake.pem"
    rm -f "$@"
    find "$certs" -lname '*stoneware-bake-*' -delete
    if needs_update_command; then
        if [ -z "$SW_ROOT" ]; then update-ca-certificates; fi
        return
    fi
    # The bundle without the blocks that are ours, whoever has put them there.
    awk -v ours="$WORK/bake.pem" '
        function block(line) {
            if (line ~ /^-----BEGIN/) { text = ""; inside = 1 }
            if (inside) text = text line "\n"
            if (inside && line ~ /^-----END/) { inside = 0; return 1 }
            return 0
        }
        BEGIN { while ((getline line <ours) > 0) { sub(/\r$/, "", line); if (block(line)) drop[text] = 1 } }
        { sub(/\r$/, ""); was = inside; done = block($0); if (done && !(text in drop)) printf "%s", text
          if (!was && !inside && !done) print }' "$certs/ca-certificates.crt" >"$WORK/bundle.pem"
    cat "$WORK/bundle.pem" >"$certs/ca-certificates.crt"
}
