"""COPY and ADD: their sources and destination, expanded, and the flags that go with them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from urllib.parse import urlsplit

from stoneware.machinefile import gopath, values
from stoneware.machinefile.flags import FlagError
from stoneware.machinefile.lex import Lexer, LexError
from stoneware.machinefile.parser import HeredocWord, heredoc_word
from stoneware.machinefile.recipe import CopyStep, Heredoc
from stoneware.machinefile.state import Globals, StageState
from stoneware.machinefile.syntax import Checked

_RAW = Lexer(skip_quotes=True)  # here-documents know no quotes, and their escape is always the backslash


def copy_step(
    state: StageState, checked: Checked, settings: Globals, find: Callable[[str, int], str]
) -> CopyStep:
    """Return the step of a COPY or ADD instruction. Raises FlagError and LexError."""
    source, flags = checked.source, checked.flags
    expand = state.expand(settings.lexer)
    add = source.keyword == "ADD"
    words = source.words
    sources = tuple(expand(word) for word in words[:-1] if _opened(word) is None)
    step = CopyStep(
        index=len(state.steps) + 1,
        stage=state.name,
        line=source.line,
        text="",
        add=add,
        sources=sources,
        heredocs=_heredocs(state, checked),
        destination=_destination(expand(words[-1]), state.config.workdir),
        from_stage=_from(checked, settings, find),
        chown=expand(flags.get("chown")),
        chmod=expand(flags.get("chmod")),
        excludes=flags.many.get("exclude", ()),
        parents=flags.switches.get("parents", False),
        link=flags.switches.get("link", False),
        checksum=expand(flags.get("checksum")),
        unpack=flags.switches.get("unpack"),
    )
    _check(step)
    # The text shows the flags as they were expanded, so it is made of the finished step.
    return CopyStep(**{**vars(step), "text": _text(step)})


def _opened(word: str) -> HeredocWord | None:
    try:
        return heredoc_word(word)
    except LexError:
        return None


def _heredocs(state: StageState, checked: Checked) -> tuple[Heredoc, ...]:
    """Return the here-documents in the order of the words; of two of one name the last one's text counts."""
    bodies = {body.name: body for body in checked.source.heredocs}
    found: list[Heredoc] = []
    for word in checked.source.words[:-1]:
        opened = _opened(word)
        if opened is None:
            continue
        body = bodies.get(opened.name)
        text = body.text if body else ""
        found.append(
            Heredoc(
                opened.name,
                _RAW.word(text, state.scope, state.unset) if opened.expand else text,
                opened.expand,
            )
        )
    return tuple(found)


def _destination(path: str, workdir: str) -> str:
    """Return the destination made absolute and clean; a slash (or `/.`) at its end means a directory."""
    directory = path in {"", "."} or path.endswith(("/", "/."))
    absolute = path if path.startswith("/") else gopath.join("/", workdir, path)
    result = gopath.clean(absolute)
    return result + "/" if directory and result != "/" else result


def _from(checked: Checked, settings: Globals, find: Callable[[str, int], str]) -> str:
    name = checked.flags.get("from")
    if not name:
        return ""
    if settings.lexer.word(name, {}) != name:
        raise FlagError(
            "variable expansion is not supported for --from",
            "Define a stage with FROM and a global ARG, and name that stage.",
        )
    return find(name, checked.source.line)


def is_url(source: str) -> bool:
    """Return whether a source of ADD is fetched over HTTP."""
    return source.startswith(("http://", "https://"))


def _is_git(source: str) -> bool:
    if source.startswith(("git://", "ssh://", "git@")):
        return True
    return is_url(source) and urlsplit(source).path.removesuffix("/").endswith(".git")


def _check(step: CopyStep) -> None:
    word = "ADD" if step.add else "COPY"
    for source in step.sources:
        if _is_git(source):
            raise FlagError(
                f"{word} from a Git repository is not supported: {source}",
                "Clone it in a RUN step at a fixed commit, or ADD an archive of that commit with --checksum.",
            )
        if is_url(source) and not step.add:
            raise FlagError(f"source can't be a URL for COPY: {source}", "Use ADD, with --checksum=sha256:….")
        if is_url(source) and step.destination.endswith("/") and not url_filename(source):
            raise FlagError(
                f"cannot determine a file name from the URL: {source}",
                f"Say what the file is to be called: ADD {source} {step.destination}NAME",
            )
    if step.chown:
        values.check_owner(step.chown)
    if step.chmod:
        values.check_mode(step.chmod)
    if step.checksum:
        if len(step.sources) != 1 or step.heredocs:
            raise FlagError("--checksum can't be specified for multiple sources", "Write one ADD per source.")
        if not is_url(step.sources[0]):
            raise FlagError(
                "--checksum requires an HTTP(S) source", "Remove it: files are compared by content."
            )
        values.check_checksum(step.checksum)


def url_filename(url: str) -> str:
    """Return the name a downloaded file gets in a directory, or nothing where the URL has none."""
    base = posixpath.basename(urlsplit(url).path.rstrip("/"))
    return base if base not in {".", "/"} else ""


def _text(step: CopyStep) -> str:
    flags = {"from": step.from_stage, "chown": step.chown, "chmod": step.chmod, "checksum": step.checksum}
    words = ["ADD" if step.add else "COPY"]
    words += ["--parents"] * step.parents + ["--link"] * step.link
    words += [f"--{name}={value}" for name, value in flags.items() if value]
    words += [f"--exclude={pattern}" for pattern in step.excludes]
    words += [*step.sources, *(f"<<{doc.name}" for doc in step.heredocs), step.destination]
    return " ".join(words)
