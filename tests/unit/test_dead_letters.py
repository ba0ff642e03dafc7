"""Naming dead letters."""

from __future__ import annotations

import pytest

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import (
    Buried,
    DeadFilter,
    Failure,
    Kind,
    NewRecord,
    Stage,
    event_record_id,
    media_record_id,
    records_named,
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("7", {event_record_id("7"), media_record_id("7")}),
        ("e:7", {event_record_id("7")}),
        ("m:7", {media_record_id("7")}),
        ("8", set()),
    ],
)
def test_a_dead_letter_is_named_by_its_own_id_or_by_that_of_its_event_or_media_file(name, meant):
    ledger = MemoryLedger(lambda: 1000.0)
    for kind, record_id in ((Kind.EVENT, event_record_id("7")), (Kind.MEDIA, media_record_id("7"))):
        ledger.store_page("live", ledger.checkpoint("live"), 1, [_new(kind, record_id)])
        (record,) = ledger.claim(Stage.ENRICH, [record_id], 60)
        ledger.settle([Buried(record, _FAILURE)])

    found = ledger.dead_letters(DeadFilter(ids=records_named([name])))

    assert {letter.id for letter in found} == meant


_FAILURE = Failure(ErrorCategory.PERMANENT, "NotFound", "gone", Stage.ENRICH, 1000.0)


def _new(kind: Kind, record_id: str) -> NewRecord:
    return NewRecord(record_id, kind, Stage.ENRICH, {}, "trace")
