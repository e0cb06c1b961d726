"""Running Terraform on one directory: plan, apply, destroy, show, state.

The directory holds the configuration and Terraform's own state, `terraform.tfstate`, which Terraform locks.
It is kept until everything in it is destroyed, so whatever an interrupted command created can be destroyed
later by `Terraform(directory, …).destroy()`. No `init` is needed for our provider, which is served from this
process over a unix socket; one that is a program Terraform fetches when a command finds that it is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from stoneware.errors import HostError, StonewareError
from stoneware.platforms.infrastructure import Provider
from stoneware.process import tool_environment
from stoneware.scratch import scratch_directory
from stoneware.terraform import results
from stoneware.terraform.configuration import import_blocks
from stoneware.terraform.engine import BinaryEngine, Engine, LibraryEngine, Output
from stoneware.terraform.patience import Patience, late, time_limit
from stoneware.terraform.results import Applied, Plan, Progress, State, TerraformError
from stoneware.terraform.statefile import (
    STATE_FILE,
    addresses_in,
    has_state,
    managed_addresses,
    state_in,
    tainted_addresses,
)

__all__ = ["SOURCE", "STATE_FILE", "Terraform", "has_state", "managed_addresses", "tainted_addresses"]

SOURCE = "stoneware.local/stoneware/stoneware"  # address of our provider in `required_providers`
PLAN_FILE = "stoneware.tfplan"
_SLOW = ("apply", "destroy")  # commands that tell what they do meanwhile
_SOCKET = "provider.sock"
_SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes

# A third of Terraform's time went into collecting its garbage. It takes 200 MiB instead of 118 now.
# Not where a provider of others is a process that would inherit this.
_LITTLE_COLLECTING = {"GOGC": "1000", "GOMEMLIMIT": "512MiB"}

OnProgress = Callable[[Progress], None]


class Terraform:
    """Terraform on one directory; use it in a `with` block, so that its worker ends.

    `provider` is served from this process. `verbose` gets Terraform's own output line by line. `binary`
    (default: the environment variable STONEWARE_TERRAFORM) is a terraform or tofu executable to use instead
    of the library. `environment` is added to the little that Terraform gets of ours. `lock_timeout` is in
    seconds; None: the caller sees to it that nothing else works on the state, which Terraform does not lock.
    `state` reads the state where that is not in the directory. Without a provider of ours an apply that makes
    something is not interrupted, for which `tell` gets the words: a Ctrl-C is raised when it has ended. All
    methods raise TerraformError for what Terraform refuses, MachineError where it takes too long, and
    HostError where it cannot run.
    """

    def __init__(
        self,
        directory: Path,
        *,
        provider: Provider | None = None,
        verbose: Callable[[str], None] | None = None,
        binary: Path | None = None,
        environment: Mapping[str, str] | None = None,
        parallelism: int = 10,
        lock_timeout: float | None = 0,
        state: Callable[[], bytes] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self._provider = provider
        self._verbose = verbose
        self._tell = tell or (lambda _: None)
        self._engine = _engine(binary)
        self._scratch = contextlib.ExitStack()
        self._runtime = self._runtime_directory() if provider else self.directory
        self._environment = self._make_environment(environment or {})
        self._common = ("-no-color", "-input=false")
        # Without: the caller's lock is the one that Terraform would take.
        self._locking = (
            "-lock=false" if lock_timeout is None else f"-lock-timeout={round(lock_timeout * 1000)}ms",
        )
        self._locks = lock_timeout is not None
        self._read_state = state or partial(state_in, self.directory)
        self._parallelism = (f"-parallelism={parallelism}",)
        self._serving = False
        self._busy = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self) -> None:
        """Start loading Terraform, which does so in a process of its own."""
        self._engine.prepare(self._environment)

    def prepare(self) -> None:
        """Start loading Terraform and load the provider ahead of the first command."""
        self.load()
        if self._provider and not self._serving:
            self._runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._serving = True
            self._provider.serve(self._runtime / _SOCKET)

    def close(self) -> None:
        """End Terraform's worker and the provider's server. The directory and its state stay."""
        self._engine.close()
        if self._provider and self._serving:
            self._provider.close()
            (self._runtime / _SOCKET).unlink(missing_ok=True)
            self._serving = False
        self._scratch.close()

    def _runtime_directory(self) -> Path:
        """Return where the provider's socket goes: the directory, unless its path is too long for one."""
        if len(os.fsencode(self.directory / _SOCKET)) <= _SOCKET_PATH_LIMIT:
            return self.directory
        return self._scratch.enter_context(scratch_directory("stoneware-socket-"))

    def plan(
        self,
        *,
        destroy: bool = False,
        refresh_only: bool = False,
        refresh: bool = True,
        replace: Sequence[str] = (),
        variables: Path | None = None,
        imports: Mapping[str, str] | None = None,
    ) -> Plan:
        """Compare the configuration with what is, and save what would be done.

        Without `refresh` it is compared with the state alone. A file of `variables` takes the place of those
        of the configuration. `imports` maps addresses to the ids of objects that exist: those that
        the state lacks are taken into it by the plan's apply.
        """
        file = self.directory / PLAN_FILE
        options = [*(["-destroy"] if destroy else []), *(["-refresh-only"] if refresh_only else [])]
        options += [] if refresh else ["-refresh=false"]
        options += [f"-replace={address}" for address in replace]
        options += [f"-var-file={variables}"] if variables else []
        done = self._command(
            "plan the changes",
            ["plan", "-json", f"-out={file}", *self._common, *self._locking, *self._parallelism, *options],
            quiet=True,
            imports=self._lacking(imports or {}),
        )
        # `plan -json` tells events; as data the plan is in the file alone.
        shown = self._command("read the plan", ["show", "-json", str(file)], quiet=True)
        if self._verbose:
            self._command("show the plan", ["show", "-no-color", str(file)])
        warnings = results.diagnostics(done.stdout, "")
        with results.understood("its plan"):
            return results.parse_plan(results.document(shown.stdout), file, warnings)

    def apply(
        self,
        plan: Plan | None = None,
        *,
        progress: OnProgress | None = None,
        parallelism: int | None = None,
    ) -> Applied:
        """Do what a plan says, or plan and do it in one go; `progress` is told of each resource.

        `parallelism` takes the place of the one that all commands have.
        """
        if plan is None and self._verbose:
            plan = self.plan()  # so that the plan is shown as Terraform shows it
        target = [str(plan.file)] if plan else ["-auto-approve"]
        at_once = self._parallelism if parallelism is None else (f"-parallelism={parallelism}",)
        argv = ["apply", "-json", *self._common, *self._locking, *at_once, *target]
        try:
            # What is removed stays in the state until it is gone: only what is made can be lost.
            makes = plan is None or any("create" in change.actions for change in plan.changes)
            count = len(plan.changes) if plan else self._known()
            done = self._command("apply the changes", argv, progress=progress, held=makes, resources=count)
        finally:
            # It holds what the configuration does, and fits no state but the one before.
            if plan:
                plan.file.unlink(missing_ok=True)
        return results.parse_applied(done.stdout)

    def destroy(
        self, *, adopt: Mapping[str, str] | None = None, progress: OnProgress | None = None
    ) -> Applied:
        """Destroy everything in the state.

        `adopt` maps addresses to the ids of objects that exist, and that the state may lack because a kill
        came between their creation and the writing of the state: they are imported first.
        """
        self.adopt(adopt or {})
        done = self._command(
            "destroy what it created",
            ["destroy", "-json", "-auto-approve", *self._common, *self._locking, *self._parallelism],
            progress=progress,
            resources=self._known(),
        )
        return results.parse_applied(done.stdout)

    def _known(self) -> int:
        return len(addresses_in(self._read_state()))

    def adopt(self, objects: Mapping[str, str]) -> tuple[str, ...]:
        """Import those objects (address to id) that the state lacks, and return their addresses."""
        missing = self._lacking(objects)
        for address, identity in missing.items():
            self.import_(address, identity)
        return tuple(missing)

    def _lacking(self, objects: Mapping[str, str]) -> dict[str, str]:
        """Return those objects (address to id) that the state lacks."""
        known = addresses_in(self._read_state()) if objects else frozenset()
        return {address: identity for address, identity in objects.items() if address not in known}

    def import_(self, address: str, identity: str) -> None:
        """Take an existing object into the state."""
        self._command(f"import {identity}", ["import", *self._common, *self._locking, address, identity])

    def show(self, plan: Plan) -> str:
        """Return a plan as Terraform shows it to people, sensitive values masked."""
        return self._command("show the plan", ["show", "-no-color", str(plan.file)], quiet=True).stdout

    def state(self) -> State:
        """Return what Terraform knows to exist."""
        if not addresses_in(self._read_state()):
            return State()
        done = self._command("read the state", ["show", "-json"], quiet=True)
        with results.understood("its state"):
            return results.parse_state(results.document(done.stdout))

    def _command(
        self,
        what: str,
        argv: Sequence[str],
        *,
        quiet: bool = False,
        progress: OnProgress | None = None,
        held: bool = False,
        resources: int = 0,
        imports: Mapping[str, str] | None = None,
    ) -> Output:
        under_way = UnderWay(progress)
        listener = _listener(None if quiet else self._verbose, under_way if argv[0] in _SLOW else None)
        limit = time_limit(resources)
        patience = Patience(limit, held and self._provider is None, self._locks, self._tell)
        # Without any: those that a killed command left are no business of this one.
        with import_blocks(self.directory, imports or {}):
            done, failures = self._run_set_up(argv, listener, patience)
        if done.late:
            raise late(what, limit, self.directory, under_way.addresses)
        if done.code != 0:
            found = results.diagnostics(done.stdout, done.stderr)
            cause = failures[0] if len(failures) == 1 else None
            raise TerraformError(what, found, tuple(failures)) from cause
        return done

    def _run_set_up(
        self, argv: Sequence[str], listener: Callable[[str], None] | None, patience: Patience
    ) -> tuple[Output, list[StonewareError]]:
        """Run a command, again after an `init` where that is what was missing."""
        done, failures = self._run(argv, listener, patience)
        if done.code != 0 and not self._provider and _uninstalled(done):
            # Only now: a provider that is there, or that the user's configuration names, needs none.
            done, _ = self._run(["init", "-reconfigure", *self._common], listener, patience)
            done, failures = (done, []) if done.code else self._run(argv, listener, patience)
        return done, failures

    def _run(
        self, argv: Sequence[str], listener: Callable[[str], None] | None, patience: Patience
    ) -> tuple[Output, list[StonewareError]]:
        with self._busy:
            self.prepare()
            argv = [f"-chdir={self.directory}", *argv]
            done = self._engine.run(argv, self._environment, listener, patience)
            return done, self._provider.take_failures() if self._provider else []

    def _make_environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        ours = {
            "CHECKPOINT_DISABLE": "1",  # no calls home
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_CONFIG_FILE": os.devnull,  # a user's mirrors and overrides do not concern our modules
        }
        for name in ("TF_LOG", "TF_LOG_PATH"):
            if name in os.environ:
                ours[name] = os.environ[name]
        if self._provider:
            ours |= _LITTLE_COLLECTING
            ours["TF_REATTACH_PROVIDERS"] = _reattach(self._provider.source, self._runtime / _SOCKET)
        return tool_environment({**ours, **extra})


