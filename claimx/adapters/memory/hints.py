"""Hints that are kept instead of sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from claimx.domain.records import Stage


@dataclass(slots=True)
class MemoryHints:
    """
    `Hints` as a list: *sent* holds (stage, ids, affinity) in the order in which they are read.

    *backlogs* is what the queues are said to hold, by (stage, affinity).
    """

    sent: list[tuple[Stage, tuple[str, ...], str]] = field(default_factory=list)
    backlogs: Counter[tuple[Stage, str]] = field(default_factory=Counter)

    def send(
        self,
        stage: Stage,
        ids: Sequence[str],
        affinity: str = "",
        *,
        waiting: int = 0,
        ahead: bool = False,
    ) -> None:
        """Keep one hint, of any size."""
        del waiting
        self.sent.insert(0 if ahead else len(self.sent), (stage, tuple(ids), affinity))

    def backlog(self, stage: Stage, affinity: str = "") -> int:
        """Return the length that was set, 0 for none."""
        return self.backlogs[stage, affinity]

    def taken(self, stage: Stage) -> list[str]:
        """Return the ids of the stage's hints and forget them, as a worker would."""
        ids = [record_id for at, ids, _ in self.sent if at is stage for record_id in ids]
        self.sent = [hint for hint in self.sent if hint[0] is not stage]
        return ids
