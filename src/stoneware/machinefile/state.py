"""What a stage knows while its instructions are read in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace

from stoneware.dataclass import dataclass
from stoneware.machinefile.flags import nearest
from stoneware.machinefile.lex import Lexer
from stoneware.machinefile.recipe import HealthCheck, ImageConfig, Step

# Docker's, for images that set none.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Globals:
    """What holds for the whole file: build arguments, ARGs before the first FROM, and platform ARGs."""

    build_args: Mapping[str, str]
    values: Mapping[str, str]
    lexer: Lexer
    architecture: str

    @property
    def proxies(self) -> dict[str, str]:
        """Return the proxy variables RUN gets without their being declared, in both spellings."""
        found: dict[str, str] = {}
        for name, value in sorted(self.build_args.items()):
            if name.upper() in PROXIES and value:
                found[name.upper()] = value  # some programs read the one, some the other
                found[name.lower()] = value
        return found


@dataclass(frozen=True)
class Hollow:
    """A variable that the instruction at `line` expands and that nothing sets; `near` is one that is set."""

    line: int
    name: str
    near: str


@dataclass
class StageState:
    """The one mutable object of a stage: its variables in scope, its configuration, and its steps so far.

    `scope` holds ENV and ARG values together, as later lines win over earlier ones of either kind.
    """

    name: str
    scope: dict[str, str] = field(default_factory=dict)
    args: set[str] = field(default_factory=set)  # names in scope that ARG set last
    config: ImageConfig = field(default_factory=ImageConfig)
    shell_check: str | None = None  # a health check in shell form waits for the stage's last SHELL
    cmd_given: bool = False
    steps: list[Step] = field(default_factory=list)
    history: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)  # by ARG, with a value or without
    unset: set[str] = field(default_factory=set)  # what the instruction at hand expands and nothing sets
    hollow: list[Hollow] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, config: ImageConfig, parent: StageState | None = None) -> StageState:
        """Return the state at a FROM. ARGs of a parent stage stay visible; its ENV is set again over them."""
        env = dict(config.env)
        # ENV PATH=$PATH:/opt/bin has to work on a base that says nothing of PATH.
        if "PATH" not in env:
            config = replace(config, env=(*config.env, ("PATH", DEFAULT_PATH)))
            env = dict(config.env)
        scope = {**(parent.scope if parent else {}), **env}
        args = {name for name in (parent.args if parent else ()) if name not in env}
        declared = set(parent.declared) if parent else set()
        return cls(name, scope, args, config, parent.shell_check if parent else None, declared=declared)

    def expand(self, lexer: Lexer) -> Callable[[str], str]:
        """Return the function that expands one word with the variables in scope now."""
        scope = dict(self.scope)  # as it is now: an instruction does not see what it sets itself
        return lambda word: lexer.word(word, scope, self.unset)

    def note_unset(self, line: int) -> None:
        """Keep what the instruction at a line has expanded and nothing sets."""
        self.hollow += (
            Hollow(line, name, nearest(name, (*self.scope, *self.declared)))
            for name in sorted(self.unset - self.declared)  # a bare ARG may be empty on purpose
        )
        self.unset.clear()

    def set_env(self, pairs: list[tuple[str, str]]) -> None:
        """Set environment variables of the image and of the following steps."""
        env = dict(self.config.env)
        for name, value in pairs:
            env[name] = value
            self.scope[name] = value
            self.args.discard(name)
        self.config = replace(self.config, env=tuple(env.items()))

    def set_arg(self, name: str, value: str) -> None:
        """Set a build argument for the following steps; the image does not get it."""
        self.scope[name] = value
        self.args.add(name)

    def finish(self) -> ImageConfig:
        """Return the configuration the stage ends with."""
        if self.shell_check is None or self.config.healthcheck is None:
            return self.config
        test = (*self.config.shell, self.shell_check)
        return replace(self.config, healthcheck=replace(self.config.healthcheck, test=test))

    def set_health(self, check: HealthCheck, shell_text: str | None) -> None:
        """Set the health check; `shell_text` is the command of the shell form."""
        self.config = replace(self.config, healthcheck=check)
        self.shell_check = shell_text
