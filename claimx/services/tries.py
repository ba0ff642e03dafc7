"""How many runs of a task have died in the same piece of work, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from claimx.domain.errors import ClaimXError
from claimx.domain.ports.gates import Gates

_KEPT_SECONDS = 86_400.0
_RUN = "run"


class Tries:
    """
    Runs of *task* that have begun a piece of work and did not end: time or memory was up.

    Nobody else can tell: who dies so says nothing. Without Redis none have.
    """

    def __init__(self, gates: Gates, task: str) -> None:
        self._gates = gates
        self._topic = f"{task}:begun"

    def died_in(self, work: str) -> int:
        """Return how many in a row."""
        count, _, begun = self._gates.notes(self._topic).get(_RUN, "").partition(" ")
        return int(count) if begun == work and count.isdecimal() else 0

    @contextmanager
    def one(self, work: str) -> Iterator[None]:
        """Stand around a run of it, which ends by itself or by an error of ours; or it has died."""
        text = f"{self.died_in(work) + 1} {work}"
        self._gates.put_note(self._topic, _RUN, text, _KEPT_SECONDS)
        try:
            yield
        except ClaimXError:
            self._end()
            raise
        self._end()

    def _end(self) -> None:
        self._gates.drop_notes(self._topic, [_RUN])
