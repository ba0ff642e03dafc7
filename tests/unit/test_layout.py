"""Pieces of a table: every key belongs to one, and no file to two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.lake.layout import files_in, pieces_of

KEY = "id"
letters = st.sampled_from("abcdefghij")


def file_of(low: str | None, high: str | None, rows: int = 10) -> dict:
    return {f"min.{KEY}": low, f"max.{KEY}": high, "num_records": rows, "size_bytes": rows * 100}


@st.composite
def files(draw) -> dict:
    low, high = sorted([draw(letters), draw(letters)])
    return file_of(low, high, draw(st.integers(1, 30)))


@given(st.lists(files(), max_size=8), st.integers(1, 60), letters)
def test_every_key_is_in_one_piece_with_all_files_that_may_hold_it(actions, size, key):
    pieces = pieces_of(actions, KEY, size)

    holding = [
        piece
        for piece in pieces
        if (piece.low is None or piece.low <= key) and (piece.high is None or key < piece.high)
    ]
    assert len(holding) == 1
    inside = files_in(actions, KEY, holding[0].low, holding[0].high)
    assert len(inside) == holding[0].files
    may_hold_it = [one for one in actions if one[f"min.{KEY}"] <= key <= one[f"max.{KEY}"]]
    assert all(one in inside for one in may_hold_it)
    assert sum(piece.rows for piece in pieces) == sum(one["num_records"] for one in actions)


def test_files_that_overlap_are_one_piece_however_large():
    actions = [file_of("a", "m", 500), file_of("c", "z", 500)]

    (piece,) = pieces_of(actions, KEY, 100)

    assert (piece.low, piece.high, piece.rows, piece.files) == (None, None, 1000, 2)


def test_small_neighbours_are_one_piece():
    actions = [file_of(letter, letter, 10) for letter in "abcdef"]

    assert [piece.rows for piece in pieces_of(actions, KEY, 30)] == [30, 30]


def test_a_file_without_statistics_makes_the_whole_table_one_piece():
    """It may hold any key."""
    actions = [file_of("a", "b"), file_of(None, None), file_of("y", "z")]

    (piece,) = pieces_of(actions, KEY, 10)

    assert (piece.low, piece.high, piece.files) == (None, None, 3)


def test_an_empty_table_is_one_piece():
    (piece,) = pieces_of([], KEY, 10)

    assert (piece.low, piece.high, piece.rows) == (None, None, 0)
