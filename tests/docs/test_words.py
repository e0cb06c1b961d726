"""Messages and pages use the words of docs/glossary.md, not those that it has replaced."""

import ast
import re
import tokenize
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A pattern, and what to write instead. Each stood for something that the field has a term for.
REPLACED = {
    r"anew": "again, recreate, restart",
    r"mend(s|ed|ing)?": "fix",
    r"(?<!as )well(?!-known)": "healthy, in order",
    r"ill": "unhealthy",
    r"doomed": "to be removed",
    r"foresee\w*": "preview, predict",
    r"(?<!half )half-made": "incomplete",
    r"whoever": "the actor: the user, the caller, a command",
    r"nobody(?! \(65534\))": "what does not do it: no process, no machine, no command",
    r"beside": "next to",
}
_WORDS = re.compile("|".join(rf"\b({word})\b" for word in REPLACED), re.IGNORECASE)
_PAGES = (*ROOT.glob("docs/*.md"), *ROOT.glob("*.md"))


def messages(source: str) -> list[tuple[int, str]]:
    """Return the string literals that hold a sentence, with their lines; docstrings are not shown."""
    hidden = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    strings = (it for it in tokenize.generate_tokens(StringIO(source).readline) if it.type == tokenize.STRING)
    return [(it.start[0], it.string) for it in strings if it.start[0] not in hidden and " " in it.string]


def found(text: str) -> list[str]:
    return [match[0] for match in _WORDS.finditer(text)]


def test_no_message_has_a_replaced_word() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {words}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        if found(source := path.read_text())  # most have none anywhere, and need not be taken apart
        for line, text in messages(source)
        if (words := found(text))
    ]
    assert wrong == []


def test_no_comment_has_the_words_that_are_never_right() -> None:
    words = re.compile(r"\b(anew|mend(s|ed|ing)?)\b", re.IGNORECASE)
    places = [
        ROOT / "Makefile",
        *(p for name in ("src", "scripts", "examples") for p in (ROOT / name).rglob("*")),
    ]
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in places
        if path.is_file() and path.suffix not in {".pyc", ".so", ".jar", ".jsa"}
        for match in words.finditer(path.read_text(errors="replace"))
    ]
    assert wrong == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_a_replaced_word(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), 1)
    assert [f"{number}: {words}" for number, line in lines if (words := found(line))] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mend the step, or bake anew", ["mend", "anew"]),
        ("Ill machines go first, the others are well", ["Ill", "well"]),
        ("as well as the volumes; a well-known port; amend, until, still", []),
    ],
)
def test_the_words_are_found(text: str, words: list[str]) -> None:
    assert found(text) == words


def test_only_sentences_count() -> None:
    source = 'def f():\n    """Do it anew."""\n    raise E("mend it", key["well"])\n'
    assert messages(source) == [(3, '"mend it"')]
