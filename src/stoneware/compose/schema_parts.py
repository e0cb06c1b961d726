"""What the models of a cluster file share: their base, one of some words, pairs and labels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from stoneware.compose.values import Text, expected, wrong

Pairs = dict[str, Text | None]


def only(*words: str, **instead: str) -> Any:
    """Return a validator for one of some words; `instead` has hints for words that are refused."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value in words:
            return value
        known = " or ".join(words)
        raise expected(known, value, instead.get(value, "") if isinstance(value, str) else "")

    return BeforeValidator(check)


def _own_labels(labels: Pairs) -> Pairs:
    for key in labels:
        if key.startswith("stoneware."):  # one of them would make a machine that of another cluster
            raise wrong(f"the label {key!r} is one of Stoneware's own", "Give it another name.")
    return labels


Labels = Annotated[Pairs, AfterValidator(_own_labels)]


class Part(BaseModel):
    """A mapping of the file: known keys, extensions (`x-…`), and nothing else."""

    # Deferred: each model is built inside those that hold it, and not a second time by itself.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if not key.startswith("x-")}
        return data
