"""A command in a process of its own, for tests that interrupt or kill it.

Usage: python -m tests.provider.driver DIRECTORY JOURNAL FAULT [BINARY]. It applies the configuration with
machines kept in JOURNAL, says `creating` or `created` when it gets there, and then, by FAULT:
  waits    hangs in create until Terraform says stop, and then makes the machine
  hangs    hangs in create for good
  made     makes the machine and hangs before Terraform hears of it
  applied  hangs after the apply
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from stoneware.provider.server import ProviderServer
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform


def main(directory: str, journal: str, fault: str, binary: str = "") -> int:
    stop, never = threading.Event(), threading.Event()
    platform = MemoryPlatform(Path(journal))

    def creating() -> None:
        say("creating")
        if fault in {"waits", "hangs"}:
            (stop if fault == "waits" else never).wait()

    def created() -> None:
        if fault == "made":
            say("created")
            never.wait()

    platform.while_creating, platform.after_creating = creating, created
    provider = ProviderServer(platform, on_stop=stop.set)
    try:
        with Terraform(
            Path(directory), provider=provider, binary=Path(binary) if binary else None
        ) as terraform:
            terraform.prepare()
            say(f"worker {worker(terraform)}")
            terraform.apply()
            say("applied")
            never.wait()
    except KeyboardInterrupt:
        return 130
    return 0


def worker(terraform: Terraform) -> int:
    process = terraform._engine._process  # type: ignore[attr-defined]
    return process.pid if process else 0


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
