"""
Whether a call of the ClaimX API may be made, and what its end says about the next ones.

Two circuits that all processes share: the API's, which failures open, and the door, which a
refused token shuts until a probe is let in with one that is accepted (domain page, section 6).
"""

from __future__ import annotations

from contextlib import suppress

from claimx.adapters.api_refusals import Refusals
from claimx.adapters.api_token import TokenSource
from claimx.domain.circuit import AUTH
from claimx.domain.errors import CircuitOpen, ClaimXError, TokenRejected
from claimx.domain.ports.gates import Gates

_SOON = 1.0
_NO_TOKEN_SECONDS = 10.0


class APIGate:
    """
    The API's circuit *name*, the door, and this process's token.

    Each call that got a permit ends with exactly one of `succeeded`, `failed`, `said_nothing`.
    """

    def __init__(self, gates: Gates, name: str, token: TokenSource, host: str) -> None:
        self._circuit = gates.circuit(name)
        self._door = gates.circuit(AUTH)
        self._token = token
        self._host = host
        self._refusals = Refusals()
        self._doubtful = False  # the token was refused and nothing was accepted since

    @property
    def accepted(self) -> int:
        """Return how many answers were accepted here; a call that fails tells how many by then."""
        return self._refusals.accepted

    def pass_through(self, count: int) -> None:
        """Take *count* (0 or 1) permits, or raise what the closed door or open circuit means."""
        granted, wait = self._door.permit(count)
        if granted < count or wait:
            self._doubtful = True
            raise TokenRejected(
                "the API token was not accepted; a probe asks from time to time",
                retry_after=wait or _SOON,
                host=self._host,
            )
        granted, wait = self._circuit.permit(count)
        if granted < count or wait:
            self._door.give_back(count)
            raise CircuitOpen(
                "the circuit of the ClaimX API is open", retry_after=wait or _SOON, host=self._host
            )

    def token(self) -> str:
        """Return the token, read again if it is in doubt; raises TokenRejected without any."""
        if self._doubtful:
            self._token.reload()
        return self._token.current()

    def succeeded(self, token: str) -> None:
        """Report a call that was answered."""
        self._doubtful = False
        self._refusals.note_accepted(token)
        self._circuit.report(1, 0)
        self._door.report(1, 0)

    def failed(self, error: ClaimXError, token: str, what: str, accepted: int) -> None:
        """
        Report a failed call to the circuit and, for a 401, to the door.

        *what* it asked for, and how many answers were *accepted* when it began, tell whether its
        token is refused or it alone is (`Refusals`).
        """
        error.host = error.host or self._host
        if error.counts_against_circuit:
            self._circuit.report(0, 1)
            self._door.give_back(1)
        elif isinstance(error, TokenRejected):
            self._circuit.give_back(1)
            self._refused(error, token, what, accepted)
        else:
            self.said_nothing()

    def said_nothing(self) -> None:
        """Give the permits of a call back that tells nothing about the API."""
        self._circuit.give_back(1)
        self._door.give_back(1)

    def _refused(self, error: TokenRejected, token: str, what: str, accepted: int) -> None:
        """Read the token again; unless that gave a new one, or it is well, shut the door."""
        self._doubtful = True
        if error.status is None:  # no call was made: this process has no token
            self._door.give_back(1)
            error.retry_after = _NO_TOKEN_SECONDS
            return
        self._token.reload()
        with suppress(TokenRejected):
            if token and self._token.current() != token:
                self._door.give_back(1)
                error.retry_after = error.retry_after or 0.1
                return
        if not self._refusals.is_of_token(token, what, accepted):
            self._door.give_back(1)
            return
        self._door.report(0, 1)
        wait = self._door.permit(0)[1]
        error.retry_after = max(error.retry_after or 0.0, wait) or _SOON
