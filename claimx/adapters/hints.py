"""
Hints: Celery messages that name records.

A message carries ids and nothing else, so a task's arguments hold no personal data, link or token,
and losing one costs the seconds until the redriver sends it again (ADR 0001).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from kombu.entity import Exchange, Queue

from claimx.adapters.transport import AHEAD
from claimx.domain.records import Stage

log = structlog.get_logger(__name__)

# How many records one message names at the least and at the most: enough that a message's
# millisecond disappears (design measurements in ADR 0001), few enough that two workers share a
# burst and a lost message delays little.
CHUNK_SIZES = {
    Stage.INGEST: (1, 1),  # a record is a page of up to 2000 rows already
    Stage.ENRICH: (50, 500),  # its end, when the last calls are under way, leaves a child idle
    Stage.DOWNLOAD: (20, 50),
    Stage.UPLOAD: (20, 50),
    Stage.RECORD: (100, 500),
}
SHARED_BY = 4  # messages that a burst becomes, with those that wait already, if they are large
# enough: then nobody is idle, and fewer do the same work

NODE_QUEUE_SECONDS = 3600  # after the last hint; what was in it is due again by then


def queue_named(name: str) -> Queue:
    """Return a queue on the default exchange, which needs no binding that could be missing."""
    return Queue(name, Exchange("", type="direct"), routing_key=name)


def queue_name(stage: Stage, affinity: str = "") -> str:
    """Return the stage's queue, or the one of the single node that can do this work."""
    return f"{stage.value}.{affinity}" if affinity else stage.value


def chunk_size(stage: Stage, records: int, waiting: int = 0) -> int:
    """
    Return how many of so many *records*, hinted at once, one message names.

    They are alike in size: a message for the last five costs as much as one for fifty. *waiting*
    messages lie in the queue already.
    """
    least, most = CHUNK_SIZES[stage]
    shared = min(SHARED_BY - waiting, records // least)
    messages = max(1, shared, -(-records // most))
    return max(1, -(-records // messages))


def queue_length(client: Any, name: str) -> int:
    """Return how many messages wait in a queue; 0 when Redis does not say."""
    try:
        return int(client.llen(name))
    except Exception:  # noqa: BLE001 - only a hint about hints
        return 0


def _shown(ids: Sequence[str]) -> str:
    """Return what Flower shows of a chunk: its size and the first ids, never a kilobyte of them."""
    first = ", ".join(ids[:3])
    return f"[{first}]" if len(ids) <= 3 else f"[{first}, … {len(ids)} ids]"  # noqa: PLR2004 - as many as a line has room for


class CeleryHints:
    """Hints over a Celery app; *client* asks the broker's Redis for the queues' lengths."""

    def __init__(self, app: Any, client: Any) -> None:
        self._app = app
        self._client = client

    def send(
        self,
        stage: Stage,
        ids: Sequence[str],
        affinity: str = "",
        *,
        waiting: int = 0,
        ahead: bool = False,
    ) -> None:
        """Send *ids* in chunks; a failure is logged and left to the redriver."""
        size = chunk_size(stage, len(ids), waiting)
        queue = queue_named(queue_name(stage, affinity))
        try:
            with self._app.producer_pool.acquire(block=True, timeout=5) as producer:
                for start in range(0, len(ids), size):
                    chunk = list(ids[start : start + size])
                    self._app.send_task(
                        f"claimx.{stage.value}",
                        args=[chunk],
                        queue=queue,
                        producer=producer,
                        retry=False,
                        headers={AHEAD: True} if ahead and not start else None,
                        argsrepr=_shown(chunk),
                        kwargsrepr="{}",
                    )
                if affinity:  # a node that is gone for good must not leave its queue behind
                    self._client.expire(queue.name, NODE_QUEUE_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it was, the ledger still knows the work
            log.warning(
                "hint not sent", stage=stage.value, count=len(ids), error=type(error).__name__
            )

    def backlog(self, stage: Stage, affinity: str = "") -> int:
        """Return the length of the stage's queue; 0 when Redis does not say."""
        return queue_length(self._client, queue_name(stage, affinity))
