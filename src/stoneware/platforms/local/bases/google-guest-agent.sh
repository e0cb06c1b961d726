#!/bin/sh
# What Google's guest agent does with scripts of the metadata, for roots that stand for Debian's own images of a cloud:
# installed as google_metadata_script_runner, with `startup` or `shutdown`. It knows nothing of Stoneware.
set -u
at=http://169.254.169.254/computeMetadata/v1/instance/attributes
kind=${1:-startup}
work=$(mktemp -d /tmp/metadata-scripts.XXXXXX) || exit 1
script=$work/$kind-script
until status=$(curl -s -H Metadata-Flavor:Google -o "$script" -w '%{http_code}' "$at/$kind-script"); do sleep 0.2; done
if [ "$status" = 200 ] && [ -s "$script" ]; then
    echo "Found $kind-script in metadata."
    chmod 755 "$script"
    /bin/bash -c "$script" 2>&1 | sed -u "s/^/$kind-script: /"
    echo "Finished running $kind scripts."
fi
rm -rf "$work"
