"""What a reader remembers of the rows that it has met: enough for doubles, and bounded."""

from __future__ import annotations

from claimx.domain.polling import TIME
from claimx.domain.times import MICROS_PER_SECOND
from claimx.services import met
from claimx.services.met import MOST_BYTES, MOST_ROWS, Met
from claimx.services.source_rows import read_source_row


def row_of(number, **changes):
    return {
        "event_id": f"e{number}",
        "event_type": "PROJECT_CREATED",
        "project_id": "1",
        TIME: number * MICROS_PER_SECOND,
        **changes,
    }


def meet(reader, row):
    record_id, event, size = read_source_row(row)
    reader.add(record_id, row, event, size)
    return record_id


def test_a_row_is_a_copy_of_one_of_an_earlier_page_but_for_its_time():
    reader = Met()
    reader.doubles = True
    record_id = meet(reader, row_of(1))

    assert record_id in reader
    assert reader.has_copy_of(row_of(1, **{TIME: 9}))
    assert not reader.has_copy_of(row_of(1, project_id="2"))
    assert not reader.has_copy_of(row_of(2))


def test_no_row_is_kept_of_a_source_without_doubles():
    """They are 2 kB each, and a poll may read half a million."""
    reader = Met()

    record_id = meet(reader, row_of(1))

    assert record_id in reader
    assert not reader.has_copy_of(row_of(1))


def test_the_oldest_rows_go_and_their_ids_stay():
    """Their doubles are read like others then, and still are none."""
    reader = Met()
    reader.doubles = True
    ids = [meet(reader, row_of(number)) for number in range(MOST_ROWS + 1)]

    assert not reader.has_copy_of(row_of(0))
    assert reader.has_copy_of(row_of(1))
    assert all(one in reader for one in ids)


def test_great_rows_go_before_they_take_much_memory():
    reader = Met()
    reader.doubles = True
    great = "x" * (MOST_BYTES // 4)
    for number in range(4):
        meet(reader, row_of(number, note=great))

    assert [reader.has_copy_of(row_of(n, note=great)) for n in range(4)] == [
        False,
        True,
        True,
        True,
    ]


def test_no_more_ids_are_kept_than_fit():
    reader = Met()
    for number in range(met.MOST_IDS):
        reader.add(str(number), {}, None, 2)

    assert meet(reader, row_of(1)) not in reader
    assert not reader.has_copy_of(row_of(1))


def test_what_is_forgotten_is_new_again():
    reader = Met()
    reader.doubles = True
    record_id = meet(reader, row_of(1))

    reader.forget()

    assert record_id not in reader
    assert not reader.has_copy_of(row_of(1))
