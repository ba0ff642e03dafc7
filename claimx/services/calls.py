"""The API as one chunk's events see it: calls counted for each event, projects fetched once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from claimx.domain.errors import CircuitOpen, ClaimXError, Malformed, TokenRejected
from claimx.domain.ports.api import Answer, ClaimXApi
from claimx.domain.ports.gates import Gates
from claimx.domain.times import MICROS_PER_SECOND

_T = TypeVar("_T")

MOST_ANSWERS = 500  # of some 20 kB, most of it room that the encoder left


class ProjectAnswers:
    """
    What a process was told of projects, for *fresh_seconds*; the *most* newest are kept.

    Until a project's row is committed every event that needs it brings the row itself, so the
    answer is of use to the next chunks, too. One that nobody could read is not: whoever tries
    again must get another.
    """

    def __init__(
        self, now: Callable[[], float], fresh_seconds: float, most: int = MOST_ANSWERS
    ) -> None:
        self._now = now
        self._fresh = fresh_seconds
        self._most = most
        self._kept: dict[str, Answer] = {}

    def of(self, project_id: str) -> Answer | None:
        """Return the newest answer for the project that was read; None without a fresh one."""
        answer = self._kept.get(project_id)
        if answer is None or not answer.notes:
            return None
        since = (self._now() - self._fresh) * MICROS_PER_SECOND
        return answer if answer.asked_at >= since else None

    def keep(self, project_id: str, answer: Answer) -> None:
        """Remember an answer, unless a later question was answered before."""
        before = self._kept.pop(project_id, answer)
        self._kept[project_id] = answer if answer.asked_at >= before.asked_at else before
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]


class ProjectChecks:
    """
    The freshness of projects for one chunk.

    What is known is asked of the gates once for the whole chunk, and of events that need the same
    project at the same time one asks the API; all of them get the answer, so that each writes the
    row itself and none depends on another's fate. *answers* are those of earlier chunks.
    """

    def __init__(self, api: ClaimXApi, gates: Gates, answers: ProjectAnswers) -> None:
        self._api = api
        self._gates = gates
        self._answers = answers
        self._looked_up: dict[str, bool] = {}
        self._names: dict[str, str | None] = {}
        self._flights: dict[str, asyncio.Future[Answer]] = {}

    def preload(self, project_ids: Iterable[str]) -> None:
        """Look up, in one step, which of *project_ids* are known."""
        ids = list(dict.fromkeys(project_ids))
        known = self._gates.known_projects(ids) if ids else {}
        self._names.update(known)
        self._looked_up.update((project_id, project_id in known) for project_id in ids)

    def is_known(self, project_id: str) -> bool:
        """Say whether the project's row is committed and fresh."""
        if project_id not in self._looked_up:
            self.preload([project_id])
        return self._looked_up[project_id]

    def name_of(self, project_id: str) -> str | None:
        """Return the name that a known project had when its row was committed."""
        return self._names.get(project_id)

    async def answer(self, project_id: str, fetch: Callable[[], Awaitable[Answer]]) -> Answer:
        """
        Return an answer for the project; *fetch* runs unless somebody is at it.

        What one who fetches fails with is everybody's; one who is given up on is followed by the
        next.
        """
        while True:
            if (answer := self._answers.of(project_id)) is not None:
                return answer
            flight = self._flights.get(project_id)
            if flight is None:
                return await self._fly(project_id, fetch)
            await asyncio.wait([flight])
            if not flight.cancelled():
                return flight.result()

    def keep(self, project_id: str, answer: Answer) -> None:
        """Let an answer that was fetched anyway serve other events."""
        self._answers.keep(project_id, answer)

    async def _fly(self, project_id: str, fetch: Callable[[], Awaitable[Answer]]) -> Answer:
        flight: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._flights[project_id] = flight
        try:
            answer = await fetch()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except BaseException as error:
            flight.set_exception(error)
            flight.exception()  # looked at, for when nobody waits
            raise
        else:
            self.keep(project_id, answer)
            flight.set_result(answer)
            return answer
        finally:
            del self._flights[project_id]


class CountedApi:
    """`claimx.domain.ports.api.EventApi` for one event; *calls* counts what reached the API."""

    def __init__(self, api: ClaimXApi, checks: ProjectChecks) -> None:
        self._api = api
        self._checks = checks
        self.calls = 0

    async def project(self, project_id: str) -> Answer:
        """Fetch the project, always."""
        answer = await self._counted(self._api.project(project_id))
        self._checks.keep(project_id, answer)
        return answer

    async def project_unless_known(self, project_id: str) -> Answer | None:
        """Fetch the project unless it is fresh; None when it is."""
        if self._checks.is_known(project_id):
            return None
        return await self._checks.answer(
            project_id, lambda: self._counted(self._api.project(project_id))
        )

    def name_of_known(self, project_id: str) -> str | None:
        """Return the name of a project that was not fetched because it is known."""
        return self._checks.name_of(project_id)

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        """Fetch media."""
        return await self._counted(self._api.media(project_id, media_ids))

    async def task_assignment(self, assignment_id: str) -> Answer:
        """Fetch a task assignment."""
        return await self._counted(self._api.task_assignment(assignment_id))

    async def video_report(self, project_id: str) -> Answer:
        """Fetch the video report."""
        return await self._counted(self._api.video_report(project_id))

    async def _counted(self, call: Awaitable[_T]) -> _T:
        try:
            found = await call
        except ClaimXError as error:
            self.calls += not _never_sent(error)
            raise
        self.calls += 1
        return found


def _never_sent(error: ClaimXError) -> bool:
    """Say whether a closed door, an open circuit or our own check stopped the call."""
    if isinstance(error, CircuitOpen | Malformed):
        return True
    return error.status is None and isinstance(error, TokenRejected)
