"""The lease of a reader of the source, so that there is one of each kind at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from claimx.domain.errors import Unavailable
from claimx.services.lease import Lease
from claimx.services.runtime import Runtime

log = structlog.get_logger(__name__)

KEEP_SECONDS = 600.0
"""
How long the lease is kept for a reader that gets no further; a worker's task has ended by then.

It can still be lost: to a suspended machine, an emptied Redis. Then two read the same page, and the
ledger takes it from whoever comes first.
"""

_SHARE = 1 / 3  # of the lease, between two renewals


class ReaderLease:
    """
    The lease *name*; with ``with`` it is taken if it is free, kept, and given back.

    A thread keeps it while its holder waits for the source, which may take minutes to answer: a
    lease that ran out meanwhile would be taken by the next poll, which waits just as long, and soon
    every child of the worker would. It does so for *keep_seconds* from when the holder last asked.
    *fence* is the lease's number, greater each time it is taken, and 0 while it is not.

    With *sleep* its holder waits for a Redis that is away, as `lease.outlast` does; without, that
    raises Unavailable at once, and the next poll tries again.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        *,
        sleep: Callable[[float], None] | None = None,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self._lease = Lease(runtime.gates, name, runtime.holder, runtime.limits.reader_lease)
        self._sleep = sleep
        self._keep_seconds = keep_seconds
        self._until = 0.0
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Take it if nobody else has it."""
        if self.renewed():
            self._keeper = threading.Thread(
                target=self._keep, name=f"lease-{self._lease.name}", daemon=True
            )
            self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._over.set()
        if self._keeper is not None:
            self._keeper.join(self._lease.seconds)  # or it would take what is given back
            self._lease.give_back()

    @property
    def fence(self) -> int:
        """The lease's number."""
        return self._lease.fence

    @property
    def held(self) -> bool:
        """Whether it was got at all; `renewed` says whether it is still ours."""
        return self.fence > 0

    def renewed(self) -> bool:
        """Extend it, or take it once more; False when it is another's by now."""
        ours = self._lease.keep(self._sleep) if self._sleep else self._lease.take()
        if ours:
            self._until = time.monotonic() + self._keep_seconds
        return ours

    def _keep(self) -> None:
        pause = self._lease.seconds * _SHARE
        while not self._over.wait(pause) and time.monotonic() < self._until:
            try:
                if not self._lease.take():
                    return
            except Unavailable:  # whose it is will be known when Redis answers
                continue
            except Exception as error:  # noqa: BLE001 - the thread must live, or another reads beside us
                log.warning("lease not kept", lease=self._lease.name, error=type(error).__name__)
