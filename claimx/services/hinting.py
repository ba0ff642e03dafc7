"""
Hints for what can be worked on now, as long as their queue is short.

A queue that nobody serves, or slower than it fills, must not grow with the work in flight: what is
not hinted here the redriver brings back, the oldest first, once the queue is shorter.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from claimx.domain.records import Advance, Buried, Outcome, Stage
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


TOGETHER_SECONDS = 0.5
"""At the most from an outcome in a chunk to its hint: a message for each file is dear."""


def hint(runtime: Runtime, stage: Stage, ids: Sequence[str], affinity: str = "") -> None:
    """Send hints for *ids* unless the queue is long; never raises."""
    waiting = runtime.hints.backlog(stage, affinity)
    if waiting <= LONG_QUEUE:
        runtime.hints.send(stage, ids[:MOST_AT_ONCE], affinity, waiting=waiting)


class ChunkHints:
    """
    What can be worked on now because of a chunk's outcomes, told in few messages.

    For one event loop; messages are sent in threads. Close it at the chunk's end.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: defaultdict[tuple[Stage, str], list[str]] = defaultdict(list)
        self._due = 0.0
        self._sending: set[asyncio.Task[None]] = set()

    def note(self, outcome: Outcome) -> None:
        """Remember what follows a settled outcome; the lake writer needs no hints."""
        if isinstance(outcome, Advance) and outcome.stage is not Stage.WRITE and not outcome.delay:
            self._waiting[outcome.stage, outcome.affinity].append(outcome.record.id)
        if isinstance(outcome, Advance | Buried):
            for new in outcome.spawn:
                self._waiting[new.stage, ""].append(new.id)

    def send_in_time(self) -> None:
        """Send once the first that waits has waited long enough."""
        if not self._waiting:
            return
        now = asyncio.get_running_loop().time()
        if not self._due:
            self._due = now + TOGETHER_SECONDS
        elif now >= self._due:
            self._send()

    async def close(self) -> None:
        """Send what is left, and wait for what is on its way; never raises for a failed one."""
        self._send()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _send(self) -> None:
        waiting, self._waiting, self._due = self._waiting, defaultdict(list), 0.0
        for (stage, affinity), ids in waiting.items():
            sending = asyncio.to_thread(hint, self._runtime, stage, ids, affinity)
            task = asyncio.get_running_loop().create_task(sending)
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)


class NoHints:
    """Sends nothing: the redriver finds what is due."""

    def send(
        self,
        stage: Stage,
        ids: Sequence[str],
        affinity: str = "",
        *,
        waiting: int = 0,
        ahead: bool = False,
    ) -> None:
        """Do nothing."""

    def backlog(self, stage: Stage, affinity: str = "") -> int:  # noqa: ARG002 - the port's
        """Return 0."""
        return 0
