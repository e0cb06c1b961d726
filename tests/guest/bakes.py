"""The build agent over a bundle, in a directory."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from typing import Any

from stoneware.guest.agent import build_agent_script
from tests.guest.support import FakeMetadata, Root

TOKEN = "0123456789abcdef"


class Bake:
    """One builder: its bundle, its agent, what it reported."""

    def __init__(self, root: Root, metadata: FakeMetadata) -> None:
        self.root = root
        self.metadata = metadata
        self.console = root.path.parent / "console"
        self.members: dict[str, bytes] = {}
        self.count = 0
        self.files_root = ""
        self.agent = build_agent_script()
        self.process: subprocess.Popen[bytes] | None = None
        metadata.set(
            stoneware_token=TOKEN,
            stoneware_bundle=f"{metadata.url}/stoneware/v1/files/bundle.tar",
            stoneware_results=f"{metadata.url}/stoneware/v1/results/sealed.tar",
            stoneware_checkpoints="FALSE",
            stoneware_go="0",
        )

    def step(self, kind: str, **files: str | bytes) -> int:
        self.count += 1
        content = {"kind": kind, "title": f"{kind} {self.count}", **files}
        for name, value in content.items():
            data = value.encode() if isinstance(value, str) else value
            self.members[f"steps/{self.count:04d}/{name.replace('data_tar', 'data.tar')}"] = data
        return self.count

    def run_step(self, script: str, user: str = "", mounts: str = "") -> int:
        quoted = script.replace("'", "'\\''")
        run = f"cd {self.root.path} || exit 1\nexec env -i PATH=/usr/bin:/bin sh -c '{quoted}'\n"
        return self.step("RUN", run=run, user=user, mounts=mounts)

    def start(self) -> None:
        header = f"NAME='Hello/App'\nVERSION='V1'\nFIRST='1'\nLAST='{self.count}'\n"
        header += f"FILES_ROOT='{self.files_root}'\n" if self.files_root else ""
        header += "SECRETS='yes'\n" if self.metadata.build_secrets else ""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in {"bundle.env": header.encode(), **self.members}.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
        self.metadata.files["bundle.tar"] = stream.getvalue()
        self.console.write_bytes(b"")
        self.root.put("usr/lib/stoneware/agent", self.agent)
        self.process = self.root.start("agent")

    def wait(self, state: str, seconds: float = 300) -> dict[str, Any]:
        final = {state, "failed"}
        report = self.metadata.wait_report("stoneware/build", lambda r: r["state"] in final, seconds)
        assert report["state"] == state, f"{report}\n{self.console.read_text(errors='replace')}"
        return dict(report)

    def bake(self) -> None:
        self.start()
        self.wait("sealed")
        self.metadata.set(stoneware_manifest='{"schema":1}')
        self.wait("finished")

    def lines(self, number: int) -> list[str]:
        mark = f"{TOKEN} {number}| "
        text = self.console.read_text(errors="replace")
        return [line.removeprefix(mark) for line in text.splitlines() if line.startswith(mark)]

    def results(self) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(self.metadata.results["sealed.tar"])) as archive:
            return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]

    def checks(self) -> dict[str, str]:
        found = re.findall(rf"^{TOKEN} check (\S+) \S+ (\S+)", self.console.read_text(errors="replace"), re.M)
        return dict(found)
