"""
How many events of a chunk are worked on at a time, and in which order they begin.

Call slots go to whoever has waited longest. Of events that all begin at once each makes its first
call before one makes its last: of a slow API few would be done when the chunk must end, and the
others' calls would have been for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from claimx.domain.records import Record
from claimx.handlers.registry import handler_for

_LEAST = 4
_MOST = 200


def events_at_once(api_concurrency: int) -> int:
    """
    Return how many events to work on at a time, for so many calls in flight.

    Twice as many: no slot is idle while events compute, and soon after its first call an event has
    its next. Processes that share the slots have fewer each; which, none of them knows beforehand.
    """
    return min(_MOST, max(_LEAST, 2 * api_concurrency))


def in_turn(records: Iterable[Record]) -> list[Record]:
    """
    Return the events' records as they are to begin.

    What nobody handles goes first: it needs no call, and waits for none. Then one event of each
    project, since a page's events come by project: the others would wait for its answer, and all
    in one place leave slots idle.
    """
    begun: set[str] = set()

    def turn(record: Record) -> int:
        type_, project_id = record.data.get("type"), record.data.get("project_id")
        if not isinstance(type_, str) or handler_for(type_) is None:
            return 0
        if isinstance(project_id, str) and project_id in begun:
            return 2
        if isinstance(project_id, str) and project_id:
            begun.add(project_id)
        return 1

    return sorted(records, key=turn)
