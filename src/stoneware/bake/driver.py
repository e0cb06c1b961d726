"""Driving the build agent: follow its reports, checkpoint after each step, hand it the manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field

from stoneware.bake.console import CheckLine
from stoneware.bake.console_events import ConsoleEvents
from stoneware.bake.events import (
    Reporter,
    StepFailed,
    StepFinished,
    StepStarted,
)
from stoneware.bake.pace import Pace, pace_of
from stoneware.bake.plan import PlannedStep
from stoneware.bake.silence import HEARD, Pulse
from stoneware.bake.step_errors import checks_error, not_kept_error, removed_error, step_error
from stoneware.bake.step_states import has_failed, is_over
from stoneware.dataclass import dataclass
from stoneware.errors import BuildError, HostError, InputError, MachineError
from stoneware.guest.reports import ALIVE, BUILD, BuildReport, InvalidReportError, build_report_of
from stoneware.machinefile.recipe import Step
from stoneware.model import guest_protocol
from stoneware.model.machine import Phase
from stoneware.platforms.builders import Builder
from stoneware.platforms.waiting import HelperChecks

TIMED_OUT = 124  # the exit code of a step that took too long, as that of timeout(1)


@dataclass
class Run:
    """The run state of one builder."""

    token: str
    offset: int = 0
    looked: float = 0.0
    heard: float = 0.0  # when the builder last said or reported something
    report: BuildReport | None = None
    boot: str = ""  # the start of the agent whose reports these are
    current: int = 0  # the step that is wanted now; 0 outside of all
    started: float = 0.0
    seconds: dict[int, float] = field(default_factory=dict)
    quiet: bool = False  # sealed, and nothing runs in it that wants to be stopped kindly


class Driver:
    """Follows one builder from its boot to the end of its steps."""

    def __init__(
        self,
        builder: Builder,
        reporter: Reporter,
        *,
        token: str,
        stage: str,
        steps: Mapping[int, PlannedStep],
        secrets: Mapping[int, tuple[str, ...]] | None = None,
        last: int = 0,
        step_timeout: float | None = None,
        told: Sequence[str] = (),
        checkpoints: bool = True,
        lists_from: str = "",
        pace: Pace | None = None,
    ) -> None:
        """Follow a builder, which is saved after each step where `checkpoints` says so.

        `secrets` are the served names that a step needs; those of the seal stand behind the `last` step.
        `told` are the warnings of the Machinefile's text. `lists_from` is the source by whose files those of
        the builder are listed; where there is none, its agent walks over all of them.
        """
        self.builder = builder
        self._lists_from = lists_from
        self._checkpoints = checkpoints
        self._reporter = reporter
        self._stage = stage
        self._steps = steps
        self._total = max(steps, default=0)
        self._console = ConsoleEvents(reporter, token=token, stage=stage, steps=steps, told=told)
        self._pace = pace or pace_of(builder)
        self._secrets = secrets or {}
        self._seal_number = last + 1
        self._step_timeout = step_timeout
        self._pulse = Pulse(self._pace.silence, self._pace.clock)
        # To create the machine, the platform has just checked all its helpers.
        self._helper_checks = HelperChecks(self._pace.clock)
        now = self._pace.clock()
        self.run = Run(token, looked=now, heard=now)

    def run_steps(self, on_failure: Callable[[Step], None]) -> dict[int, float]:
        """Follow the agent through all steps and return how long each took, in seconds.

        `on_failure` is called with the step that failed while the broken builder still runs.
        Raises BuildError for a failed step and for a builder that died or never reported.
        """
        self._await(lambda _: True)
        for number in sorted(self._steps):
            self._follow_step(number, on_failure)
        return self.run.seconds

    def hand_on(self, state: str) -> None:
        """Wait until the agent has handed out files of its stage (`handed`), or has nothing to do (`over`).

        Raises BuildError.
        """
        self.run.current = 0
        report = self._await(lambda r: r.state in (state, "over", "failed"))
        if report.state == "failed":
            raise self._dead(f"the stage {self._stage!r} cannot be handed on: {report.message}")

    def seal(self) -> list[CheckLine]:
        """Let the agent seal the machine and return the checks' results. Raises BuildError."""
        self.run.current = 0
        if not self._checkpoints:  # else it was said behind the last step
            self._tell({guest_protocol.ACCEPT: guest_protocol.TRUE})
        self._list_files()
        report = self._serve(self._seal_number, lambda r: r.state in ("sealed", "failed"))
        if report.state == "failed":
            raise self._seal_error(report)
        self._drain(lambda: True)
        self.run.quiet = report.message == "quiet"
        return self._console.checks

    def _list_files(self) -> None:
        """List the builder's files from outside when it asks for that, and say whether it was done."""
        if not self._lists_from:
            return
        report = self._await(lambda r: r.state in ("listing", "secrets", "sealed", "failed"))
        if report.state == "listing":
            listed = self.builder.list_files(self._lists_from)
            self._tell({guest_protocol.LISTED: guest_protocol.flag(listed)})

    def finish(self, manifest: bytes, *, env: str, contract: str) -> None:
        """Hand the agent the manifest, the config's defaults and its contract; wait until it has them."""
        changes = {
            guest_protocol.ENV: env,
            guest_protocol.CONTRACT: contract,
            guest_protocol.MANIFEST: manifest.decode(),
        }
        self._tell(changes)
        report = self._await(lambda r: r.state in ("finished", "failed"))
        if report.state == "failed":
            raise self._seal_error(report)

    def _follow_step(self, number: int, on_failure: Callable[[Step], None]) -> None:
        planned = self._steps[number]
        self.run.current = number
        # A fast step may be done before its start was seen.
        report = self._await(lambda r: r.step >= number or r.state == "failed")
        self._begin(number, planned)
        if not is_over(report, number):
            report = self._serve(number, lambda r: is_over(r, number))
        if report.state == "failed" and report.step < number:
            raise self._dead(f"the builder cannot begin: {report.message}")
        # Report and console come in ways of their own, so the step's last lines may be behind its report.
        self._drain(lambda: number in self._console.ended)
        seconds = self._pace.clock() - self.run.started
        if has_failed(report, number):
            self._reporter.emit(StepFailed(self._stage, number, seconds, report.exit_code))
            on_failure(planned.step)
            self._check_helpers()
            served = self._secrets.get(number, ())
            raise step_error(planned, report, self._console.tail, served, kept=self._checkpoints)
        if self._checkpoints:
            # The time is kept for plans to come; it is no part of the key.
            document = {**planned.document, "seconds": seconds}
            if number in self._console.left:
                document["left"] = self._console.left[number]
            try:
                # The agent goes on once the snapshot is taken, not only when the checkpoint is complete.
                self.builder.save_step(planned.key, document, taken=lambda: self._go(number))
            except MachineError as error:  # such as a filled subvolume, which snapshots leave out
                self._reporter.emit(StepFailed(self._stage, number, seconds, 1))
                on_failure(planned.step)
                raise not_kept_error(planned, error) from error
        self.run.seconds[number] = seconds
        self._reporter.emit(StepFinished(self._stage, number, seconds))
        self.run.current = 0

    def _go(self, number: int) -> None:
        """Let the agent go on behind a step. Behind the last one the builder may hand in its results."""
        changes = {guest_protocol.GO: str(number), guest_protocol.SERVING: ""}
        if number == self._seal_number - 1:
            changes[guest_protocol.ACCEPT] = guest_protocol.TRUE
        self._tell(changes)

    def _begin(self, number: int, planned: PlannedStep) -> None:
        self.run.started = self._pace.clock()
        step = planned.step
        self._reporter.emit(
            StepStarted(self._stage, number, self._total, step.line, step.text, planned.reason)
        )
        self._console.begin(number)

    def _serve(self, number: int, wanted: Callable[[BuildReport], bool]) -> BuildReport:
        """Await a report; on the way let the builder fetch, once, what secrets the step has."""
        names = self._secrets.get(number)
        if names:
            report = self._await(lambda r: wanted(r) or (r.state == "secrets" and r.step == number))
            if wanted(report):
                return report
            serving = " ".join([str(number), *names])
            # Only now is the secret served: no step before this one can have asked for it.
            self._tell({guest_protocol.SERVING: serving})
        return self._await(wanted)

    def _await(self, wanted: Callable[[BuildReport], bool]) -> BuildReport:
        deadline = self._pace.clock() + self._pace.boot_limit
        while True:
            report = self._report()
            if report is not None and wanted(report):
                return report
            said = self._read_console()
            # The limit is for the first report only: a step itself may take as long as it does.
            if report is None and self._pace.clock() > deadline:
                raise self._dead(
                    f"the builder did not report within {self._pace.boot_limit:g} s of its start"
                )
            self._check_alive()
            self._check_agent(report)
            self._pause(said or report != self.run.report)
            self.run.report = report

    def _pause(self, heard: bool) -> None:
        """Wait until the next look: for a fiftieth of the time in which the builder said nothing."""
        now = self._pace.clock()
        if heard:
            self.run.heard = now
        silent = (now - self.run.heard) / 50
        self._pace.sleep(min(max(self._pace.poll, silent), max(self._pace.poll, self._pace.longest_poll)))

    def _check_agent(self, report: BuildReport | None) -> None:
        """End a bake whose agent is gone, sends nothing or restarted, and a step that takes too long."""
        if report is not None and report.boot != self.run.boot:
            if self.run.boot:
                raise self._dead(f"the builder restarted{self._during()}")
            self.run.boot = report.boot
        if self.run.boot and self._fallen_silent():
            limit = self._pace.silence
            why = f"its agent sent no report for {limit:g} s: the agent was ended, or the network is gone"
            raise self._dead(f"the builder sends no reports{self._during()}", why)
        if self._step_timeout is not None and 0 < self.run.current == self._console.begun:
            seconds = self._pace.clock() - self.run.started
            if seconds > self._step_timeout:
                self._reporter.emit(StepFailed(self._stage, self.run.current, seconds, TIMED_OUT))
                raise self._dead(
                    f"step {self.run.current} of stage {self._stage!r} took longer than "
                    f"{self._step_timeout:g} s",
                    resolution="fix the step, or give it more time: --step-timeout",
                )

    def _fallen_silent(self) -> bool:
        """Say whether the builder is silent although its reports could be taken.

        They are written where we write what we tell it: a disk that is held up holds up both.
        """
        if self._pulse.silent():
            self._tell({HEARD: f"{self._pace.clock():.3f}"})
            self._report()
        return self._pulse.silent()

    def _during(self) -> str:
        """Return where in the bake we are, for what ends it there."""
        return f" during step {self.run.current} of stage {self._stage!r}" if self.run.current else ""

    def _report(self) -> BuildReport | None:
        """Return the agent's last report. Whatever else lies in its place counts as no report."""
        with self._present():
            reports = self.builder.reports()
        self._pulse.heard(reports.get(BUILD), reports.get(ALIVE))
        try:
            return build_report_of(reports, self.run.token)
        except InvalidReportError:
            return None

    def _tell(self, changes: Mapping[str, str]) -> None:
        with self._present():
            self.builder.tell(changes)

    @contextlib.contextmanager
    def _present(self) -> Iterator[None]:
        """Say plainly when the builder has been removed under our hands."""
        try:
            yield
        except InputError as error:
            if self.builder.observe() is not None:
                raise
            raise removed_error(self.builder.name, kept=self._checkpoints) from error

    def _is_being_removed(self) -> bool:
        """Say whether a stopped builder is being removed: a removal stops the machine first."""
        deadline = self._pace.clock() + self._pace.removal
        while self.builder.observe() is not None:
            if self._pace.clock() >= deadline:
                return False
            self._pace.sleep(self._pace.poll)
        return True

    def _check_alive(self) -> None:
        now = self._pace.clock()
        if now - self.run.looked >= self._pace.look:
            self.run.looked = now
            machine = self.builder.observe()
            if machine is None or machine.phase in (Phase.STOPPED, Phase.FAILED, Phase.DAMAGED):
                self._check_helpers()
                if self._is_being_removed():
                    raise removed_error(self.builder.name, kept=self._checkpoints)
                why = machine.error if machine else ""
                raise self._dead(f"the builder ended before its work was done{self._during()}", why)
        with self._located():
            self._helper_checks.check(self.builder)

    def _check_helpers(self) -> None:
        """Say that the disk is full, where it is, rather than what comes of that."""
        with self._located():
            self.builder.check_helpers()

    @contextlib.contextmanager
    def _located(self) -> Iterator[None]:
        """Add to an error of the host what the builder was at."""
        try:
            yield
        except HostError as error:
            if planned := self._steps.get(self.run.current):
                # The host's fault hits this step: its line of the Machinefile says how far the bake came.
                error.location = planned.location
                error.details = "\n".join(filter(None, [error.details, f"while {planned.step.text}"]))
            raise

    def _drain(self, done: Callable[[], bool]) -> None:
        """Read what the console still has to say, as long as it says something."""
        deadline = self._pace.clock() + self._pace.drain_limit
        self._read_console()
        while not done() and self._pace.clock() < deadline:
            self._pace.sleep(self._pace.poll)
            if self._read_console():
                deadline = self._pace.clock() + self._pace.drain_limit

    def _read_console(self) -> bool:
        with self._present():
            data, self.run.offset = self.builder.console(self.run.offset)
        if data:
            self._console.feed(data)
        return bool(data)

    def _seal_error(self, report: BuildReport) -> BuildError:
        self._check_helpers()
        self._drain(lambda: True)
        failed = [c for c in self._console.checks if c.outcome == "fail" and c.severity == "error"]
        if not failed:
            return self._dead(f"sealing the image failed: {report.message}")
        return checks_error(failed)

    def _dead(self, brief: str, why: str = "", resolution: str = "") -> BuildError:
        planned = self._steps.get(self.run.current)
        step = f"  {planned.step.line} | {planned.step.text}" if planned else ""
        self._read_console()
        console = "\n".join(f"  {line}" for line in self._console.last_lines())
        return BuildError(
            brief,
            details="\n".join(filter(None, [step, why, "last lines of its console:", console])),
            resolution=resolution or "bake again with --verbose; stoneware doctor checks this computer",
            location=planned.location if planned else "",
        )
