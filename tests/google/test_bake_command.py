"""`bake --platform google` against the emulator: real Terraform, a real machine, an image that boots."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.settings import Settings
from tests import commands
from tests.emulator.serving import tidy
from tests.emulator.test_server import start
from tests.examples.clusters import wait_for
from tests.google.provider.install import program_of

pytestmark = [pytest.mark.machine, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
PROJECT, ZONE, REGION = "proj-1", "us-central1-a", "regions/us-central1"
SETTINGS = f"""\
platform = "google"

[google]
project = "{PROJECT}"
region = "us-central1"
zones = ["{ZONE}"]
bucket = "things"
subnetwork = "bakes"
labels = {{ team = "data" }}
"""
MACHINEFILE = """\
FROM debian:12
COPY word.txt /etc/word.txt
RUN echo "$(cat /etc/word.txt) and more" >/etc/words.txt && systemctl is-system-running --wait || true
HEALTHCHECK CMD test -s /etc/words.txt
CMD ["/bin/sleep", "infinity"]
"""
FAILING = MACHINEFILE + "RUN echo here it breaks && exit 7\n"
SHOWN = """\
#!/bin/sh
at=http://169.254.169.254/computeMetadata/v1/instance/guest-attributes
curl -sf -H Metadata-Flavor:Google -X PUT --data-binary @/etc/words.txt "$at/test/words"
"""


@dataclass
class Project:
    """A directory with a Machinefile, and the emulated project that it is baked in."""

    directory: Path
    environment: dict[str, str]
    api: Api

    def stoneware(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = commands.run(words, cwd=self.directory, env=self.environment, timeout=240)
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done

    def names(self, collection: str) -> list[str]:
        found = self.api.items("compute", f"aggregated/{collection}", f"list {collection}")
        return sorted(str(each["name"]) for each in found)

    def settle(self) -> None:
        """Wait until the process that removes a finished bake's builder has done so."""
        deadline = time.monotonic() + 300
        while self.names("instances") or self.names("disks") or Bucket(self.api).names("bakes/"):
            assert time.monotonic() < deadline, self.names("instances")
            time.sleep(0.5)


@pytest.fixture
def project(
    machine_home: Path, tmp_path: Path, google_provider: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[Project]:
    """Give a project of an emulator; a parameter is an option more of it."""
    state = tmp_path / "emulator"
    words = ["--port", "0", "--project", PROJECT, "--operation-time", "0.05", "--json", "--state", str(state)]
    words += [request.param] if hasattr(request, "param") else []
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(start(*words, home=machine_home))
        assert emulator.stdout is not None
        endpoint = json.loads("".join(iter(emulator.stdout.readline, "}\n")) + "}")["endpoint"]
        directory = tmp_path / "context"
        directory.mkdir()
        (directory / "stoneware.toml").write_text(SETTINGS)
        (directory / "Machinefile").write_text(MACHINEFILE)
        (directory / "word.txt").write_text("one")
        (directory / ".machineignore").write_text("stoneware.toml\n")
        program = program_of(google_provider)
        environment = {name: text for name, text in os.environ.items() if not name.startswith("STONEWARE_")}
        environment |= {
            "STONEWARE_HOME": str(tmp_path / "home"),
            "STONEWARE_GOOGLE_ENDPOINT": endpoint,
            "STONEWARE_GOOGLE_PROVIDER": str(program),
        }
        api = Api(Settings(PROJECT, "us-central1", "things", (ZONE,), endpoint=endpoint))
        body = {"name": "things", "location": "us-central1"}
        api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
        _make_network(api)
        stack.callback(tidy, machine_home, state)
        yield Project(directory, environment, api)


def _make_network(api: Api) -> None:
    """Make a network of a range of its own: this computer may have other emulators."""
    body = {"name": "bakes", "autoCreateSubnetworks": False}
    api.operate("POST", "global/networks", "make the network", body)
    subnet = {"name": "bakes", "ipCidrRange": "10.213.7.0/24", "network": "global/networks/bakes"}
    api.operate("POST", f"{REGION}/subnetworks", "make the subnetwork", subnet)


def _git(directory: Path) -> str:
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *words], cwd=directory, check=True)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _words_of(project: Project, image: str) -> str:
    """Boot an instance from an image, and return what its startup script found there."""
    body: dict[str, Any] = {
        "name": "shown",
        "machineType": f"zones/{ZONE}/machineTypes/e2-small",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}],
        "networkInterfaces": [{"subnetwork": f"{REGION}/subnetworks/bakes"}],
        "metadata": {
            "items": [
                {"key": "startup-script", "value": SHOWN},
                {"key": "enable-guest-attributes", "value": "TRUE"},
            ]
        },
    }
    path = f"zones/{ZONE}/instances"
    project.api.operate("POST", path, "make the instance shown", body)
    deadline = time.monotonic() + 300
    while True:
        query = {"queryPath": "test/words"}
        found = project.api.find("compute", f"{path}/shown/getGuestAttributes", "read its words", **query)
        if found:
            break
        assert time.monotonic() < deadline
        time.sleep(0.5)
    project.api.operate("DELETE", f"{path}/shown", "remove the instance shown")
    return str(found["queryValue"]["items"][0]["value"])


