"""Which files of an image are its application's, so that installing a kernel neither reads nor changes them.

That is a list of places, and it is short: what is anywhere else counts as read by some script of a package,
by a hook of the initramfs or by what these call. Nor is anything of a package an application's. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from stoneware.dataclass import dataclass

# Places, with the names in them that belong to the system though no package may own them.
_TAKEN = {
    "": """bin boot dev efi etc initrd lib lib32 lib64 libx32 lost+found proc root run sbin sys tmp usr var
        vmlinuz""",
    "etc": """alternatives apparmor apt ca-certificates cryptsetup-initramfs dbus-1 debconf default dpkg
        initramfs initramfs-tools iscsi kernel lvm mdadm modules multipath network pam perl plymouth polkit-1
        python3 security selinux sgml skel ssl systemd terminfo ucf udev xdg xml""",
    "home": "",
    "opt": "",
    "srv": "",
    "usr/lib/stoneware": "",
    "usr/local/share": "ca-certificates dbus-1 fonts icons info initramfs-tools man mime polkit-1 systemd",
    "usr/share": """bash-completion bug ca-certificates dbus-1 debconf defaults dpkg info initramfs-tools
        keyrings locale man mime polkit-1 python3 systemd ucf zoneinfo""",
    "var": "backups cache lib local lock log mail opt run spool tmp",
    "var/lib": """apt dbus debconf dkms dpkg initramfs-tools misc pam polkit-1 python shells systemd ucf""",
}
_SYSTEM = {place: frozenset(names.split()) for place, names in _TAKEN.items()}
_ONLY = {"usr/lib/stoneware": "image"}  # the rest are our programs
# Where a file may be anything: only directories are an application's.
_DIRECTORIES = ("", "etc", "var", "var/lib")
_UNITS = "etc/systemd/system/"
_DEEPEST = max(place.count("/") for place in _SYSTEM) + 2  # parts of a path that tell whose it is


@dataclass(frozen=True)
class Applications:
    """What is an application's where packages own these paths, and these units are its service."""

    owned: frozenset[str]
    units: frozenset[str] = frozenset()

    def own(self, path: str, *, directory: bool) -> bool:
        """Say whether a path is an application's, as all below it is then."""
        if path.startswith(_UNITS):
            return path.split("/")[3].removesuffix(".d") in self.units
        parts = path.split("/")
        for length in range(min(len(parts), _DEEPEST)):
            place = "/".join(parts[:length])
            if place in _SYSTEM and self._begins(place, parts, directory=directory):
                return True
        return False

    def _begins(self, place: str, parts: list[str], *, directory: bool) -> bool:
        """Say whether what is in that place is an application's."""
        depth = place.count("/") + 1 if place else 0
        name = parts[depth]
        if place in _ONLY:
            return name == _ONLY[place]
        if not name or name.startswith((".", "lib", "perl")) or name.split(".")[0] in _SYSTEM[place]:
            return False
        if place == "etc" and "." in name:  # as sysusers.d: who reads it need not own it
            return False
        if place in _DIRECTORIES and len(parts) == depth + 1 and not directory:
            return False
        return "/".join(parts[: depth + 1]) not in self.owned


def owned_places(lists: Iterable[bytes]) -> frozenset[str]:
    """Return the beginnings of the paths in dpkg's lists of files, as far as they tell whose one is."""
    found: set[str] = set()
    for text in lists:
        for line in text.decode("utf-8", "surrogateescape").split("\n"):
            parts = line.strip("/").split("/", _DEEPEST)[:_DEEPEST]
            found.update("/".join(parts[:length]) for length in range(1, len(parts) + 1))
    return frozenset(found)
