"""What a writer wrote a moment ago is not read again, and only so much of it is kept."""

from __future__ import annotations

import pyarrow as pa

from claimx.adapters.lake.known_rows import KnownRows

SCHEMA = pa.schema([("id", pa.string()), ("count", pa.int64())])


def rows(*ids: str) -> pa.Table:
    return pa.table({"id": list(ids), "count": list(range(len(ids)))}, SCHEMA)


def test_rows_are_known_as_they_were_written_in_one_piece():
    known = KnownRows()
    written = pa.concat_tables([rows("a"), rows("b", "c")])

    known.learn("file", written)
    found = known.of("file", SCHEMA)

    assert found is not None
    assert found.equals(written)
    assert found.column("id").num_chunks == 1


def test_a_table_that_has_got_another_column_reads_its_files_again():
    known = KnownRows()
    known.learn("file", rows("a"))

    assert known.of("file", SCHEMA.append(pa.field("more", pa.string()))) is None


def test_files_that_are_gone_or_were_never_written_are_not_known():
    known = KnownRows()
    known.learn("file", rows("a"))
    known.forget("file")
    known.forget("another")

    assert known.of("file", SCHEMA) is None
    assert known.of("another", SCHEMA) is None


def test_the_newest_files_stay_and_what_is_too_large_is_left():
    size = rows("a").combine_chunks().get_total_buffer_size()
    known = KnownRows(most=2 * size)
    for name in ("first", "second", "third"):
        known.learn(name, rows("a"))
    known.learn("large", rows(*("abc" * 10)))

    kept = [name for name in ("first", "second", "third", "large") if known.of(name, SCHEMA)]
    assert kept == ["second", "third"]
