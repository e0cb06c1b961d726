"""Builders as machines: of any platform, and those that Terraform makes with our provider."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from stoneware.errors import StonewareError
from stoneware.model import guest_protocol
from stoneware.model.guest_protocol import metadata_url
from stoneware.model.machine import Machine, Phase
from stoneware.platforms.infrastructure import Infrastructure
from stoneware.platforms.protocols import Machines
from stoneware.terraform.builders import BuilderTerraform, destroy_states

_BUNDLE = "bundle.tar"
_AGENT = "agent"
_SCRIPT = "startup-script"
# The build agent has a hundred kilobytes. All attributes of a machine go through Terraform, its state and its
# plan, and are read at each look at the machine. So this is what the attribute has, and it fetches a file.
_FETCH = """\
#!/bin/sh
agent=/run/stoneware/agent
bash -pc 'exec 3<>/dev/tcp/{host}/80 || exit
    printf "GET {path} HTTP/1.0\\r\\nMetadata-Flavor: Google\\r\\n\\r\\n" >&3
    while IFS= read -r -t 10 -u 3 line && [ "${{#line}}" -gt 1 ]; do :; done
    cat <&3' >"$agent" 2>/dev/null
# Where that fails curl asks, whose libraries take longer to load.
[ "$(stat -c %s "$agent")" = {size} ] ||
    curl -q --silent --noproxy '*' --fail --retry 5 --retry-connrefused -H 'Metadata-Flavor: Google' \\
        -o "$agent" http://{host}{path} && . "$agent"
"""


class BuilderMachines(Machines, Protocol):
    """A platform whose metadata server has the files of builders and takes their results."""

    @property
    def infrastructure(self) -> Infrastructure:
        """Return its resources."""
        ...

    def read_result(self, name: str, result: str) -> bytes:
        """Return what a builder has uploaded under a name. Raises MachineError where there is nothing."""
        ...

    def prepare_list(self, name: str, base: str) -> None:
        """Have ready what a builder's files will be listed by."""
        ...

    def list_files(self, name: str, base: str) -> bool:
        """List a builder's files by those of the base that its root was made from, if that can be done."""
        ...

    def checkpoint(
        self, name: str, key: str, document: Mapping[str, Any], *, taken: Callable[[], None] | None = None
    ) -> None:
        """Save a builder's root file system under a step key."""
        ...

    def capture(
        self,
        name: str,
        manifest: bytes,
        document: Mapping[str, Any],
        *,
        files: Mapping[str, bytes] | None = None,
    ) -> str:
        """Make an image of a stopped builder's root and return its id."""
        ...


class MachineBuilder:
    """A builder of such a platform, by its name. How it is made and removed is a subclass's."""

    beat = 2.0

    def __init__(self, platform: BuilderMachines, name: str) -> None:
        self.name = name
        self.platform = platform
        self.files: dict[str, Path] = {}  # served to it, by name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def publish(self, bundle: Path, files: Mapping[str, Path]) -> str:
        """Let the metadata server have the bundle and the files."""
        self.files = {_BUNDLE: bundle, **files}
        return metadata_url(f"{guest_protocol.FILES_PATH}{_BUNDLE}")

    def lacks_guest(self, source: str) -> bool:  # noqa: ARG002 - all have them
        """Say no: bases and images of this computer have Stoneware's programs."""
        return False

    def results_address(self, result: str) -> str:
        """Return the address of the metadata server for a result."""
        return metadata_url(guest_protocol.RESULTS_PATH + result)

    def observe(self) -> Machine | None:
        """Return the machine as it is now, or None where it is gone."""
        return self.platform.observe(self.name)

    def console(self, offset: int = 0) -> tuple[bytes, int]:
        """Return a piece of the console's output from a byte offset on, and the offset to go on from."""
        return self.platform.console(self.name, offset)

    def reports(self) -> dict[str, str]:
        """Return its guest attributes."""
        return self.platform.guest_attributes(self.name)

    def tell(self, changes: Mapping[str, str | None]) -> None:
        """Change its instance attributes."""
        self.platform.set_metadata(self.name, changes)

    def check_helpers(self) -> None:
        """Restart what machines depend on and has died."""
        self.platform.check_helpers()

    def result(self, result: str) -> bytes:
        """Return what it has uploaded under a name."""
        return self.platform.read_result(self.name, result)

    def prepare_list(self, base: str) -> None:
        """Have ready what its files will be listed by."""
        self.platform.prepare_list(self.name, base)

    def list_files(self, base: str) -> bool:
        """List its files by those of the base that its root was made from, if that can be done."""
        return self.platform.list_files(self.name, base)

    def save_step(
        self, key: str, document: Mapping[str, Any], *, taken: Callable[[], None] | None = None
    ) -> None:
        """Save its root file system under a step key."""
        self.platform.checkpoint(self.name, key, document, taken=taken)

    def stop(self, timeout: float | None = None) -> None:
        """Switch it off."""
        self.platform.stop(self.name, timeout=timeout)

    def capture(
        self, manifest: bytes, document: Mapping[str, Any], *, files: Mapping[str, bytes] | None = None
    ) -> str:
        """Make an image of it and return the id."""
        return self.platform.capture(self.name, manifest, document, files=files)


class StonewareBuilder(MachineBuilder):
    """A builder that Terraform makes; in a `with` block."""

    def __init__(
        self,
        platform: BuilderMachines,
        name: str,
        directory: Path,
        output: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(platform, name)
        self._directory = directory
        self._terraform = BuilderTerraform(platform.infrastructure, directory, output)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._terraform.close()

    def boot(self, source: str, metadata: Mapping[str, str], caches: Sequence[str] = ()) -> None:
        """Have Terraform make the builder."""
        files, metadata = self._lightened(metadata)
        self._terraform.apply(
            {
                "name": self.name,
                "boot_source": source,
                "files": {name: str(path) for name, path in files.items()},
                "caches": list(caches),
                "metadata": metadata,
            }
        )

    def _lightened(self, metadata: Mapping[str, str]) -> tuple[dict[str, Path], dict[str, str]]:
        """Return the builder's files and metadata, with the startup script among the files."""
        if _SCRIPT not in metadata:
            return self.files, dict(metadata)
        agent = self._directory / _AGENT
        agent.write_text(metadata[_SCRIPT])
        fetch = _FETCH.format(
            host=guest_protocol.METADATA_ADDRESS,
            path=f"{guest_protocol.FILES_PATH}{_AGENT}",
            size=agent.stat().st_size,
        )
        return {**self.files, _AGENT: agent}, {**metadata, _SCRIPT: fetch}

    def release(self, *, failed: bool = False) -> None:
        """Have Terraform destroy the builder; after a failure the platform does it where Terraform cannot."""
        try:
            self._terraform.destroy(self.name, lambda: self.observe() is not None)
        except StonewareError:
            if not failed:
                raise
            # The bake's own error is told; for the builder all that is left is tried.
            with contextlib.suppress(StonewareError):
                self.platform.destroy(self.name)
                self._terraform.forget()


def remove_builders(platform: BuilderMachines, bake: Path) -> bool:
    """Remove the builders that a bake has left, by the Terraform that made them where it knows them."""
    removed = destroy_states(bake, platform.infrastructure)
    for machine in platform.machines():
        # Terraform may have been killed before it wrote the machine down. What a crash of the computer has
        # emptied does not say what kind of a machine it is of.
        builder = machine.kind == "builder" or machine.phase is Phase.DAMAGED
        if builder and machine.name.startswith(f"{bake.name}-"):
            platform.destroy(machine.name)
            removed = True
    return removed
