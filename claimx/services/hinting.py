"""
Hints for what can be worked on now, as long as their queue is short.

A queue that nobody serves, or slower than it fills, must not grow with the work in flight: what is
not hinted here the redriver brings back, the oldest first, once the queue is shorter.
"""

from __future__ import annotations

from collections.abc import Sequence

from claimx.domain.records import Stage
from claimx.services.runtime import Runtime

LONG_QUEUE = 200
"""
Messages in a queue beyond which its records are left for later.

What waits there keeps the workers busy for many seconds, and most records that are due are waiting
in it already: hints for them would only make it longer.
"""

MOST_QUEUED = 2 * LONG_QUEUE
"""Messages beyond which nothing at all is sent: nobody serves this queue, or not for long."""

MOST_AT_ONCE = 5000
"""Records: an operator who requeues a hundred thousand fills no queue with them."""


def hint(runtime: Runtime, stage: Stage, ids: Sequence[str], affinity: str = "") -> None:
    """Send hints for *ids* unless the queue is long; never raises."""
    if runtime.hints.backlog(stage, affinity) <= LONG_QUEUE:
        runtime.hints.send(stage, ids[:MOST_AT_ONCE], affinity)
