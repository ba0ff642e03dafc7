"""How far a reader of the source is, and what it has left for later."""

from __future__ import annotations

from dataclasses import dataclass

from claimx.domain.times import Micros


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    How far a cursor has read: everything of the source up to and including *source_time*.

    A move names the *version* it was decided on, and has a greater one: its own time, which does
    not come round again where an older copy is put back.
    """

    source_time: Micros
    version: int = 0


CATCH_UP = "catch-up:"
"""How the names of cursors begin that read what was set aside."""

BACKFILL = "backfill:"
"""How those begin that read a range which somebody has asked for."""

BACKFILL_KEPT_SECONDS = 30 * 86_400.0


def kept_seconds(cursor: str) -> float | None:
    """
    Return how long the ledger keeps a cursor after its last move, None for good.

    Ranges that somebody asks for are ever others; all other cursors are few.
    """
    return BACKFILL_KEPT_SECONDS if cursor.startswith(BACKFILL) else None


@dataclass(frozen=True, slots=True)
class Gap:
    """
    A range of the source that a cursor has left out: after < ingestion time <= until.

    *rows* is about how many of it are left, for people.
    """

    after: Micros
    until: Micros
    rows: int = 0

    @property
    def reader(self) -> str:
        """The cursor that reads it."""
        return f"{CATCH_UP}{self.after}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place that a cursor must have reached: if it is before *least*, it moves to *move_to*."""

    cursor: str
    least: Micros
    move_to: Micros
