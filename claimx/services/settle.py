"""From a failure to an outcome: the one place where services turn errors into ledger steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from claimx.domain.errors import ClaimXError, category_of
from claimx.domain.records import Buried, Failure, NewRecord, Record, Retried, Stage, Waited
from claimx.domain.redaction import redact
from claimx.domain.retry import Decision, GiveUp, Refresh, Retry, RetryPolicy, Wait


class Judging(Protocol):
    """What judging a failure needs: the policy, a clock (epoch seconds) and chance ([0, 1))."""

    @property
    def retry(self) -> RetryPolicy:
        """The back-off."""

    @property
    def now(self) -> Callable[[], float]:
        """The wall clock."""

    @property
    def jitter(self) -> Callable[[], float]:
        """Chance."""


def decision_on(
    record: Record, error: BaseException, judging: Judging, *, refreshes: int = 0
) -> Decision:
    """Return what the policy says of *error*, given what *record* has already spent."""
    return judging.retry.decide(
        error,
        record.attempts,
        waited_seconds=record.waited_seconds,
        refreshes=refreshes,
        jitter=judging.jitter(),
    )


def failure_of(stage: Stage, error: BaseException, at: float, reason: str = "") -> Failure:
    """
    Describe *error* for an operator.

    Our own errors' messages are fit to be shown and name ids; of a foreign one's, which may quote
    anything, numbers that could be a telephone's go as well.
    """
    known = isinstance(error, ClaimXError)
    return Failure(
        category=category_of(error),
        error=type(error).__name__,
        message=redact(str(error), numbers=not known) or type(error).__name__,
        stage=stage,
        at=at,
        status=error.status if known else None,  # type: ignore[attr-defined]  # *known* says it
        host=error.host if known else None,  # type: ignore[attr-defined]  # *known* says it
        reason=reason,
    )


def outcome_of(
    record: Record,
    error: BaseException,
    judging: Judging,
    *,
    refreshes: int = 0,
    data: dict[str, Any] | None = None,
    rows: bytes = b"",
    spawn: tuple[NewRecord, ...] = (),
) -> Retried | Waited | Buried:
    """
    Return the outcome that *error* gives *record*.

    *data*, when given, replaces the record's; *rows* and *spawn* are what was found before the
    failure, and go along only when the record is given up on (otherwise it will find them again).
    A link to refresh means a later try here: who can refresh it at once asks `decision_on` first.
    """
    decision = decision_on(record, error, judging, refreshes=refreshes)
    at = judging.now()
    match decision:
        case Retry(delay):
            return Retried(record, delay, failure_of(record.stage, error, at), data=data)
        case Wait(delay):
            return Waited(record, delay, failure_of(record.stage, error, at), data=data)
        case Refresh():
            return Waited(record, 0.0, failure_of(record.stage, error, at), data=data)
        case GiveUp(reason):
            failure = failure_of(record.stage, error, at, reason)
            return Buried(record, failure, rows=rows, spawn=spawn, data=data)
