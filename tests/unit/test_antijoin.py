"""Anti-joins and repeated ids in rounds: whatever the window, the same ids are found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.lake.antijoin import Side, ids_beside, repeated_ids
from claimx.adapters.lake.unattached import unattached_ids
from claimx.domain.tables import MEDIA

IDS = st.sets(st.text("ab日", min_size=1, max_size=4), max_size=25)
SIZES = st.integers(1, 9)


class Tables:
    """Two tables in memory, given out in pieces of *piece* rows in no order."""

    def __init__(self, media, attached, piece):
        self.piece = piece
        self.media, self.attached = list(media), list(attached)
        self.rounds = 0

    def read(self, table, condition, take, span=None) -> None:
        assert span is None
        ids = self.media if table is MEDIA else self.attached
        self.rounds += table is MEDIA
        rows = pa.table(
            {
                "media_id": pa.array(ids, pa.string()),
                "downloadable": pa.array([True] * len(ids), pa.bool_()),
            }
        )
        found: Any = ds.dataset(rows).to_table(["media_id"], condition).column("media_id")
        take(self.pieces(found.combine_chunks()))

    def pieces(self, ids) -> Iterator[Any]:
        for start in range(0, len(ids), self.piece):
            yield ids.slice(start, self.piece)


@given(
    IDS, IDS, st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.text("ab", max_size=2)
)
def test_the_window_changes_nothing(media, attached, window, piece, limit, after):
    tables = Tables(media, attached, piece)

    found = unattached_ids(tables.read, limit, after, None, window)

    assert found == [one for one in sorted(media - attached) if one > after][:limit]


@pytest.mark.parametrize(("window", "rounds"), [(100, 1), (30, 4)])
def test_only_a_table_beyond_the_window_is_read_more_than_once(window, rounds):
    ids = [f"{n:03}" for n in range(100)]
    tables = Tables(ids, ids, 7)

    assert unattached_ids(tables.read, 10, "", None, window) == []
    assert tables.rounds == rounds


def test_no_more_is_read_than_was_asked_for():
    tables = Tables([f"{n:03}" for n in range(100)], [], 7)

    assert len(unattached_ids(tables.read, 10, "", None, 20)) == 10
    assert tables.rounds == 1


@given(
    st.lists(st.text("ab日", min_size=1, max_size=2), max_size=40),
    st.integers(2, 9),
    st.integers(1, 9),
    st.integers(1, 30),
    st.text("ab", max_size=2),
)
def test_repeated_ids_are_found_whatever_the_window(media, window, piece, limit, after):
    tables = Tables(media, [], piece)

    found = repeated_ids(tables.read, Side(MEDIA), limit, after, window)

    doubled = {one for one in media if media.count(one) > 1}
    assert found == [one for one in sorted(doubled) if one > after][:limit]


@given(
    st.lists(st.text("ab日", min_size=1, max_size=3), max_size=40),
    IDS,
    st.integers(1, 9),
    st.integers(1, 30),
)
def test_ids_beside_the_known_can_be_paged(media, known, piece, limit):
    """A short page is the last one, also when some ids come more than once."""
    tables = Tables(media, [], piece)
    others, found, after = pa.array(sorted(known), pa.string()), [], ""
    while True:
        page = ids_beside(tables.read, Side(MEDIA), others, limit, after)
        found += page
        if len(page) < limit:
            break
        after = page[-1]

    assert found == sorted(set(media) - known)
