"""What the pipeline asks of the ClaimX API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any, Protocol

from claimx.domain.times import Micros
from claimx.domain.value import value


@value
class Answer:
    """
    A parsed answer of the API and when it was asked for (microseconds UTC).

    *notes* keep what was read out of it, for the next event that it is an answer to; there are
    none of one that could not be read.
    """

    data: Any
    asked_at: Micros
    notes: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


class ClaimXApi(Protocol):
    """
    The vendor's REST API (domain page, section 2), one method a call.

    Unwraps the documented wrappings (``data``, ``media`` ...), so *data* is the object or the list
    itself. Raises TokenRejected, Throttled, Unavailable, Unreadable, NotFound, Refused,
    CircuitOpen. Never logs a body.
    """

    async def project(self, project_id: str) -> Answer:
        """Return the project's object; Refused when it is another project's."""

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        """
        Return the project's media items as a list of objects.

        With one to five ids the filter is sent; the answer may hold other items all the same,
        so match on ``mediaID``.
        """

    async def task_assignment(self, assignment_id: str) -> Answer:
        """Return the assignment's object."""

    async def video_report(self, project_id: str) -> Answer:
        """Return the project's video collaborations as a list (empty when there is none)."""


class EventApi(Protocol):
    """What a handler sees of the API: the calls above, counted for its event, and the freshness."""

    async def project(self, project_id: str) -> Answer:
        """Fetch the project, always."""

    async def project_unless_known(self, project_id: str) -> Answer | None:
        """Fetch the project unless it is fresh; None when it is (nothing to write)."""

    def name_of_known(self, project_id: str) -> str | None:
        """Return the name of a project that is fresh, as far as anybody remembers it."""

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        """Fetch media; see `ClaimXApi.media`."""

    async def task_assignment(self, assignment_id: str) -> Answer:
        """Fetch a task assignment."""

    async def video_report(self, project_id: str) -> Answer:
        """Fetch the video report."""
