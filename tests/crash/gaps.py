"""
Which crash points are one and the same moment for what lasts.

Between two effects nothing lasting changes, so dying before `ledger.settle` in a service and dying
before the script inside it leave the same behind. A recording tells: a gap ends where an effect is
over that leaves the process; what only leads to others ends none. While another thread is in the
middle of such an effect a point counts as a moment of its own, unless it is a hint, which may be
lost at any time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from finder import Site

HINT = "app.send_task"

Met: TypeAlias = tuple[str, int]
"""A point and the thread that met it."""


@dataclass(slots=True)
class Gaps:
    """The moments of one recording: those of first meetings, by point."""

    moments: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, met: Sequence[Met], sites: Collection[Site]) -> Gaps:
        """Work out the moments of a recording."""
        leaving = {site.name for site in sites if site.leaves}
        hints = {site.name for site in sites if site.effect == HINT}
        found = cls()
        gap = 0
        under_way: defaultdict[int, int] = defaultdict(int)
        for point, thread in met:
            site, _, phase = point.rpartition(" ")
            if site in leaving:
                under_way[thread] += (site not in hints) * (1 if phase == "before" else -1)
                gap += phase == "after"
            others = any(count > 0 for one, count in under_way.items() if one != thread)
            found.moments.setdefault(point, point if others else f"gap {gap}")
        return found

    def share(self, points: Iterable[str]) -> dict[str, list[str]]:
        """Return one point for each moment of *points*, with those that it stands for."""
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for point in points:
            groups[self.moments[point]].append(point)
        return {group[-1]: group for group in groups.values()}
