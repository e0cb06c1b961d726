"""Which package sources a base is made from: the host's own where they are Debian's archive.

deb822 files are parsed here, not with python-debian: that is GPL-2.0-or-later, and one who passes Stoneware
(Apache-2.0) on together with what it needs would have to do so under the GPL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from stoneware.errors import InputError
from stoneware.platforms.local.bases.sources import KNOWN, Source

_COMPONENTS = {"main", "contrib", "non-free", "non-free-firmware"}
_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>[^#]+)"
)
_ARCHIVE_PATH = re.compile(r"/debian(-security)?/?$")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def os_release(path: Path) -> dict[str, str]:
    """Return the assignments of an os-release file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def lines_of(source: Source, root: Path = Path("/")) -> list[str]:
    """Return the one-line sources of a base, or none: mmdebstrap's default. Raises InputError."""
    if not source.mirror and source.suite in KNOWN.values():
        return host_sources(source.suite, root)
    mirror = source.mirror or _host_mirror(root)
    keyring = keyring_of(source, root)
    options = [f"signed-by={keyring}"] * bool(keyring) + ["check-valid-until=no"] * source.frozen
    signed = f"[{' '.join(options)}] " if options else ""
    return [f"deb {signed}{mirror} {source.suite} {' '.join(source.components)}"] if mirror else []


def keyring_of(source: Source, root: Path = Path("/")) -> str:
    """Return the file of the keys that sign a base's suites, "" where apt's own count.

    Raises InputError where it is not there.
    """
    known = not source.mirror and source.suite in KNOWN.values()
    keyring = source.keyring or ("" if source.mirror or known else _KEYRING)
    if keyring and not (root / keyring.lstrip("/")).is_file():
        raise InputError(
            f"there is no keyring {keyring}",
            details=f"It has the keys that sign {source.suite}.",
            resolution='keyring = "/usr/share/keyrings/…"    # of the package …-archive-keyring',
            location=source.places.get("keyring") or source.places.get("suite", ""),
        )
    return keyring


def _host_mirror(root: Path) -> str:
    """Return where this computer has its own Debian from; nothing where it is none."""
    host = os_release(root / "etc/os-release")
    codename = host.get("VERSION_CODENAME") if host.get("ID") == "debian" else None
    entries = (each for each in _entries(root / "etc/apt") if each["suite"] == codename)
    return next((each["uri"] for each in entries if _is_debians(each)), "")


def host_sources(release: str, root: Path = Path("/")) -> list[str]:
    """Return one-line sources for a release taken from this computer's, or none (mmdebstrap's default).

    Only entries of Debian's own archive count: what third parties publish for the same release is theirs.
    """
    host = os_release(root / "etc/os-release")
    if host.get("ID") != "debian" or host.get("VERSION_CODENAME") != release:
        return []
    # No backports: what this computer prefers is nothing that an image should have unasked.
    suites = {release, f"{release}-updates", f"{release}-security"}
    found: list[str] = []
    for entry in _entries(root / "etc/apt"):
        if entry["suite"] not in suites or not _is_debians(entry):
            continue
        components = [word for word in entry["components"].split() if word in _COMPONENTS]
        signed = f"[signed-by={_KEYRING}] "
        line = f"deb {signed}{entry['uri']} {entry['suite']} {' '.join(components)}"
        # Both formats may name the same source, while a computer is moved from one to the other.
        if components and line not in found:
            found.append(line)
    # Updates alone are no Debian: then mmdebstrap's own default is better.
    complete = any(line.split()[3] == release for line in found)
    return found if complete else []


def _is_debians(entry: Mapping[str, str]) -> bool:
    signed_by = entry["signed_by"]
    ours = not signed_by or "debian-archive" in signed_by
    return ours and bool(_ARCHIVE_PATH.search(urlsplit(entry["uri"]).path))


def _entries(apt: Path) -> Iterator[dict[str, str]]:
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            yield from _one_line_entries(path.read_text())
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        yield from _deb822_entries(path.read_text())


def _one_line_entries(text: str) -> Iterator[dict[str, str]]:
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match:
            signed = re.search(r"signed-by=(\S+)", match["options"] or "")
            yield {
                "uri": match["uri"],
                "suite": match["suite"],
                "components": match["rest"],
                "signed_by": signed[1] if signed else "",
            }


def _deb822_entries(text: str) -> Iterator[dict[str, str]]:
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                # A line that begins with a blank goes on with the field before it (deb822(5)).
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        yield from _deb822_fields(fields)


def _deb822_fields(fields: Mapping[str, str]) -> Iterator[dict[str, str]]:
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
        return
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            yield {
                "uri": uri,
                "suite": suite,
                "components": fields.get("components", ""),
                "signed_by": fields.get("signed-by", ""),
            }
