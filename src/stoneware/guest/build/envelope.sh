# shellcheck shell=sh
# Secrets of a bake where the metadata server keeps none: on Compute Engine they are objects that only the agent can
# open, for each step can have the machine's token. Part of the build agent.

# make_pair: make a pair of keys before any step runs, and wait until the driver has taken the public one. The private
# one is in a variable of the agent only.
make_pair() {
    own_key=$(openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null) || return 1
    printf '%s\n' "$own_key" | openssl pkey -pubout -outform DER 2>/dev/null | base64 -w 0 >"$WORK/public"
    if [ ! -s "$WORK/public" ]; then return 1; fi
    own_digest=$(sha256sum <"$WORK/public")
    own_digest=${own_digest%% *}
    until sw_put stoneware/build-key "$WORK/public"; do sleep 0.5; done
    wait_for stoneware-serving key_is_taken
    [ "$answer" = "key $own_digest" ]
}

key_is_taken() {
    case $answer in 'key '*) return 0 ;; esac
    return 1
}

# fetch_sealed NAME: get a secret that was encrypted for this agent into $WORK/secrets/NAME.
fetch_sealed() {
    sealed=$WORK/secrets/.sealed
    if ! object_bytes "${BUNDLE%/*}/$1" >"$sealed"; then
        reason
        return 1
    fi
    head -c 256 "$sealed" >"$sealed.key"
    printf '%s\n' "$own_key" | openssl pkeyutl -decrypt -inkey /dev/stdin -in "$sealed.key" -out "$sealed.pass" \
        -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256 2>/dev/null &&
        tail -c +257 "$sealed" | openssl enc -d -aes-256-cbc -pbkdf2 -iter 10000 -md sha256 \
            -pass "file:$sealed.pass" -out "$WORK/secrets/$1" 2>/dev/null
    opened=$?
    rm -f "$sealed" "$sealed.key" "$sealed.pass"
    return "$opened"
}
