"""The tokens that were issued, by their digests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from stoneware.emulator.errors import ApiError
from stoneware.emulator.store import Record, Store
from stoneware.files import sha256_hex

LIFETIME = 3600  # seconds, unless the client asks for less or more
ANYBODY = "emulator@localhost"  # whom the tokens are of that were not issued here
_MOST = 10_000  # that are known at a time; any other is accepted


class Tokens:
    """The tokens of a store. `clock`: seconds since 1970."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock

    def issue(self, who: str, scopes: str, lifetime: int = LIFETIME, *, instance: str = "") -> str:
        """Return a new token of somebody, for scopes between blanks; of an instance, if its key is given."""
        token = f"ya29.{secrets.token_urlsafe(48)}"
        expires = self.clock() + lifetime
        with self.store.transaction():
            if self.store.count("tokens") >= _MOST:
                self._make_room()
            record = {"email": who, "scope": scopes, "expires": expires}
            self.store.put(_key(token), record | ({"instance": instance} if instance else {}))
        return token

    def _make_room(self) -> None:
        """Forget the half of all tokens that expires first."""
        # So many that not each new token has to look at all of them.
        known = sorted((record["expires"], key) for key, record in self.store.under("tokens"))
        for _, key in known[: len(known) // 2]:
            self.store.remove(key)

    def forget(self, token: str) -> None:
        """Forget a token, if it is known."""
        with self.store.transaction():
            if self.store.get(_key(token)) is not None:
                self.store.remove(_key(token))

    def known(self, token: str) -> Record | None:
        """Return what a token is for, None for one that was not issued here."""
        return self.store.get(_key(token))

    def check(self, token: str) -> None:
        """Raise ApiError (401) for a token that was issued here and has expired; any other is accepted."""
        record = self.known(token) if token else None
        if record is not None and record["expires"] <= self.clock():
            raise ApiError(
                401,
                "authError",
                "Request had invalid authentication credentials: the access token has expired.",
                headers={
                    "WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
                },
            )


def _key(token: str) -> str:
    # By its digest: no token that is of use can be read in the state.
    return f"tokens/{sha256_hex(token.encode(errors='replace'))}"
