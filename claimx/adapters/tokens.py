"""The process's identity and its tokens: renewed in time, kept while the identity is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from claimx.adapters.identity import AGAIN_SECONDS, TokenCredential, token_of
from claimx.domain.errors import TokenRejected

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

log = structlog.get_logger(__name__)

FRESH_SECONDS = 600.0  # a token handed out lives at least this long, if its identity lets it
FRESH_SHARE = 0.5  # and of a shorter life at least this much is left


@dataclass(frozen=True, slots=True)
class Held:
    """A token, its end in epoch seconds, and what was left of its life when it came."""

    text: str
    ends: float
    life: float

    def left(self, now: float) -> float:
        """Return the seconds until it ends."""
        return self.ends - now

    @property
    def wanted(self) -> float:
        """How much must be left when it is handed out."""
        return min(FRESH_SECONDS, FRESH_SHARE * self.life)


class Tokens:
    """
    The tokens of one identity, which *make* builds; threads share them.

    An identity's own cache hands out tokens until five minutes before their end. Where it does so,
    another identity takes its place, with an empty cache. The old one stays open until the next
    change, `AGAIN_SECONDS` later at the earliest, because clients may be asking it.
    """

    def __init__(self, make: Callable[[], TokenCredential], now: Callable[[], float]) -> None:
        self._make = make
        self._now = now
        self._lock = threading.Lock()  # of the identities; never held while one is asked
        self._asking = threading.Lock()
        self._identity: TokenCredential | None = None
        self._replaced: TokenCredential | None = None
        self._held: dict[str, Held] = {}
        self._refused: dict[str, str] = {}
        self._again_at: dict[str, float] = {}
        self._another_at = 0.0  # when another identity may take over

    def identity(self) -> TokenCredential:
        """Return the identity, made on first use."""
        with self._lock:
            if self._identity is None:
                self._identity = self._make()
            return self._identity

    def fresh(self, scope: str) -> Held:
        """
        Return a token with at least ten minutes left, or half its life if that is shorter.

        While the identity gives none, the one that is held is handed out to its end. Raises
        TokenRejected when there is none at all.
        """
        held = self._held.get(scope)
        if held is not None and self._is_enough(scope, held):
            return held
        with self._asking:
            held = self._held.get(scope)
            if held is not None and self._is_enough(scope, held):
                return held
            try:
                found = self._asked(scope, held)
            except TokenRejected:
                if held is None or held.left(self._now()) <= 0:
                    raise
                found = held
            if found.left(self._now()) < found.wanted:
                log.warning("no new token; the old one is used on", scope=scope)
                self._again_at[scope] = self._now() + AGAIN_SECONDS
            self._held[scope] = found
            return found

    def refuse(self, scope: str, text: str) -> None:
        """Hand this token out no more: the service does not take it, whatever its end says."""
        self._refused[scope] = text
        held = self._held.get(scope)
        if held is not None and held.text == text:
            self._held.pop(scope, None)

    def close(self) -> None:
        """Release the identity's connections."""
        with self._lock:
            for one in (self._identity, self._replaced):
                if one is not None:
                    one.close()
            self._identity = self._replaced = None
            self._held = {}

    def _is_enough(self, scope: str, held: Held) -> bool:
        left = held.left(self._now())
        return left >= held.wanted or (left > 0 and self._now() < self._again_at.get(scope, 0.0))

    def _asked(self, scope: str, held: Held | None) -> Held:
        token = token_of(self.identity, scope)
        known = {self._refused.get(scope), held.text if held else None}
        from_cache = held is None or token.token in known
        if token.token == self._refused.get(scope) or (
            from_cache and token.expires_on - self._now() < FRESH_SECONDS
        ):
            token = self._from_another(scope) or token
        if held is not None and token.token == held.text:
            return held
        return Held(token.token, token.expires_on, token.expires_on - self._now())

    def _from_another(self, scope: str) -> AccessToken | None:
        """Let another identity take over if it gives a token; None when it gives none, or now."""
        now = self._now()
        if now < self._another_at:
            return None
        self._another_at = now + AGAIN_SECONDS
        try:
            another = self._make()
        except Exception as error:  # noqa: BLE001 - the old one may still give some
            log.info("there is no new identity", error=type(error).__name__)
            return None
        try:
            token = token_of(lambda: another, scope)
        except TokenRejected as error:
            log.info("a new identity gives no token", error=str(error))
            with suppress(Exception):  # it is of no use, whatever it says
                another.close()
            return None
        with self._lock:
            if self._replaced is not None:
                self._replaced.close()
            self._replaced, self._identity = self._identity, another
        return token
