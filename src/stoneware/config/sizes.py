"""How much a program in a machine can be given as its arguments and environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stoneware.config.encoding import to_bytes

# MAX_ARG_STRLEN, with the zero at its end: 32 pages of 4 KiB.
MOST_WORD = 32 * 4096
# Of a service Linux would take a quarter of its stack's limit, 2 MiB. But `exec` hands the same variables in
# through a pipe, which holds 1 MiB, and a command has words of its own.
MOST_TOGETHER = (1 << 20) - (128 << 10)
_POINTER = 8  # bytes for each, besides its text


def word_problem(what: str, text: str) -> str:
    """Say why a text cannot be one argument or variable of a program; nothing if it can."""
    size = len(to_bytes(text)) + 1
    if size <= MOST_WORD:
        return ""
    return (
        f"{what} has {size - 1} bytes, and Linux gives a program {MOST_WORD - 1} in one argument or variable "
        "at most: put it into a file of the image, or make it a secret"
    )


def environment_problems(values: Mapping[str, str]) -> Iterator[str]:
    """Yield why a service cannot have an environment, in sentences; no value is quoted."""
    whole = 0
    for name, value in values.items():
        whole += len(to_bytes(name)) + len(to_bytes(value)) + 2 + _POINTER
        if problem := word_problem(name, f"{name}={value}"):
            yield problem
    if whole > MOST_TOGETHER:
        yield (
            f"all variables together have {whole} bytes, and a machine takes {MOST_TOGETHER} at most: "
            "put the large ones into files of the image, or make them secrets"
        )
