#!/bin/sh
# package.sh NAME: make and install a package as Debian's are, whose scripts enable its service and start it.
set -e
mkdir -p "/tmp/$1/DEBIAN" "/tmp/$1/usr/lib/systemd/system"
cd "/tmp/$1"
cat >DEBIAN/control <<END
Package: $1
Version: 1
Architecture: all
Maintainer: x <x@example.org>
Description: x
END
cat >"usr/lib/systemd/system/$1.service" <<END
[Service]
Type=exec
PrivateTmp=yes
ExecStartPre=touch /tmp/$1-ran
ExecStart=sleep 999
[Install]
WantedBy=multi-user.target
END
cat >DEBIAN/postinst <<END
#!/bin/sh
set -e
deb-systemd-helper enable $1.service
systemctl daemon-reload
deb-systemd-invoke start $1.service
END
chmod 755 DEBIAN/postinst
dpkg-deb -b . "/tmp/$1.deb"
dpkg -i "/tmp/$1.deb"
