"""Which variables of an image get their values from a machine's secrets, as the machine itself does it.

`guest/merge.awk` has the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stoneware.config.secrets import Secret
from stoneware.config.values import BUILTINS


def secret_targets(contract: Mapping[str, Any], targets: Iterable[str]) -> dict[str, str]:
    """Return for each variable that the schema marks secret, and a secret is for, the target of that secret.

    A target (a file below /run/secrets) is for the variable of its name, else for that of its name in upper
    case with `_` for each `-` and `.`: `db-password` is for DB_PASSWORD.
    """
    known = list(targets)
    # Of several secrets for one variable the first by name counts; before all, the one of the exact name.
    by_variable = {variable_of(target): target for target in sorted(known, reverse=True)}
    by_variable |= {target: target for target in known}
    return {
        name: by_variable[name]
        for name, entry in contract["variables"].items()
        if entry["secret"] and name in by_variable and name not in BUILTINS
    }


def secret_values(
    contract: Mapping[str, Any], secrets: Mapping[str, Secret | None]
) -> dict[str, Secret | None]:
    """Return the values that variables get from secrets (by target), None where a value is not known here.

    One newline at the end of a secret is no part of the variable's value: editors and `echo` put it there.
    """
    values: dict[str, Secret | None] = {}
    for name, target in secret_targets(contract, secrets).items():
        secret = secrets[target]
        values[name] = None if secret is None else Secret(secret.reveal().removesuffix("\n"))
    return values


def variable_of(target: str) -> str:
    """Return the variable that a secret is for by convention: DB_PASSWORD for db-password."""
    return re.sub(r"[-.]", "_", target.translate(_UPPER))


# As POSIX's tr does it in the C locale: other letters have no upper case there.
_UPPER = {ord(lower): ord(lower) - 32 for lower in "abcdefghijklmnopqrstuvwxyz"}
