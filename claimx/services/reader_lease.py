"""The lease of a reader of the source, so that there is one of each kind at a time."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from claimx.services.runtime import Runtime

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
    """

    def __init__(self, runtime: Runtime, name: str, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self._gates = runtime.gates
        self._holder = runtime.holder
        self._seconds = runtime.limits.reader_lease
        self._keep_seconds = keep_seconds
        self._name = name
        self._until = 0.0
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None
        self.fence = 0

    def __enter__(self) -> Self:
        """Take it if nobody else has it."""
        if self.renewed():
            self._keeper = threading.Thread(
                target=self._keep, name=f"lease-{self._name}", daemon=True
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
            self._keeper.join(self._seconds)  # or it would take what is given back
            self._gates.unlock(self._name, self._holder)

    @property
    def held(self) -> bool:
        """Whether it was ours when it was last asked for."""
        return self.fence > 0

    def renewed(self) -> bool:
        """Extend it, or take it once more; False when it is another's by now."""
        fence = self._gates.lock(self._name, self._holder, self._seconds)
        if fence is None:
            return False
        self.fence = max(self.fence, fence)
        self._until = time.monotonic() + self._keep_seconds
        return True

    def _keep(self) -> None:
        kept = time.monotonic()
        while not self._over.wait(self._seconds * _SHARE) and time.monotonic() < self._until:
            if self._gates.lock(self._name, self._holder, self._seconds) is not None:
                kept = time.monotonic()
            elif time.monotonic() - kept >= self._seconds:
                return  # another's by now; until then Redis may have failed to answer