def test_an_image_is_baked_once_tagged_and_boots(project: Project) -> None:
    commit = _git(project.directory)
    baked = json.loads(project.stoneware("bake", "-t", "team/words", "--json", ".").stdout)
    assert baked["commit"] == commit
    (image,) = project.api.items("compute", "global/images", "list the images")
    assert image["name"].startswith(f"team-words-{commit[:7]}-")
    assert (image["family"], image["labels"]["team"]) == ("team-words", "data")
    assert image["labels"]["stoneware-commit"] == commit
    project.settle()
    assert sorted(Bucket(project.api).names("tags/")) == [
        f"tags/team/words:{tag}" for tag in sorted((commit, commit[:7], "latest"))
    ]

    again = json.loads(project.stoneware("bake", "-t", "team/words", "--json", ".").stdout)
    assert again["image_id"] == baked["image_id"]
    assert again["ran"] == 0
    assert project.names("instances") == []
    (row,) = json.loads(project.stoneware("images", "--json").stdout)
    assert row["id"] == baked["image_id"]
    assert "RUN echo" in project.stoneware("history", "team/words").stdout
    assert json.loads(project.stoneware("inspect", "team/words").stdout)["commit"] == commit

    assert _words_of(project, f"global/images/{image['name']}") == "one and more\n"
    project.stoneware("tag", "team/words", "other:1")
    project.stoneware("rmi", "-f", baked["image_id"].removeprefix("sha256:")[:12])
    assert Bucket(project.api).names("") == ["bases/debian-12.json"]


def test_a_failed_step_is_told_and_leaves_nothing(project: Project) -> None:
    (project.directory / "Machinefile").write_text(FAILING)
    failed = project.stoneware("bake", "-t", "words", ".", code=1)
    assert "here it breaks" in failed.stderr
    assert "Machinefile:6" in failed.stderr
    assert project.names("instances") == []
    assert project.names("disks") == []
    assert Bucket(project.api).names("bakes/") == []
    assert list(project.api.items("compute", "global/images", "list the images")) == []


