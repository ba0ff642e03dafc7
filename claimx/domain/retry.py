"""
What happens to a record after a failure: pure arithmetic and a table.

The effect (a ledger step) is elsewhere; see `claimx.services.settle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from claimx.domain.errors import ClaimXError, DiskFull, ErrorCategory, LinkExpired, category_of


@dataclass(frozen=True, slots=True)
class Retry:
    """Later, with one attempt more on the record."""

    delay: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Later, the attempt is given back: a token, a circuit or the cache must recover first."""

    delay: float


@dataclass(frozen=True, slots=True)
class Refresh:
    """Now, after asking the API for a new link; costs a refresh, no attempt."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """To the dead letters; *reason* is a short phrase for the operator."""

    reason: str


Decision: TypeAlias = Retry | Wait | Refresh | GiveUp

LONGEST_DELAY_SECONDS = 86_400.0  # that any record is given, whatever the settings say
MAX_RETRY_AFTER_SECONDS = 3600.0  # domain page, section 6: honoured up to an hour
PAUSE_SECONDS = 30.0  # after a full cache: time for some uploads
MAX_REFRESHES = 3  # domain page, section 3: over a record's life


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    The back-off: base, doubled for each attempt spent, capped; jitter adds up to a tenth.

    Defaults give 30, 60, 120 and 240 s before the jitter, then the dead letters.
    """

    max_retries: int = 4
    base_seconds: float = 30.0
    max_seconds: float = 2400.0
    wait_max_seconds: float = 72 * 3600.0

    def decide(
        self,
        error: BaseException,
        attempts: int,
        *,
        waited_seconds: float = 0.0,
        refreshes: int = 0,
        jitter: float = 0.0,
    ) -> Decision:
        """
        Decide from the error and what the record has already spent in this stage.

        *attempts* are the retries used, *waited_seconds* the age of an unbroken wait,
        *jitter* is in [0, 1).
        """
        asked = error.retry_after if isinstance(error, ClaimXError) else None
        if isinstance(error, LinkExpired):
            return Refresh() if refreshes < MAX_REFRESHES else GiveUp("link refreshed too often")
        if isinstance(error, DiskFull):  # transient, but an outage of the uploads outlasts attempts
            return self._wait(waited_seconds, asked or PAUSE_SECONDS, jitter)
        match category_of(error):
            case ErrorCategory.PERMANENT:
                return GiveUp("permanent")
            case ErrorCategory.AUTH | ErrorCategory.CIRCUIT_OPEN:
                return self._wait(waited_seconds, asked, jitter)
            case ErrorCategory.TRANSIENT | ErrorCategory.UNKNOWN:
                if attempts >= self.max_retries:
                    return GiveUp("retries exhausted")
                return Retry(self._delay(attempts, asked, jitter))

    def _wait(self, waited_seconds: float, asked: float | None, jitter: float) -> Wait | GiveUp:
        left = self.wait_max_seconds - waited_seconds
        if left <= 0:
            return GiveUp("waited too long")
        # a door may be shut for longer than that, and the bound is on the whole of the wait
        return Wait(min(self._delay(0, asked, jitter), left))

    def _delay(self, attempts: int, asked: float | None, jitter: float) -> float:
        if asked is not None and asked > 0:
            # never before the other side said, so the jitter only adds, and an hour is the most
            return min(asked * (1 + jitter / 10), MAX_RETRY_AFTER_SECONDS)
        exponential = self.base_seconds * float(2 ** min(attempts, 32))
        return min(self.max_seconds, exponential * (1 + jitter / 10))
