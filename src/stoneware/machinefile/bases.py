"""The names under which people write Debian in a FROM, and which of our bases each of them means."""

from __future__ import annotations

import re

from stoneware.dataclass import dataclass

_RELEASES = {"bookworm": "12", "trixie": "13", "oldstable": "12", "stable": "13", "latest": "13"}
_MOVING = {"stable", "oldstable", "latest"}  # names whose meaning changes with each release of Debian
_TAG = re.compile(
    r"(?P<release>[0-9]+|[a-z]+)(?P<point>\.[0-9]+)?(?P<date>-[0-9]{8})?(?P<backports>-backports)?(?P<slim>-slim)?"
)
# Registries that hold Docker's official images, and the paths they have them under.
_REGISTRIES = {
    "docker.io": ("debian", "library/debian"),
    "index.docker.io": ("debian", "library/debian"),
    "registry-1.docker.io": ("debian", "library/debian"),
    "registry.hub.docker.com": ("debian", "library/debian"),
    "public.ecr.aws": ("docker/library/debian", "debian/debian"),
    "": ("debian", "library/debian"),
}

# What a Debian package brings of the programs that official images are made for.
_PACKAGES = {
    "buildpack-deps": "build-essential",
    "caddy": "caddy",
    "eclipse-mosquitto": "mosquitto",
    "eclipse-temurin": "openjdk-17-jre-headless",
    "gcc": "build-essential",
    "golang": "golang-go",
    "haproxy": "haproxy",
    "httpd": "apache2",
    "mariadb": "mariadb-server",
    "maven": "maven",
    "memcached": "memcached",
    "mysql": "mariadb-server",
    "nginx": "nginx",
    "node": "nodejs npm",
    "openjdk": "openjdk-17-jre-headless",
    "perl": "perl",
    "php": "php-cli",
    "prometheus": "prometheus",
    "postgres": "postgresql",
    "python": "python3 python3-pip python3-venv",
    "rabbitmq": "rabbitmq-server",
    "redis": "redis-server",
    "ruby": "ruby",
    "rust": "rustc cargo",
    "squid": "squid",
    "tomcat": "tomcat10",
    "varnish": "varnish",
}
# Any system that derives from Debian is a base once a stoneware.toml says where it comes from.
OWN_BASE = 'Or name a base of your own in stoneware.toml: [bases."{}"] with suite = "{}" and its mirror.'
_OTHER_SYSTEMS = {
    "alpine": "Write FROM debian:12, and apt-get update && apt-get install -y for apk add.",
    "centos": "Write FROM debian:12, and apt-get update && apt-get install -y for yum install.",
    "fedora": "Write FROM debian:12, and apt-get update && apt-get install -y for dnf install.",
    "rockylinux": "Write FROM debian:12, and apt-get update && apt-get install -y for dnf install.",
    "ubuntu": "Write FROM debian:12 or debian:13: most of Ubuntu's packages have the same names there."
    f" {OWN_BASE.format('ubuntu:24.04', 'noble')}",
}


@dataclass(frozen=True)
class NamedBase:
    """The base of ours that a reference means; `notes` say what of the reference does not count."""

    reference: str
    notes: tuple[str, ...] = ()


def named_base(reference: str) -> NamedBase | None:
    """Return the base that a reference such as `docker.io/library/debian:bookworm-slim` means, or None."""
    name, at, _ = reference.partition("@")
    if not is_debian(reference):
        return None
    tag = name.rpartition("/")[2].partition(":")[2] if ":" in name.rpartition("/")[2] else "latest"
    found = _TAG.fullmatch(tag)
    if found is None:
        return None
    release = _RELEASES.get(found["release"], found["release"])
    # Only numbers have point releases: there is 12.5, but no bookworm.5.
    if found["point"] and not found["release"].isdecimal():
        return None
    notes = []
    if at:
        notes.append("its digest does not count")
    elif found["point"] or found["date"]:
        notes.append("it is the release as it is now, not that of one day")
    if found["release"] in _MOVING:
        notes.append(f"{found['release']} will be another release one day: name it")
    if found["backports"]:
        notes.append("it does not have the backports as a package source")
    return NamedBase(f"debian:{release}", tuple(notes))


def is_debian(reference: str) -> bool:
    """Return whether a reference names Docker's official image of Debian, of whatever release."""
    registry, repository, _ = split_reference(reference)
    known = _REGISTRIES.get(registry, ())
    # A mirror of Docker's registry has the same path somewhere below a name of its own.
    return repository in known or repository == "library/debian" or repository.endswith("/library/debian")


def split_reference(reference: str) -> tuple[str, str, str]:
    """Return a reference's registry (empty where it names none), its repository, and its tag or digest."""
    name, _, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    path = rest if registry else name
    repository, _, tag = path.partition(":")
    return registry, repository, digest or tag


def registry_hint(reference: str) -> str:
    """Return what to write in place of an image that only a registry has."""
    program = split_reference(reference)[1].rpartition("/")[2]
    package = _PACKAGES.get(program)
    if package:
        return f"Write FROM debian:12 and RUN apt-get update && apt-get install -y {package}."
    if program in _OTHER_SYSTEMS:
        return _OTHER_SYSTEMS[program]
    return "Write FROM debian:12 and install in RUN steps what that image brings."