def _started(project: Project) -> subprocess.Popen[str]:
    """Start a bake, and return once its builder runs a step."""
    (project.directory / "Machinefile").write_text(f"{MACHINEFILE}RUN echo it sleeps && sleep 600\n")
    started = subprocess.Popen(
        [*commands.PROGRAM, "bake", "-t", "words", "--progress", "plain", "."],
        cwd=project.directory,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stderr is not None
    assert any("it sleeps" in line and "RUN" not in line for line in started.stderr), "it ended too early"
    return started


def test_the_next_command_removes_what_a_killed_bake_left(project: Project) -> None:
    with _started(project) as killed:
        killed.kill()
    assert len(project.names("instances")) == 1
    assert len(Bucket(project.api).names("bakes/")) == 1
    (project.directory / "Machinefile").write_text(MACHINEFILE)
    done = project.stoneware("bake", "-t", "words", "--json", ".")
    assert "its builder is destroyed" in done.stderr
    project.settle()
    builds = Path(project.environment["STONEWARE_HOME"]) / f"google/{PROJECT}/builds"
    wait_for(lambda: not list(builds.iterdir()), "both bakes' directories are gone")


def test_an_interrupted_bake_removes_its_builder(project: Project) -> None:
    with _started(project) as interrupted:
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.stderr is not None
        said = interrupted.stderr.read()
    assert interrupted.returncode == 130, said
    assert project.names("instances") == []
    assert project.names("disks") == []
    assert Bucket(project.api).names("bakes/") == []


STAGES = """\
FROM debian:12 AS tools
RUN mkdir -p /opt/out && echo made >/opt/out/word && ln -s /opt/out /opt/link && mkfifo /opt/out/pipe && \\
    chown 1:2 /opt/out/word && chmod 640 /opt/out/word
FROM tools AS more
RUN echo more >>/opt/out/word
FROM below
COPY --from=more /opt/link/w* /opt/found/
COPY --from=below /etc/words.txt /opt/
RUN --mount=type=bind,from=tools,source=/opt,target=/mnt \\
    stat -c '%U:%G %a' /opt/found/word >/etc/words.txt && \\
    cat /mnt/out/word /opt/found/word /opt/words.txt >>/etc/words.txt
"""


def test_stages_hand_on_their_files_and_are_not_run_again(project: Project) -> None:
    project.stoneware("bake", "-t", "below", ".")
    (project.directory / "Machinefile").write_text(STAGES)
    baked = json.loads(project.stoneware("bake", "-t", "staged", "--json", ".").stdout)
    assert baked["ran"] == 5
    project.settle()
    names = Bucket(project.api).names("stages/")
    assert len(names) == 3  # of more, of tools, of the image below
    (project.directory / "Machinefile").write_text(f"{STAGES}RUN cat /etc/words.txt\n")
    planned = json.loads(project.stoneware("bake", "-t", "staged", "--plan", "--json", ".").stdout)
    assert [(step["stage"], step["action"]) for step in planned["steps"]] == [
        ("tools", "HIT"),
        ("more", "HIT"),
        *[("2", "RUN")] * 4,
    ]
    again = json.loads(project.stoneware("bake", "-t", "staged", "--json", ".").stdout)
    assert again["ran"] == 4
    assert Bucket(project.api).names("stages/") == names
    project.settle()
    found = list(project.api.items("compute", "global/images", "list", filter='family = "staged"'))
    image = max(found, key=lambda image: str(image["creationTimestamp"]))
    assert _words_of(project, f"global/images/{image['name']}") == (
        "daemon:bin 640\nmade\nmade\nmore\none and more\n"
    )


SECRETS = """\
FROM debian:12
RUN --mount=type=cache,target=/var/cache/made \\
    cp /var/cache/made/word /etc/words.txt 2>/dev/null || echo none >/etc/words.txt; \\
    echo kept >/var/cache/made/word
RUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=other,uid=1 \\
    stat -c '%U %s' /run/secrets/other >>/etc/words.txt; printf %s "$TOKEN" | sha256sum >>/etc/words.txt
"""
TOKEN = "hunter2-correct-horse"


def test_secrets_and_caches_of_steps(project: Project, tmp_path: Path) -> None:
    (project.directory / "Machinefile").write_text(SECRETS)
    (tmp_path / "other").write_bytes(b"x" * 5000)
    project.environment["TOKEN"] = TOKEN
    words = [
        "bake",
        "-t",
        "s",
        "--secret",
        "id=token,env=TOKEN",
        "--secret",
        f"id=other,src={tmp_path}/other",
    ]
    project.stoneware(*words, "--json", ".")
    (caches,) = Bucket(project.api).names("caches/")
    shown = project.stoneware(*words, "--no-cache", "--progress", "plain", ".").stderr
    assert TOKEN not in shown
    project.settle()
    state = tmp_path / "emulator"
    assert not [path for path in state.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    images = list(project.api.items("compute", "global/images", "list the images"))
    newest = max(images, key=lambda image: str(image["creationTimestamp"]))
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    said = _words_of(project, f"global/images/{newest['name']}")
    assert said == f"kept\ndaemon 5000\n{digest}  -\n"
    assert Bucket(project.api).names("caches/") == [caches]

    (project.directory / "Machinefile").write_text(f"{SECRETS}RUN echo {TOKEN} >/etc/leaked\n")
    leaked = project.stoneware(*words, ".", code=1)
    assert "/etc/leaked" in leaked.stderr


BARE = """\
FROM debian:12
COPY word.txt /etc/word.txt
RUN test ! -d /run/stoneware/md && ls /usr/lib/stoneware/stoneware-boot >/etc/words.txt
RUN systemctl is-enabled google-startup-scripts.service stoneware-boot.service >>/etc/words.txt
ENV GREETING=hello
HEALTHCHECK --interval=1s CMD test -s /etc/words.txt
CMD ["/bin/sh", "-c", "echo $GREETING; exec sleep infinity"]
"""


@pytest.mark.parametrize("project", ["--bare"], indirect=True)
def test_a_bare_image_of_debian_gets_what_a_machine_needs(project: Project) -> None:
    (project.directory / "Machinefile").write_text(BARE)
    project.stoneware("bake", "-t", "bare", ".")
    project.settle()
    (image,) = project.api.items("compute", "global/images", "list the images")
    said = _words_of(project, f"global/images/{image['name']}")
    assert said == "/usr/lib/stoneware/stoneware-boot\nenabled\nenabled\n"
