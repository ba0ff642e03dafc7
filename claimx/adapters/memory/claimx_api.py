"""`claimx.domain.ports.api.ClaimXApi` in memory: a small vendor for tests and rehearsals."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from claimx.domain import times
from claimx.domain.errors import NotFound
from claimx.domain.ports.api import Answer


class MemoryClaimXApi:
    """
    A vendor that knows what it was given; what it does not know is NotFound.

    *faults* holds errors to raise, oldest first, by call name (``project``, ``media`` ...) or by
    ``name:id``; *calls* lists every call as (name, id); *latency* is in seconds.
    """

    def __init__(self, now: Callable[[], float], latency: float = 0.0) -> None:
        self._now = now
        self.latency = latency
        self.projects: dict[str, dict[str, Any]] = {}
        self.media_items: dict[str, list[dict[str, Any]]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.videos: dict[str, list[dict[str, Any]]] = {}
        self.faults: defaultdict[str, deque[Exception]] = defaultdict(deque)
        self.calls: list[tuple[str, str]] = []

    async def project(self, project_id: str) -> Answer:
        """Return the project's object."""
        return await self._answer("project", project_id, self.projects)

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        """Return all of the project's media: this vendor ignores the filter."""
        del media_ids
        return await self._answer("media", project_id, self.media_items)

    async def task_assignment(self, assignment_id: str) -> Answer:
        """Return the assignment's object."""
        return await self._answer("task_assignment", assignment_id, self.tasks)

    async def video_report(self, project_id: str) -> Answer:
        """Return the project's video collaborations."""
        known = {project_id: self.videos.get(project_id, [])}
        return await self._answer("video_report", project_id, known)

    async def _answer(self, call: str, key: str, known: dict[str, Any]) -> Answer:
        self.calls.append((call, key))
        asked_at = times.from_seconds(self._now())
        await asyncio.sleep(self.latency)
        for name in (f"{call}:{key}", call):
            if self.faults.get(name):
                raise self.faults[name].popleft()
        if key not in known:
            raise NotFound(f"no {call} {key}", status=404, host="memory")
        return Answer(known[key], asked_at)
