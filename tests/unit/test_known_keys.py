"""Which files hold a key is told without reading them again, and never wrongly."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from claimx.adapters.lake.known_keys import KnownKeys

IDS = st.sampled_from("a b c d e f".split())
PAIRS = st.lists(st.tuples(IDS, IDS), max_size=4)


def written(folder: Path, name: str, pairs: list[tuple[str, str]], kind: pa.DataType) -> str:
    columns = list(zip(*pairs, strict=True)) or [(), ()]
    rows = {"one": columns[0], "other": columns[1], "more": ["x"] * len(pairs)}
    pq.write_table(pa.table({k: pa.array(v, kind) for k, v in rows.items()}), folder / name)
    return name


def system(folder: Path) -> SubTreeFileSystem:
    return SubTreeFileSystem(str(folder), LocalFileSystem())


@given(st.lists(PAIRS, max_size=5), st.lists(PAIRS, min_size=1, max_size=4), st.integers(0, 20))
def test_no_file_with_a_wanted_key_is_left_out_whatever_is_kept(
    tmp_path_factory, files, asked, most
):
    """One left out is a row that is written a second time. One too many only costs a look."""
    folder = tmp_path_factory.mktemp("files")
    names = [written(folder, f"{n}", pairs, pa.string()) for n, pairs in enumerate(files)]
    rows = {name: len(there) for name, there in zip(names, files, strict=True)}
    known = KnownKeys(most)

    for pairs in asked:
        wanted = {"one": sorted({p[0] for p in pairs}), "other": sorted({p[1] for p in pairs})}
        found = set(known.files_with(system(folder), rows, wanted))

        for name, there in zip(names, files, strict=True):
            if set(there) & set(pairs):
                assert name in found
            if most >= sum(rows.values()) and not any(
                p[0] in wanted["one"] and p[1] in wanted["other"] for p in there
            ):
                assert name not in found
        assert len(known) <= most


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.string()])
def test_texts_of_any_arrow_type_are_keys(tmp_path, kind):
    """Files that delta-rs wrote may give them another than ours."""
    name = written(tmp_path, "file", [("a", "b")], kind)
    known = KnownKeys()

    assert known.files_with(system(tmp_path), {name: 1}, {"one": ["a"]}) == [name]
    assert known.files_with(system(tmp_path), {name: 1}, {"one": ["b"]}) == []


def test_a_file_is_read_once(tmp_path):
    name = written(tmp_path, "file", [("a", "b")], pa.string())
    known = KnownKeys()
    assert known.files_with(system(tmp_path), {name: 1}, {"one": ["a"]}) == [name]
    (tmp_path / name).unlink()

    assert known.files_with(system(tmp_path), {name: 1}, {"one": ["a"]}) == [name]
    assert known.files_with(system(tmp_path), {name: 1}, {"one": ["z"]}) == []


def test_a_file_with_more_keys_than_may_be_kept_is_not_looked_into(tmp_path):
    """The scan of the flush reads it in pieces; here it would lie in memory as a whole."""
    small = written(tmp_path, "small", [("a", "b")], pa.string())
    known = KnownKeys(most=10)

    found = known.files_with(
        system(tmp_path), {small: 1, "large": 500, "unknown": None}, {"one": ["z"]}
    )

    assert found == ["large", "unknown"]
    assert len(known) == 1


def test_files_that_nobody_asks_about_any_more_make_room(tmp_path):
    """A merge replaces files; theirs are of no use any more."""
    old, new = (written(tmp_path, n, [("a", "b"), ("c", "d")], pa.string()) for n in ("old", "new"))
    known = KnownKeys(most=3)
    known.files_with(system(tmp_path), {old: 2}, {"one": ["z"]})

    assert known.files_with(system(tmp_path), {old: 2, new: 2}, {"one": ["z"]}) == [new]
    assert known.files_with(system(tmp_path), {new: 2}, {"one": ["z"]}) == []
    assert len(known) == 2


def test_a_file_of_our_own_is_known_without_being_read(tmp_path):
    """Whoever has just written it knows its keys; there is no such file here to read."""
    known = KnownKeys()
    known.learn("new", [pa.chunked_array([["a"], ["b"]]), pa.chunked_array([["x", "y"]])])

    def asked(one: str, other: str) -> list[str]:
        return known.files_with(system(tmp_path), {"new": 2}, {"one": [one], "other": [other]})

    assert (asked("a", "x"), asked("a", "y"), asked("c", "x")) == (["new"], [], [])
    assert len(known) == 2


def test_what_is_learned_keeps_to_the_bound():
    known = KnownKeys(most=3)

    for name in ("one", "other"):
        known.learn(name, [pa.chunked_array([["a", "b"]])])

    assert len(known) == 2


def test_a_file_that_is_no_more_in_the_table_leaves_room_for_the_next(tmp_path):
    known = KnownKeys(most=2)
    known.learn("old", [pa.chunked_array([["a", "b"]])])

    known.forget("old")
    known.forget("never there")
    known.learn("new", [pa.chunked_array([["c", "d"]])])

    assert len(known) == 2
    assert known.files_with(system(tmp_path), {"new": 2}, {"one": ["a"]}) == []
