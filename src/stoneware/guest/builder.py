"""Units that take the place of a machine's own in builders, so that a bake's first step comes early."""

from __future__ import annotations

from pathlib import Path

_UNITS = Path(__file__).parent / "build/units"
_WANTED = "stoneware-booted.service"
# Their work is the host's (addresses) or not a builder's (a journal on disk, limits of the kernel, mounts).
_LATER = (
    "systemd-journal-flush.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-remount-fs.service",
    "systemd-sysctl.service",
    "systemd-tmpfiles-setup-dev.service",
)
# A step's files in /tmp are part of its result: nothing covers or empties them.
_NEVER = ("systemd-tmpfiles-clean.timer", "tmp.mount")
_KEEP_TEMPORARY = "systemd-tmpfiles-setup.service"
# What these would find, no builder has. Those of the image and its packages run.
_NO_GENERATORS = (
    "bless-boot",
    "cryptsetup",
    "debug",
    "factory-reset",
    "getty",
    "run",
    "ssh",
    "system-update",
    "tpm2",
)


def environment(directory: str) -> dict[str, str]:
    """Return the environment in which a builder's systemd finds the units, being in `directory` there."""
    return {
        # A colon at the end: these come before systemd's own directories, not in their place.
        "SYSTEMD_UNIT_PATH": f"{directory}:",
        "SYSTEMD_GENERATOR_PATH": f"{directory}/generators:",
    }


def write_units(directory: Path) -> None:
    """Write the units into a new directory; see systemd(1) for how the environment names it."""
    directory.mkdir(mode=0o755)
    for source in sorted(_UNITS.glob("*.service")):
        (directory / source.name).write_bytes(source.read_bytes())
    later = (_UNITS / "later.conf").read_bytes()
    for name in _LATER:
        (directory / f"{name}.d").mkdir()
        (directory / f"{name}.d/later.conf").write_bytes(later)
    # Else a service that a step starts would leave directories of a private /tmp in the step's result.
    (directory / "service.d").mkdir()
    (directory / "service.d/shared-tmp.conf").write_bytes((_UNITS / "shared-tmp.conf").read_bytes())
    for name in _NEVER:
        (directory / name).symlink_to("/dev/null")  # masked: systemd.unit(5)
    (directory / f"{_KEEP_TEMPORARY}.d").mkdir()
    keep = (_UNITS / "keep-temporary.conf").read_bytes()
    (directory / f"{_KEEP_TEMPORARY}.d/keep-temporary.conf").write_bytes(keep)
    wants = directory / "multi-user.target.wants"
    wants.mkdir()
    (wants / _WANTED).symlink_to(f"../{_WANTED}")
    generators = directory / "generators"
    generators.mkdir()
    generator = generators / "stoneware-later"
    generator.write_bytes((_UNITS / "generator.sh").read_bytes())
    generator.chmod(0o755)
    for name in _NO_GENERATORS:
        (generators / f"systemd-{name}-generator").symlink_to("/dev/null")
