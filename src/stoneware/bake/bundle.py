"""The build bundle: the steps still to run and the files they need, as one tar for the build agent."""

from __future__ import annotations

import shlex
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path

from stoneware.bake.leaks import leak_patterns
from stoneware.bake.runscript import mount_lines, run_script
from stoneware.bake.scratch_stages import SCRATCH_ROOT
from stoneware.bake.workdir import SECRET_FILES
from stoneware.dataclass import dataclass
from stoneware.guest.install import cloud_files, cloud_links, write_tree
from stoneware.machinefile.recipe import CopyStep, RunStep, Step, WorkdirStep
from stoneware.model.guest_protocol import FOR_AGENT, SOUGHT

HOST_CERTIFICATES = Path("/usr/local/share/ca-certificates")


@dataclass
class BundleWriter:
    """Lays a bundle out in a directory; `files` are served to its agent next to it, `caches` in order."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    secrets: dict[int, tuple[str, ...]] = field(default_factory=dict)  # served names by the step they are for
    caches: list[str] = field(default_factory=list)
    cache_names: Mapping[str, str] = field(default_factory=dict)  # of a cache's id where it is not the id

    def write_header(
        self, name: str, version: str, first: int, last: int, *, seal: bool, scratch: bool = False
    ) -> None:
        """Write bundle.env; `last` < `first` means that nothing but the seal is left to do.

        To be called when all else is written.
        """
        values = {"NAME": name, "VERSION": version, "FIRST": str(first), "LAST": str(last)}
        values |= {} if seal else {"SEAL": "no"}
        values |= {"FILES_ROOT": SCRATCH_ROOT} if scratch else {}
        # Last, since it says whether there are secrets: the agent then begins with a key that no step knows.
        values |= {"SECRETS": "yes"} if self.secrets else {}
        self._put("bundle.env", "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items()))

    def add_certificates(self, directory: Path = HOST_CERTIFICATES) -> None:
        """Add the certificates this computer trusts besides its distribution's."""
        for certificate in sorted(directory.rglob("*.crt")) if directory.is_dir() else ():
            self._put(f"ca/{certificate.name}", certificate.read_bytes())

    def add_guest(self) -> None:
        """Add Stoneware's own programs, for a builder whose image lacks them."""
        write_tree(self.root / "guest", cloud_files(), cloud_links())

    def add_handed(self, paths: Iterable[str]) -> None:
        """Have the agent hand out these paths behind the last step."""
        self._put("handed", "".join(f"{path}\n" for path in paths))

    def add_seal(
        self, files: Mapping[str, tuple[int, bytes]], service: str, skip_checks: Iterable[str]
    ) -> None:
        """Add what the seal lays over the root file system, the unit it enables, the checks it skips."""
        for path, (mode, content) in files.items():
            self._put(f"seal/root{path}", content)
            (self.root / f"seal/root{path}").chmod(mode)
        self._put("seal/enable", f"{service}\n" if service else "")
        self._put("seal/checks.skip", "".join(f"{name}\n" for name in skip_checks))

    def add_promises(self, promises: str, path: str, workdir: str) -> None:
        """Add what the seal is to find in the image: see `stoneware.bake.image_checks`."""
        self._put("seal/promises", promises)
        self._put("seal/path", f"{path}\n")
        self._put("seal/workdir", f"{workdir}\n")

    def add_secrets_to_look_for(
        self, steps: Iterable[RunStep], secrets: Mapping[str, Path], *, number: int
    ) -> None:
        """Let the seal look for every secret of these steps, also of those that are not run again.

        `number` stands for the seal among the steps.
        """
        # Also of steps from the cache: their secret may be in a file that an earlier bake's step wrote.
        names = {
            self._secret(mount.id, secrets)
            for step in steps
            for mount in step.mounts
            if mount.type == "secret"
        }
        found = sorted(name for name in names if name)
        if found:
            # Next to the bundle, not in it: this is served once, to who knows the agent's key.
            patterns = self.root.parent / f"{SECRET_FILES}patterns"
            values = [secrets[name.removeprefix(FOR_AGENT)].read_bytes() for name in found]
            patterns.write_bytes(b"".join(pattern + b"\n" for pattern in leak_patterns(values)))
            patterns.chmod(0o600)
            self.files[SOUGHT] = patterns
            self.secrets[number] = (SOUGHT,)
        self._put("seal/secrets", f"{SOUGHT}\n" if found else "")

    def add_step(self, step: Step) -> Path:
        """Write what every step has and what needs no files; return the step's directory."""
        # Padded, so that the shell's order of names is that of the steps.
        place = f"steps/{step.index:04d}"
        self._put(f"{place}/title", step.text + "\n")
        match step:
            case RunStep():
                self._put(f"{place}/kind", "RUN\n")
                self._put(f"{place}/run", run_script(step))
                self._put(f"{place}/user", step.user)
                self._put(f"{place}/workdir", step.workdir)
                if step.network == "none":
                    self._put(f"{place}/network", "none\n")
            case CopyStep():
                self._put(f"{place}/kind", "COPY\n")
                self._put(f"{place}/dest", step.destination)
                self._put(f"{place}/chown", step.chown)
                self._put(f"{place}/chmod", step.chmod)
                if step.link:
                    self._put(f"{place}/link", "")
                self._put(f"{place}/from", "stage" if step.from_stage else "context")
            case WorkdirStep():
                self._put(f"{place}/kind", "WORKDIR\n")
                self._put(f"{place}/path", step.path)
                # As in BuildKit a WORKDIR belongs to USER; COPY and ADD do not look at it.
                self._put(f"{place}/user", step.user)
        return self.root / place

    def add_mounts(self, step: RunStep, binds: Mapping[str, str], secrets: Mapping[str, Path]) -> None:
        """Write a RUN step's mounts. `binds` gives each bind's place in the bundle by its target."""
        # One for each mount, in their order: the agent goes through both lists together.
        sources = []
        for mount in step.mounts:
            if mount.type == "bind":
                sources.append(binds[mount.target])
            elif mount.type == "cache":
                sources.append(f"/run/stoneware/cache/{self._cache(mount.id or mount.target)}")
            elif mount.type == "secret":
                sources.append(self._secret(mount.id, secrets))
            else:
                sources.append("")
        wanted = [
            source
            for mount, source in zip(step.mounts, sources, strict=True)
            if mount.type == "secret" and source
        ]
        if wanted:
            self.secrets[step.index] = tuple(dict.fromkeys(wanted))
        self._put(f"steps/{step.index:04d}/mounts", mount_lines(step.mounts, tuple(sources)))

    def pack(self, destination: Path) -> None:
        """Write the whole bundle as a tar."""
        with tarfile.open(destination, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self.root.iterdir()):
                archive.add(path, arcname=path.name)

    def _cache(self, cache_id: str) -> int:
        name = self.cache_names.get(cache_id, cache_id)
        # By number: an id may be anything, also `../..`, and this becomes a path in the builder.
        if name not in self.caches:
            self.caches.append(name)
        return self.caches.index(name)

    def _secret(self, secret: str, secrets: Mapping[str, Path]) -> str:
        """Return the name that a secret is served by, or "" for one that was not given and need not be."""
        if secret not in secrets:
            return ""
        self.files[f"{FOR_AGENT}{secret}"] = secrets[secret]
        return f"{FOR_AGENT}{secret}"

    def _put(self, name: str, content: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
