#!/bin/sh
# Run the `startup-script` of the machine's metadata, as the guest agent of Compute Engine does: the
# boot agent has fetched it. /run may be mounted noexec, so the interpreter is started by name.
set -u
script=${SW_ROOT-}/run/stoneware/startup-script
chmod 700 "$script"
IFS= read -r first <"$script"
case $first in
'#!'*)
    first=${first#'#!'}
    interpreter=${first#"${first%%[! ]*}"}
    argument=''
    case $interpreter in
    *' '*)
        argument=${interpreter#* }
        interpreter=${interpreter%% *}
        ;;
    esac
    ;;
*) interpreter=/bin/sh argument='' ;;
esac
exec "$interpreter" ${argument:+"$argument"} "$script"
