"""Messages that name records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from claimx.domain.records import Stage


class Hints(Protocol):
    """Sends Celery messages that name records; losing one costs seconds, never work."""

    def send(
        self,
        stage: Stage,
        ids: Sequence[str],
        affinity: str = "",
        *,
        waiting: int = 0,
        ahead: bool = False,
    ) -> None:
        """
        Send hints for *ids* in chunks; never raises (a lost hint is redriven).

        *waiting* is the queue's `backlog`, where the caller knows it: behind many messages few
        large ones are sent. With *ahead* the first of them is read before those that wait, and only
        that one, so that new work has its turn.
        """

    def backlog(self, stage: Stage, affinity: str = "") -> int:
        """Return how many messages wait in the stage's queue; 0 when unknown."""
