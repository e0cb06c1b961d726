"""The directory of one bake that is under way, and what is done with those that were killed."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from stoneware.errors import StonewareError
from stoneware.files import locked
from stoneware.platforms.protocols import Images, Platform
from stoneware.untrusted.removal import remove_tree

BUILDER_ADDRESS = "stoneware_machine.builder"  # in terraform/modules/local/builder
_TERRAFORM = "terraform"
_PREFIX = "bake-"
_LOCK_TIMEOUT = 60.0  # seconds that the Terraform of a killed bake may take to end: its own last resort


@contextlib.contextmanager
def workspace(store: Images) -> Iterator[Path]:
    """Make a directory for one bake; its lock says that the bake lives.

    At the end it is removed, however the bake ended, unless Terraform could not destroy a builder: then the
    next command does that.
    """
    build_id = f"{_PREFIX}{secrets.token_hex(4)}"
    lock = store.build_lock_path(build_id)
    with locked(lock):
        directory = store.build_path(build_id)
        directory.mkdir(mode=0o700)
        try:
            yield directory
        finally:
            if not _states(directory):
                _remove(directory, lock)


def _states(directory: Path) -> list[Path]:
    """Return the Terraform directories of a bake that still know of a builder, or might."""
    from stoneware.terraform.runner import has_state

    return [
        state
        for state in sorted(directory.glob(f"*/{_TERRAFORM}"))
        if has_state(state) or (state / ".terraform.tfstate.lock.info").exists()
    ]


def _remove(directory: Path, lock: Path) -> None:
    remove_tree(directory)  # whose bundle may hold trees of stages: of any depth
    lock.unlink(missing_ok=True)


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


def recover(store: Images, platform: Platform) -> list[str]:
    """Destroy the builders of bakes that were killed, by Terraform where it knows them; tell what was done.

    Cheap where there is nothing to do. What cannot be removed is told as well, and tried again next time.
    """
    parent = store.build_path("any").parent
    left = sorted(parent.glob(f"{_PREFIX}*")) if parent.is_dir() else []
    return [sentence for directory in left if (sentence := _recover_one(store, platform, directory))]


def _recover_one(store: Images, platform: Platform, directory: Path) -> str:
    lock = store.build_lock_path(directory.name)
    try:
        with locked(lock, timeout=0):
            if not directory.is_dir():
                return ""
            done = _destroy_builders(directory, platform)
            _remove(directory, lock)
    except TimeoutError:
        return ""  # it lives
    except (StonewareError, OSError) as error:
        said = error.brief if isinstance(error, StonewareError) else str(error)
        return f"cannot remove what the interrupted bake {directory.name} has left: {said}"
    return f"removed what the interrupted bake {directory.name} had left{done}"


def _destroy_builders(directory: Path, platform: Platform) -> str:
    done = ""
    for state in _states(directory):
        from stoneware.provider.server import ProviderServer
        from stoneware.terraform.runner import Terraform

        provider = ProviderServer(platform)
        with (
            contextlib.suppress(StonewareError),  # a damaged state, a full disk: the platform itself does it
            Terraform(state, provider=provider, lock_timeout=_LOCK_TIMEOUT) as terraform,
        ):
            if terraform.destroy().removed:
                done = ": its builder is destroyed"
    for machine in platform.machines():
        # Terraform may have been killed before it wrote the machine down.
        if machine.kind == "builder" and machine.name.startswith(f"{directory.name}-"):
            platform.destroy(machine.name)
            done = ": its builder is destroyed"
    return done
