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
# The steps of a bake are told apart on the console by the build agent itself.
if [ -e "${SW_ROOT-}/run/stoneware/build" ]; then exec "$interpreter" ${argument:+"$argument"} "$script"; fi
# As Google's runner: the unit ends well however the script ended.
ended=${SW_ROOT-}/run/stoneware/startup-exit
{
    { "$interpreter" ${argument:+"$argument"} "$script" 2>&1 && echo 0 >"$ended" || echo $? >"$ended"; } |
        sed -u 's/^/startup-script: /'
    echo "startup-script exit status $(cat "$ended")"
} | tee "${SW_CONSOLE:-/dev/console}"
