"""Secrets as records: their versions, who may fetch them, and where they are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import SecretMount
from stoneware.platforms.local.metadata.secrets import secret_for
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from tests.documents import document_in
from tests.local.records_here import MOUNT, machine


@pytest.fixture
def platform(tmp_path: Path) -> LocalPlatform:
    for kind in ("machines", "volumes"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    return LocalPlatform(Store(tmp_path))


def test_each_value_of_a_secret_has_its_version(platform: LocalPlatform) -> None:
    first = platform.put_secret("x-key", b"one\n\x00\xff")
    assert platform.put_secret("x-key", b"one\n\x00\xff") == first
    second = platform.put_secret("x-key", b"two")
    assert second != first
    assert platform.put_secret("x-key", b"one\n\x00\xff") == first
    assert platform.secret_version("x-key", b"two") == second
    assert platform.secret_version("x-key", b"three") is None
    assert platform.put_secret("x-empty", b"") == platform.put_secret("x-empty", b"")
    directory = platform.store.data / "secrets"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in directory.iterdir()] == [0o600] * 2
    platform.destroy_secret("x-key")
    platform.destroy_secret("x-key")
    assert [path.name for path in directory.iterdir()] == ["x-empty.json"]


@pytest.mark.parametrize("name", ["", ".hidden", "../x", "a/b", "a b", "a" * 201])
def test_a_secret_needs_a_plain_name(platform: LocalPlatform, name: str) -> None:
    with pytest.raises(InputError, match="not a secret's name"):
        platform.put_secret(name, b"")


def test_what_killed_commands_staged_of_secrets_is_swept(platform: LocalPlatform) -> None:
    platform.put_secret("x-key", b"1")
    directory = platform.store.data / "secrets"
    for name in (".x-key.json.abc", ".x-other.json.def"):
        (directory / name).write_text("half a secret")
    with platform.store.lock("secrets", "x-other"):
        platform.store.sweep_secrets()
        assert sorted(path.name for path in directory.iterdir()) == [".x-other.json.def", "x-key.json"]
    platform.store.sweep_secrets()
    assert [path.name for path in directory.iterdir()] == ["x-key.json"]


@pytest.mark.parametrize(
    ("mounts", "message"),
    [
        ([SecretMount("missing", "key", "v")], "there is no secret 'missing'"),
        ([SecretMount("x-key", "../key", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "..", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "a/../b", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "a/./b", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "a/", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "/a/../b", "v")], "is no path of a file"),
        ([SecretMount("x-key", "a//b", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "a" * 256, "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "a\tb", "v")], "is no file below /run/secrets"),
        ([SecretMount("x-key", "key", "v", 0o10000)], "10000 is not a mode"),
        ([MOUNT, SecretMount("x-key", "key", "v")], "two secrets have the target 'key'"),
    ],
)
def test_a_secret_that_a_machine_cannot_have(
    platform: LocalPlatform, mounts: list[SecretMount], message: str
) -> None:
    platform.put_secret("x-key", b"1")
    with pytest.raises(InputError, match=message):
        platform.create(MachineSpec("h1", "image:x", secrets=tuple(mounts)))
    paths = machine(platform, MachineSpec("h2", "image:x"))
    with pytest.raises(InputError, match=message):
        platform.amend("h2", secrets=tuple(mounts))
    assert document_in(paths.root / "spec.json")["secrets"] == []


def test_a_machine_has_the_version_of_its_spec(platform: LocalPlatform) -> None:
    versions = [platform.put_secret("x-key", b"%d" % number) for number in range(3)]
    mounts = [SecretMount("x-key", "key", version) for version in versions]
    paths = machine(platform, MachineSpec("h1", "image:x", secrets=(mounts[0],)))
    directory = platform.store.data / "secrets"

    def served() -> bytes:
        secret = secret_for(paths.root, directory, "x-key")
        assert secret is not None
        return secret.value

    assert served() == b"0"
    platform.amend("h1", secrets=(mounts[1],))
    assert served() == b"1"
    for number in range(3, 12):
        platform.put_secret("x-key", b"%d" % number)
    assert served() == b"11", "its own is not kept any more"
    assert platform.secret_version("x-key", b"2") == versions[2]
    assert platform.secret_version("x-key", b"1") is None


def test_a_secret_shows_its_value_nowhere(platform: LocalPlatform) -> None:
    platform.put_secret("x-key", b"hunter2")
    paths = machine(platform, MachineSpec("h1", "image:x", secrets=(MOUNT,)))
    secret = secret_for(paths.root, platform.store.data / "secrets", "x-key")
    assert secret is not None
    assert secret.value == b"hunter2"
    assert "hunter2" not in repr(secret)
    platform.amend("h1", secrets=(MOUNT,))
    assert b"hunter2" not in b"".join(path.read_bytes() for path in paths.root.iterdir())
