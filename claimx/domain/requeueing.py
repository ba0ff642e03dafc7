"""Where a dead record may go back to; the ledgers hold to it (``requeue.lua`` says it in Lua)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claimx.domain.records import DeadLetter, Kind, Stage

FIRST = {Kind.PAGE: Stage.INGEST, Kind.EVENT: Stage.ENRICH, Kind.MEDIA: Stage.DOWNLOAD}
"""The stage in which each kind begins."""

_OPEN = {
    Kind.PAGE: {Stage.INGEST},
    Kind.EVENT: {Stage.ENRICH, Stage.WRITE},
    Kind.MEDIA: {Stage.DOWNLOAD, Stage.UPLOAD, Stage.RECORD, Stage.WRITE},
}


def way_back(kind: Kind, died_in: Stage, wanted: Stage | None) -> Stage | None:
    """
    Return where a requeue sends it, None when it has no business in *wanted*.

    An event that died at INGEST holds a source row, so there is no other place for it. Rows of what
    died at the writer were kept; whatever else is sent to WRITE has none, and begins anew.
    """
    if kind is Kind.EVENT and died_in is Stage.INGEST:
        return Stage.INGEST if wanted in (None, Stage.INGEST) else None
    target = wanted or (Stage.DOWNLOAD if kind is Kind.MEDIA else died_in)
    if target not in _OPEN[kind]:
        return None
    return FIRST[kind] if target is Stage.WRITE and died_in is not Stage.WRITE else target


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters that were asked for: those that can go to *stage* (None: where each belongs)."""

    letters: Sequence[DeadLetter]
    stage: Stage | None = None

    @property
    def fitting(self) -> list[DeadLetter]:
        """Those that a requeue sends back."""
        return [x for x in self.letters if way_back(x.kind, x.stage, self.stage)]

    @property
    def misfits(self) -> list[DeadLetter]:
        """Those that stay dead: they have no business in the stage."""
        return [x for x in self.letters if not way_back(x.kind, x.stage, self.stage)]
