#!/bin/sh
# dpkg runs this before and after each of its runs in a step (services.sh): what is enabled after a run and was not
# before was enabled by a package, whatever its scripts do for that. Its links are set aside, where systemctl still
# finds them, to enable and to disable, but nothing starts: the seal decides by whether the image has a CMD.
set -u
units=${SW_ROOT-}/etc/systemd/system
before=${SW_ROOT-}/run/stoneware/links-before

links() {
    for link in "$units"/*.wants/* "$units"/*.requires/* "$units"/*.upholds/* "${SW_ROOT-}"/etc/rc[2345].d/S[0-9][0-9]*; do
        case $link in "$units"/stoneware-package.*) continue ;; esac
        if [ -L "$link" ]; then printf '%s\n' "$link"; fi
    done
}

# native NAME: whether there is a unit of that name, for which systemd does not look at scripts in /etc/init.d.
native() {
    [ -e "$units/$1.service" ] || [ -e "${SW_ROOT-}/lib/systemd/system/$1.service" ] ||
        [ -e "${SW_ROOT-}/usr/lib/systemd/system/$1.service" ]
}

set_aside() {
    link=$1 name=${1##*/} place=${1%/*}
    case $place in
    "$units"/*)
        aside=$units/stoneware-package.${place##*/}
        mkdir -p "$aside" && mv -f "$link" "$aside/$name"
        ;;
    *)
        # The first level keeps its link: `update-rc.d disable` and `enable` change all that they find.
        name=${name#S??}
        if native "$name"; then return 0; fi
        case $seen in *" $name "*) ln -s "../init.d/./$name" "$place/K01$name" && rm -f "$link" ;; esac
        seen="$seen$name "
        ;;
    esac
}

seen=' '
case ${1-} in
again) # LINKS: a file of links that were set aside and put back for an image without CMD
    while IFS= read -r each; do
        if [ -L "${SW_ROOT-}$each" ]; then set_aside "${SW_ROOT-}$each"; fi
    done <"$2"
    ;;
before) links >"$before" ;;
after)
    if [ ! -e "$before" ]; then exit 0; fi
    newline='
'
    known=$newline$(cat "$before")$newline
    rm -f "$before"
    links | while IFS= read -r each; do
        case $known in *"$newline$each$newline"*) ;; *) set_aside "$each" ;; esac
    done
    ;;
esac
exit 0
