"""Rows that many events bring alike are stored, read and written once."""

from __future__ import annotations

import json

import pytest

from claimx.domain.changes import Change, Source
from claimx.domain.codec import decode_changes, decode_stored, encode_changes
from claimx.domain.errors import Malformed
from claimx.domain.shared_rows import SharedRows, apart, decoded
from claimx.domain.tables import CONTACTS, MEDIA, PROJECTS

ASKED = 1_790_000_000_000_000


def project(name: str = "Ænima\nGmbH") -> SharedRows:
    return SharedRows(
        [
            (PROJECTS.name, {"project_id": "7", "company_name": name}),
            (CONTACTS.name, {"project_id": "7", "contact_email": "a@example.com"}),
        ],
        ASKED,
    )


def own(event_id: str) -> Change:
    return Change(MEDIA.name, {"media_id": "1"}, Source.ANSWER, event_id, 5, ASKED)


def test_what_is_stored_comes_back_with_the_events_own_rows_last():
    rows = project()
    changes = [*rows.changes("e1", 5), own("e1")]

    assert decode_changes(encode_changes(changes)) == changes


def test_two_events_with_one_answer_store_the_same_bytes_and_share_one_object():
    """A reader knows the rows again by their bytes, so it parses them once for all events."""
    rows = project()
    known: dict[bytes, SharedRows] = {}

    first = decode_stored(encode_changes([*rows.changes("e1", 5), own("e1")]), known)
    second = decode_stored(encode_changes(rows.changes("e2", 6)), known)

    assert first.shared[0] is second.shared[0]
    assert (second.own, second.event_id, second.event_time) == ([], "e2", 6)
    assert list(known) == [rows.line]
    assert b"\n" not in rows.line


def test_an_answer_asked_for_later_is_another_one():
    earlier, later = project(), SharedRows(project().rows, ASKED + 1)
    known: dict[bytes, SharedRows] = {}

    decode_stored(encode_changes(earlier.changes("e1", 5)), known)
    decode_stored(encode_changes(later.changes("e1", 5)), known)

    assert len(known) == 2


def test_rows_stored_by_an_older_release_are_read():
    change = own("e1")
    stored = json.dumps(
        [
            {
                "table": change.table,
                "values": change.values,
                "source": "answer",
                "event_id": "e1",
                "event_time": 5,
                "enriched_at": ASKED,
            }
        ]
    )

    assert decode_changes(stored.encode()) == [change]


def test_rows_are_told_from_an_events_own():
    rows = project()

    mine, shared = apart([*rows.changes("e1", 5), own("e1")])

    assert mine == [own("e1")]
    assert shared == {rows.line: rows.changes("e1", 5)[0]}


@pytest.mark.parametrize(
    "broken",
    [
        b"[]\n",
        b"[]\nnull",
        b'[]\n["e1"]\n{}',
        b'[]\n["e1",null]\n{"asked_at":1,"rows":[]}',
        b'[]\n[7,5]\n{"asked_at":1,"rows":[]}',
        b'[]\n["e1",5]\n{"asked_at":"1","rows":[]}',
        b'[]\n["e1",5]\n{"asked_at":1}',
        b'[]\n["e1",5]\n{"asked_at":1,"rows":[["claimx_media"]]}',
        b'[]\n["e1",5]\n{"asked_at":1,"rows":[[7,{}]]}',
        b'[]\n["e1",5]\n{"asked_at":1,"rows":[["claimx_media",[]]]}',
        b'[]\n["e1",5]\n[]',
    ],
)
def test_broken_lines_are_malformed(broken):
    with pytest.raises(Malformed):
        decode_changes(broken)


def test_a_line_comes_back_as_it_was():
    line = project().line

    assert decoded(line).line == line
    assert decoded(line).rows == project().rows
