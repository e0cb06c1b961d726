"""The tokens of instances: of one account and its scopes, for one instance, renewed before they end."""

from __future__ import annotations

from typing import Any

from stoneware.emulator.store import Record
from stoneware.emulator.tokens.records import Tokens

INSTANCE = "instance"  # of a token's record: the key of the instance that it is for
_RENEWED = 900.0  # seconds before its end from which on a token is replaced


class InstanceTokens:
    """The tokens that the metadata servers of running instances hand out, by the instances' keys.

    They are kept in memory only, their digests with all other tokens': the next emulator issues new ones.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._kept: dict[str, tuple[Record, str, str]] = {}  # in a transaction: token, account and scopes

    def of(self, key: str, instance: Record) -> dict[str, Any] | None:
        """Return the token of an instance and when it ends, None for one without a service account."""
        accounts = instance.get("serviceAccounts")
        if not accounts:
            return None
        email, scopes = accounts[0]["email"], " ".join(accounts[0].get("scopes", []))
        # The store's lock guards `_kept` as well, for jobs ask in threads of their own.
        with self._tokens.store.transaction():
            if self._is_old(key) or self._kept[key][1:] != (email, scopes):
                self._revoke(key)
                text = self._tokens.issue(email, scopes, instance=key)
                known = self._tokens.known(text) or {}
                self._kept[key] = ({"access_token": text, "expires": known["expires"]}, email, scopes)
            return dict(self._kept[key][0])

    def is_old(self, key: str) -> bool:
        """Say whether an instance that has a service account is to get another token."""
        with self._tokens.store.transaction():
            return self._is_old(key)

    def _is_old(self, key: str) -> bool:
        if key not in self._kept:
            return True
        token = self._kept[key][0]
        soon = token["expires"] - _RENEWED <= self._tokens.clock()
        # It may be one of those that were forgotten for room.
        return soon or self._tokens.known(token["access_token"]) is None

    def revoke(self, key: str) -> None:
        """Forget the token of an instance that has ended; nobody can use it any more."""
        with self._tokens.store.transaction():
            self._revoke(key)

    def _revoke(self, key: str) -> None:
        if kept := self._kept.pop(key, None):
            self._tokens.forget(kept[0]["access_token"])
