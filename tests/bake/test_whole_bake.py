"""Whole bakes over machines in memory: what the bundle holds, and what becomes of what its agent says."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.bake import api
from stoneware.bake.events import CheckResult, Note, StepFinished, StepOutput
from stoneware.bake.leaks import leak_patterns
from stoneware.bake.options import BakeOptions, BakeResult, SecretSource
from stoneware.bake.place import Place
from stoneware.config import Secret
from stoneware.errors import BuildError, InputError
from stoneware.guest.checks import CHECKS
from stoneware.model import guest_protocol
from stoneware.model.machine import Machine, MachineSpec
from tests.bake.bake_store import BakeStore
from tests.bake.scripted import Told
from tests.platforms.memory import MemoryPlatform

SECRET = "correct horse battery staple"
TEXT = """\
FROM debian:12
WORKDIR /srv
COPY --chown=app:app --chmod=0640 one two /srv/
ADD files.tar.gz /srv/unpacked/
RUN --mount=type=secret,id=key,required=true --mount=type=cache,target=/var/cache/x make
RUN --network=none test
CMD ["/usr/bin/app"]
"""


class Agents(MemoryPlatform):
    """Machines whose build agents do what their bundles say, except where `faults` has another exit code."""

    def __init__(self) -> None:
        super().__init__()
        self.bundles: list[dict[str, bytes]] = []
        self.served: list[tuple[int, dict[str, bytes]]] = []
        self.faults: dict[int, int] = {}
        self.seal_fault = ""
        self._agents: dict[str, Iterator[None]] = {}
        self._given: dict[str, MachineSpec] = {}

    def create(self, spec: MachineSpec) -> Machine:
        self._given[spec.name] = spec
        return super().create(spec)

    def boot(self, name: str) -> None:
        spec = self._given[name]
        archive = next(path for key, path in spec.files.items() if key.endswith(".tar"))
        with tarfile.open(archive) as opened:
            files = {each.name: opened.extractfile(each) for each in opened if each.isfile()}
            self.bundles.append({key: stream.read() for key, stream in files.items() if stream})
        self._agents[name] = self._agent(name, self.bundles[-1], spec)

    def guest_attributes(self, name: str) -> dict[str, str]:
        next(self._agents[name], None)
        return super().guest_attributes(name)

    def _told(self, name: str, attribute: str) -> str:
        found = self.observe(name)
        return found.spec.metadata.get(attribute, "") if found else ""

    def _agent(self, name: str, bundle: dict[str, bytes], spec: MachineSpec) -> Iterator[None]:
        token = spec.metadata[guest_protocol.TOKEN]

        def say(state: str, step: int, exit_code: int = 0, message: str = "") -> None:
            report = {"token": token, "step": step, "state": state, "exit": exit_code, "message": message}
            self.report(name, **{"stoneware/build": json.dumps({**report, "boot": "b"})})

        def write(text: str) -> None:
            self._consoles[name] += f"{token} {text}\r\n".encode()

        def fetch(step: int) -> Iterator[None]:
            say("secrets", step)
            while not (words := self._told(name, guest_protocol.SERVING)).startswith(f"{step} "):
                yield
            self.served.append((step, {key: spec.files[key].read_bytes() for key in words.split()[1:]}))

        head = dict(word.split("=", 1) for word in shlex.split(bundle["bundle.env"].decode()))
        first, last = int(head["FIRST"]), int(head["LAST"])
        for step in range(first, last + 1):
            say("running", step)
            yield
            if b"secret" in bundle.get(f"steps/{step:04d}/mounts", b""):
                yield from fetch(step)
            write(f"{step}| output of {step}")
            write(f"{step} exit {self.faults.get(step, 0)}")
            say("failed" if step in self.faults else "done", step, self.faults.get(step, 0))
            while self._told(name, guest_protocol.GO) != str(step):
                yield
        if head.get("SEAL") == "no":
            say("over", last)
            return
        while self._told(name, guest_protocol.ACCEPT) != guest_protocol.TRUE:
            yield
        if bundle["seal/secrets"]:
            yield from fetch(last + 1)
        write("note the seal is at work")
        if self.seal_fault:
            check = next(each for each in CHECKS if each.severity == "error")
            write(f"check {check.name} error fail {self.seal_fault}")
            say("failed", last + 1, 1, "a check failed")
            return
        self.results[name, "sealed.tar"] = sealed()
        say("sealed", last + 1, 0, "quiet")


def sealed() -> bytes:
    files = {
        "files.sum": b"0" * 64 + b" 3 40\n",
        "packages.tsv": b"systemd\t252\tamd64\n",
        "services.tsv": b"app.service\timage\tyes\n",
        "etc/stoneware/templates/etc/app.conf": b"port=${PORT:-80}\n",
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


class Bench:
    """A context, a store and machines with agents."""

    def __init__(self, root: Path) -> None:
        self.context = root / "context"
        self.context.mkdir()
        for name in ("builds", "locks"):
            (root / name).mkdir()
        self.store = BakeStore(root)
        self.platform = Agents()
        self.told = Told()
        (self.context / "one").write_text("1")
        (self.context / "two").write_text("22")
        with tarfile.open(self.context / "files.tar.gz", "w:gz") as archive:
            archive.add(self.context / "one", arcname="inner/one")

    def bake(self, text: str, **options: Any) -> BakeResult:
        (self.context / "Machinefile").write_text(text)
        wanted = BakeOptions(self.context, tags=("app",), **options)
        found = api.bake(wanted, Place(self.platform, self.store), self.told)
        self.store.checkpoints |= set(self.platform.checkpoints)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def key(value: str = SECRET) -> dict[str, SecretSource]:
    return {"key": SecretSource(value=Secret(value))}


def test_a_bake_from_a_bundle_to_a_tag(bench: Bench) -> None:
    result = bench.bake(TEXT, secrets=key())
    assert (result.ran, result.cached) == (5, 0)
    assert bench.store.references["app:latest"] == result.image_id
    manifest = json.loads(bench.platform.images[result.image_id])
    assert manifest["packages"] == [{"name": "systemd", "version": "252", "arch": "amd64"}]
    assert [step["text"].split()[0] for step in manifest["steps"]] == ["WORKDIR", "COPY", "ADD", "RUN", "RUN"]
    assert len(bench.platform.checkpoints) == 5
    outputs = [event for event in bench.told.events if isinstance(event, StepOutput)]
    assert [event.texts for event in outputs] == [[f"output of {step}"] for step in range(1, 6)]
    assert sum(isinstance(event, StepFinished) for event in bench.told.events) == 5
    assert Note("the seal is at work") in bench.told.events
    # Nothing is left: no builder, no directory of the bake.
    assert bench.platform.machines() == []
    assert list((bench.store.root / "builds").iterdir()) == []


def test_the_bundle_has_each_step_with_its_files(bench: Bench) -> None:
    bench.bake(TEXT, secrets=key())
    [bundle] = bench.platform.bundles
    kinds = [bundle[f"steps/{number:04d}/kind"].strip() for number in range(1, 6)]
    assert kinds == [b"WORKDIR", b"COPY", b"COPY", b"RUN", b"RUN"]
    copy = {name.rpartition("/")[2]: data for name, data in bundle.items() if name.startswith("steps/0002/")}
    assert (copy["dest"], copy["into"], copy["chown"], copy["chmod"]) == (
        b"/srv/",
        b"dir",
        b"app:app",
        b"0640",
    )
    assert copy["others"] == b"one\0two\0"
    with tarfile.open(fileobj=io.BytesIO(copy["data.tar"])) as archive:
        assert [(each.name, each.size) for each in archive] == [("one", 1), ("two", 2)]
    with tarfile.open(fileobj=io.BytesIO(bundle["steps/0003/archives/0"]), mode="r:") as archive:
        assert archive.getnames() == ["inner/one"]
    assert bundle["steps/0005/network"] == b"none\n"
    assert bundle["seal/enable"] == b"app.service\n"
    assert b"ExecStart" in bundle["seal/root/etc/systemd/system/app.service"]


def test_secrets_are_served_to_their_step_and_sought_by_the_seal(bench: Bench) -> None:
    bench.bake(TEXT, secrets=key())
    (step, served), (seal, sought) = bench.platform.served
    assert (step, list(served.values())) == (4, [SECRET.encode()])
    assert seal == 6
    [patterns] = sought.values()
    assert patterns.splitlines() == leak_patterns([SECRET.encode()])
    [bundle] = bench.platform.bundles
    assert not any(SECRET.encode() in data for data in bundle.values())


def test_a_secret_that_is_not_given_ends_it_before_a_builder(bench: Bench) -> None:
    """Before the first, also where another stage is to be built ahead of the one that needs it."""
    with pytest.raises(InputError, match="needs the secret 'key'") as caught:
        bench.bake(f"FROM debian:12 AS tools\nRUN make\n{TEXT}COPY --from=tools /out /in\n")
    assert caught.value.location.endswith("Machinefile:7")
    assert bench.platform.bundles == []
    assert bench.platform.machines() == []
    assert list((bench.store.root / "builds").iterdir()) == []


def test_a_step_that_fails_is_told_with_what_it_said(bench: Bench) -> None:
    bench.platform.faults[4] = 3
    with pytest.raises(BuildError) as caught:
        bench.bake(TEXT, secrets=key())
    assert "output of 4" in caught.value.details
    assert caught.value.location.endswith("Machinefile:5")
    assert (len(bench.platform.checkpoints), bench.platform.machines()) == (3, [])
    # The next bake begins behind what is kept.
    bench.store.checkpoints |= set(bench.platform.checkpoints)
    bench.platform.faults.clear()
    result = bench.bake(TEXT, secrets=key())
    assert (result.cached, result.ran) == (3, 2)
    assert sorted(bench.platform.bundles[-1])[-1].startswith("steps/0005/")
    assert not any(name.startswith("steps/0003/") for name in bench.platform.bundles[-1])


def test_a_check_that_fails_makes_no_image(bench: Bench) -> None:
    bench.platform.seal_fault = "/srv/key"
    with pytest.raises(BuildError) as caught:
        bench.bake(TEXT, secrets=key())
    assert "/srv/key" in f"{caught.value.brief}{caught.value.details}"
    assert [event.detail for event in bench.told.events if isinstance(event, CheckResult)] == ["/srv/key"]
    assert (bench.platform.images, bench.store.references, bench.platform.machines()) == ({}, {}, [])


def test_a_stage_that_others_copy_from_is_built_first_and_not_sealed(bench: Bench) -> None:
    text = "FROM debian:12 AS tools\nRUN make\nFROM debian:12\nCOPY --from=tools /out /in\n"
    (bench.store.root / "out").mkdir()
    planned = api.plan(_options(bench, text), bench.store)
    source = bench.store.stage_source(f"checkpoint:{planned.stages[0].steps[-1].key}")
    (source / "out").mkdir(parents=True)
    (source / "out/tool").write_text("x")
    bench.bake(text)
    first, second = bench.platform.bundles
    assert b"SEAL=no" in first["bundle.env"]
    assert b"SEAL" not in second["bundle.env"]
    assert second["steps/0001/from"] == b"stage"
    with tarfile.open(fileobj=io.BytesIO(second["steps/0001/data.tar"])) as archive:
        assert "tool" in archive.getnames()


def _options(bench: Bench, text: str) -> BakeOptions:
    (bench.context / "Machinefile").write_text(text)
    return BakeOptions(bench.context, tags=("app",))


def test_an_unknown_check_is_named(bench: Bench) -> None:
    with pytest.raises(InputError, match="there is no check 'no-such'") as caught:
        bench.bake(TEXT, skip_checks=("no-such",), secrets=key())
    assert "--list-checks" in caught.value.resolution


def test_a_bind_mount_is_laid_out(bench: Bench) -> None:
    bench.bake("FROM debian:12\nRUN --mount=type=bind,source=one,target=/mnt/one cat /mnt/one\n")
    [bundle] = bench.platform.bundles
    assert bundle["binds/0/one"] == b"1"
    assert b"binds/0/one" in bundle["steps/0001/mounts"]
