"""
Every expected failure, with the category that decides what happens next (domain page, section 2).

Nobody matches on message text: adapters translate foreign errors into these, and
`claimx.domain.retry.decide` reads nothing but the type and its attributes.

    ClaimXError
    ├── Transient            spends an attempt, tried again with back-off
    │   ├── Throttled           429, 503 with Retry-After
    │   ├── Unavailable         5xx, connection error, time-out
    │   │   └── TargetUnavailable  of what a signed link leads to
    │   ├── Unreadable          a body that is cut short, too long, or not JSON
    │   ├── NotYetThere         eventually consistent: absent from an answer
    │   └── DiskFull            the cache has no room; waits, no attempt spent
    │       └── TooLargeNow        no room for this file, but for others
    ├── Permanent            straight to the dead letters
    │   ├── NotFound            404, 410
    │   ├── Refused             403 and other 4xx
    │   ├── Malformed           input that can never be processed
    │   └── NotAllowed          a rule of ours forbids it (host, extension, size, address)
    │       └── TooLarge           its size, whatever the link
    ├── TokenRejected        AUTH: waits, no attempt spent
    ├── CircuitOpen          CIRCUIT_OPEN: waits, no attempt spent
    └── LinkExpired          a signed link that must be asked for anew
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorCategory(StrEnum):
    """What a failure means for the record that met it."""

    TRANSIENT = "TRANSIENT"
    PERMANENT = "PERMANENT"
    AUTH = "AUTH"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    UNKNOWN = "UNKNOWN"


class ClaimXError(Exception):
    """
    Base of all expected failures.

    *message* must be fit for logs and dead letters: no personal data, token or signed query.
    *retry_after* is the delay in seconds that the other side asked for, None when it did not.
    *status* is the HTTP status, *host* the machine that failed, where there were any.
    """

    category: ClassVar[ErrorCategory]
    counts_against_circuit: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Refuse a subclass that forgot its category."""
        if not hasattr(cls, "category"):
            msg = f"{cls.__name__} must declare its category"
            raise TypeError(msg)

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        status: int | None = None,
        host: str | None = None,
    ) -> None:
        """Pass everything on, so that instances survive pickling between Celery's processes."""
        super().__init__(message, retry_after, status, host)
        self.message = message
        self.retry_after = retry_after
        self.status = status
        self.host = host

    def __str__(self) -> str:
        """Return the message alone."""
        return self.message


class Transient(ClaimXError):
    """May go well later: spends an attempt."""

    category = ErrorCategory.TRANSIENT


class Throttled(Transient):
    """429: asked to slow down."""

    counts_against_circuit = True


class Unavailable(Transient):
    """5xx, refused, reset, timed out."""

    counts_against_circuit = True


class TargetUnavailable(Unavailable):
    """What a signed link leads to gives no file now: later, and by a new link, which may do."""


class TryLater(Transient):
    """408 or 425: transient, but says nothing about the service's health."""


class Unreadable(Transient):
    """
    A 2xx whose body is cut short, oversized, empty or not JSON of the expected shape.

    A circuit is told of it where the body could not be read; JSON of another shape resets it.
    """

    counts_against_circuit = True


class NotYetThere(Transient):
    """The API does not know the entity yet (media ids are eventually consistent)."""


class DiskFull(Transient):
    """The cache's disk or quota is full; others make room, so the record waits."""


class TooLargeNow(DiskFull):
    """The cache has no room for this file, but some for smaller ones."""


class Permanent(ClaimXError):
    """Will never go well by itself."""

    category = ErrorCategory.PERMANENT


class NotFound(Permanent):
    """404 or 410."""


class Refused(Permanent):
    """403 or another 4xx."""


class Malformed(Permanent):
    """Input that cannot be processed, with the reason in words."""


class NotAllowed(Permanent):
    """One of our own rules forbids it: host, address, extension, size."""


class TooLarge(NotAllowed):
    """The file itself is larger than may be: no other link makes it smaller."""


class TokenRejected(ClaimXError):
    """401: the token may recover, so no attempt is spent."""

    category = ErrorCategory.AUTH


class CircuitOpen(ClaimXError):
    """The circuit for this dependency is open; *retry_after* says for how long."""

    category = ErrorCategory.CIRCUIT_OPEN


class LinkExpired(ClaimXError):
    """A signed media link is over, or what it served was a log-in page: ask for a new one."""

    category = ErrorCategory.AUTH


def category_of(error: BaseException) -> ErrorCategory:
    """Return the category; whatever nobody classified is UNKNOWN (treated as transient)."""
    return error.category if isinstance(error, ClaimXError) else ErrorCategory.UNKNOWN
