"""Which handler an event type has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from claimx.domain.changes import Enrichment
from claimx.domain.events import Event, EventType
from claimx.domain.ports.api import EventApi

Handle: TypeAlias = Callable[[Event, EventApi, Enrichment], Awaitable[None]]
"""
Puts the rows and media of an event into the enrichment, as soon as each is found.

Raises what the API raises, Malformed for an event that can never be handled, Refused for an
answer about something else, NotYetThere for media that the API does not know yet.
"""


class Registry:
    """Event type -> name of the handler, as in ``claimx_events``, and the handler."""

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[str, Handle]] = {}

    def handles(self, *types: EventType, name: str) -> Callable[[Handle], Handle]:
        """Register a function for *types*; raises ValueError for a type that has a handler."""

        def register(handle: Handle) -> Handle:
            for type_ in types:
                if taken := self._handlers.get(type_):
                    raise ValueError(f"{type_} is already handled by {taken[0]!r}, not by {name!r}")
                self._handlers[str(type_)] = (name, handle)
            return handle

        return register

    def handler_for(self, type_: str) -> tuple[str, Handle] | None:
        """Return name and handler of an event type, None for one that nobody handles."""
        return self._handlers.get(type_)

    @property
    def event_types(self) -> frozenset[str]:
        """All types that have a handler."""
        return frozenset(self._handlers)


registry = Registry()
handler_for = registry.handler_for