def _uninstalled(done: Output) -> bool:
    """Say whether a command failed because the provider, or the state's place, is not set up yet."""
    said = results.diagnostics(done.stdout, done.stderr)
    return any("terraform init" in f"{it.summary}\n{it.detail}" for it in said if it.severity == "error")


class UnderWay:
    """What Terraform has begun and not ended, for the words about a command whose time is over."""

    def __init__(self, progress: OnProgress | None) -> None:
        self.addresses: dict[str, str] = {}  # to the action
        self._progress = progress

    def __call__(self, progress: Progress) -> None:
        """Take one event, and pass it on."""
        if progress.status == "done":
            self.addresses.pop(progress.address, None)
        else:  # a failure as well: one that is interrupted fails
            self.addresses[progress.address] = progress.action
        if self._progress is not None:
            self._progress(progress)


def _listener(
    verbose: Callable[[str], None] | None, progress: OnProgress | None
) -> Callable[[str], None] | None:
    if verbose is None and progress is None:
        return None

    def listen(line: str) -> None:
        if verbose is not None:
            verbose(results.message(line))
        event = results.parse_progress(line) if progress is not None else None
        if progress is not None and event is not None:
            progress(event)

    return listen


def _reattach(source: str, socket: Path) -> str:
    address = {"Network": "unix", "String": str(socket)}
    # `Test`: at its end Terraform leaves this process alone, which it did not start.
    config = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": address}
    return json.dumps({source: config})


def _engine(binary: Path | None) -> Engine:
    chosen = binary or os.environ.get("STONEWARE_TERRAFORM") or None
    if chosen is None:
        return LibraryEngine()
    found = shutil.which(chosen)
    if found is None:
        raise HostError(
            f"there is no Terraform executable {chosen}",
            details="STONEWARE_TERRAFORM names it",
            resolution="unset STONEWARE_TERRAFORM    # uses the Terraform that comes with stoneware",
        )
    return BinaryEngine(Path(found).resolve())
