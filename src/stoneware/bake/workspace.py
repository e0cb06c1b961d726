"""The directory of one bake that is under way, and what is done with those that were killed."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from stoneware.files import locked
from stoneware.platform import ImageStore, Platform
from stoneware.provider.server import ProviderServer
from stoneware.terraform.runner import Terraform, has_state

_TERRAFORM = "terraform"
_PREFIX = "bake-"


@contextlib.contextmanager
def workspace(store: ImageStore) -> Iterator[Path]:
    """Make a directory for one bake; its lock says that the bake lives, and it is removed at the end."""
    build_id = f"{_PREFIX}{secrets.token_hex(4)}"
    with locked(store.build_lock_path(build_id)):
        directory = store.build_path(build_id)
        directory.mkdir(mode=0o700)
        yield directory
        shutil.rmtree(directory)


def builder_directory(bake: Path, stage: int) -> Path:
    """Return (and make) the directory of one stage's builder."""
    directory = bake / f"stage-{stage}"
    directory.mkdir(exist_ok=True)
    return directory


def terraform_directory(builder: Path) -> Path:
    """Return (and make) where a builder's Terraform configuration and state are."""
    directory = builder / _TERRAFORM
    directory.mkdir(exist_ok=True)
    return directory


def recover(store: ImageStore, platform: Platform) -> list[str]:
    """Destroy the builders of bakes that were killed, by Terraform where it can; tell what was done."""
    parent = store.build_path("any").parent
    left = sorted(parent.glob(f"{_PREFIX}*")) if parent.is_dir() else []
    return [sentence for directory in left if (sentence := _recover_one(store, platform, directory))]


def _recover_one(store: ImageStore, platform: Platform, directory: Path) -> str:
    try:
        with locked(store.build_lock_path(directory.name), timeout=0):
            if not directory.is_dir():
                return ""
            _destroy_builders(directory, platform)
            shutil.rmtree(directory)
    except TimeoutError:
        return ""
    return f"removed what an interrupted bake had left ({directory.name})"


def _destroy_builders(directory: Path, platform: Platform) -> None:
    for state in directory.glob(f"*/{_TERRAFORM}"):
        if has_state(state):
            with Terraform(state, provider=ProviderServer(platform)) as terraform:
                terraform.destroy()
    for machine in platform.machines():
        # Terraform may have been killed before it wrote the machine down.
        if machine.kind == "builder" and machine.name.startswith(f"{directory.name}-"):
            platform.destroy(machine.name)
