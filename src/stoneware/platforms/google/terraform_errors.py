"""What Google has refused, out of the words that hashicorp/google makes of it: Terraform has no codes."""

from __future__ import annotations

import re

from stoneware.errors import StonewareError
from stoneware.platforms.google import errors

QUOTA = "Quota '"
STOCKOUT = "does not have enough resources available"
_WHAT = "do what was planned"
_STATUS = re.compile(r"\bgoogleapi: (?:Error|got HTTP response code) ([1-5][0-9]{2})\b")
# `…, forbidden` at the end of a line, of older APIs; `reason: …` of those that have details.
_REASON = re.compile(r", ([a-zA-Z]+)$|\"?reason\"?: \"?([A-Za-z_]+)\"?", re.MULTILINE)
_LOGIN = re.compile(
    r"could not find default credentials|invalid_grant|\boauth2: |Unable to obtain access token"
)


def refusal(said: str, project: str) -> StonewareError | None:
    """Return the error that Google's words in Terraform's are, None where there are none that are known."""
    # Operations that fail have these alone, and no status.
    for words, reason in ((STOCKOUT, "ZONE_RESOURCE_POOL_EXHAUSTED"), (QUOTA, "quotaExceeded")):
        if words in said:
            return errors.translated(_WHAT, 0, [reason], said, project)
    if found := _STATUS.search(said):
        reasons = [old or new for old, new in _REASON.findall(said)]
        return errors.translated(_WHAT, int(found[1]), reasons, said, project)
    return errors.no_credentials(_WHAT, said) if _LOGIN.search(said) else None
