"""What only real tables can get wrong: races, crashes, other people's tables, upkeep."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import (
    CommitProperties,
    DeltaTable,
    Field,
    Schema,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import PrimitiveType
from lakes import T0, answered, lake_in, named, paths_below

from claimx.adapters.credentials import StorageAccess
from claimx.adapters.lake import DeltaLake, commit, files, handles, rewriting, schema, upkeep
from claimx.domain.changes import Change, Source
from claimx.domain.errors import NotAllowed, TokenRejected, Unavailable
from claimx.domain.tables import EVENTS, MEDIA, PROJECTS, TABLES

REPOSITORY = Path(__file__).parents[2]


def media(name: str, at: int = 5, **values) -> Change:
    values = {"media_id": name, "file_name": f"{at}"} | values
    return Change(MEDIA.name, values, Source.ANSWER, "e1", T0, T0 + at)


def event(name: str, time: int = 0) -> Change:
    values = {"event_id": name, "ingested_at": T0 + time}
    return Change(EVENTS.name, values, Source.RESULT, name, T0 + time)


RACER = textwrap.dedent(
    """
    import random, sys
    from claimx.adapters.lake import DeltaLake
    from claimx.domain.changes import Change, Source
    from claimx.domain.tables import EVENTS, MEDIA, PROJECTS, TABLES

    folder, seed, T0 = sys.argv[1], int(sys.argv[2]), 1_790_000_000_000_000
    lake = DeltaLake({name: folder + "/" + name for name in TABLES})
    dice = random.Random(seed)
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(6):
        keys = dice.sample(range(40), 15)
        at = 2 * turn + seed % 2
        happened = {f"e{k}": {"event_id": f"e{k}", "ingested_at": T0} for k in keys}
        found = [{"media_id": f"m{k}", "file_name": str(at)} for k in keys]
        answer = {"project_id": "p", "master_file_name": f"API {seed}"}
        given = {"project_id": "p", "master_file_name": f"MFN {seed}"}
        lake.upsert(EVENTS, [
            Change(EVENTS.name, row, Source.RESULT, name, T0) for name, row in happened.items()
        ], T0)
        lake.upsert(MEDIA, [
            Change(MEDIA.name, row, Source.ANSWER, "e", T0, T0 + at) for row in found
        ], T0)
        lake.upsert(PROJECTS, [
            Change(PROJECTS.name, answer, Source.ANSWER, "a", T0, T0 + turn),
            *([Change(PROJECTS.name, given, Source.EVENT, f"f{seed}", T0 + seed)] * (turn == 3)),
        ], T0)
    """
)


def test_processes_that_race_for_the_same_keys_leave_one_row_each_with_the_newest_value(tmp_path):
    """Plain appends never collide: without the shared transaction both would insert a key."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), str(seed)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate(timeout=100)
        assert racer.returncode == 0

    lake = lake_in(tmp_path)
    for table, key in ((EVENTS, "event_id"), (MEDIA, "media_id")):
        keys = [row[key] for row in lake.rows(table)]
        assert len(keys) == len(set(keys))
    (project,) = lake.rows(PROJECTS)
    assert project["master_file_name"] == "MFN 2"
    assert project["last_enriched_at"] == T0 + 5


def test_threads_that_race_with_their_own_lakes_lose_no_update(tmp_path):
    lake_in(tmp_path).ensure(MEDIA)
    failures = []

    def write(number: int) -> None:
        lake = DeltaLake(paths_below(tmp_path))
        try:
            for at in range(4):
                mine = media(f"own {number} {at}")
                lake.upsert(MEDIA, [media("shared", 10 * at + number), mine], T0)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    rows = {row["media_id"]: row for row in lake_in(tmp_path).rows(MEDIA)}
    assert len(rows) == 13
    assert rows["shared"]["file_name"] == "32"


def meddle_once(lake: DeltaLake, action) -> None:
    """Let *action* happen between a commit's reading and its writing, the first time."""
    happened = []

    def once():
        if not happened:
            happened.append(True)
            action()

    meddle(lake, once)


def meddle(lake: DeltaLake, action) -> None:
    """Let *action* happen between each commit's reading and its writing."""
    of = lake._deciding.of

    def meddled(*args):
        decide = of(*args)

        def decided(stored):
            plan = decide(stored)
            action()
            return plan

        return decided

    lake._deciding.of = meddled


@pytest.mark.parametrize("first", ["an append", "a merge"])
def test_a_commit_that_comes_between_reading_and_writing_is_read_too(tmp_path, first):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    if first == "a merge":
        lake.upsert(MEDIA, [media("m", 1)], T0)
    meddle_once(lake, lambda: other.upsert(MEDIA, [media("m", 9)], T0))

    written = lake.upsert(MEDIA, [media("m", 5)], T0)

    (row,) = lake.rows(MEDIA)
    assert row["file_name"] == "9"
    assert (written.inserted, written.updated, written.unchanged) == (0, 0, 1)


def test_a_compaction_between_reading_and_writing_doubles_no_row(tmp_path):
    """
    delta-rs commits again over one that only rearranges files; ours must not.

    It would take out a file that is gone already, and leave its rows in the compacted one.
    """
    lake = lake_in(tmp_path)
    for name in ("m1", "m2"):
        lake.upsert(MEDIA, [media(name, 1)], T0)
    compact = DeltaTable(tmp_path / MEDIA.name).optimize.compact
    meddle_once(lake, compact)

    lake.upsert(MEDIA, [media("m1", 5)], T0)

    rows = {row["media_id"]: row["file_name"] for row in lake.rows(MEDIA)}
    assert (rows, len(lake.rows(MEDIA))) == ({"m1": "5", "m2": "1"}, 2)


def test_a_key_that_stands_twice_has_one_row_once_more_is_said_of_it(tmp_path):
    """Nothing of ours writes one twice; what an older release did is mended on the way."""
    lake = lake_in(tmp_path)
    for name in ("m1", "m2"):
        lake.upsert(MEDIA, [media(name, 1)], T0)
    stored = DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table()
    write_deltalake(tmp_path / MEDIA.name, stored, mode="append")

    lake.upsert(MEDIA, [media("m1", 5)], T0)

    rows = sorted((row["media_id"], row["file_name"]) for row in lake.rows(MEDIA))
    assert rows == [("m1", "5"), ("m2", "1"), ("m2", "1")]


def test_the_log_says_how_long_our_files_are(tmp_path):
    """Readers look for a file's footer by it."""
    lake = lake_in(tmp_path)
    for at in (1, 5):
        lake.upsert(MEDIA, [media(f"m{n}", at) for n in range(100 * at)], T0)

    files = pa.table(DeltaTable(tmp_path / MEDIA.name).get_add_actions()).to_pylist()
    lengths = {one["path"]: (tmp_path / MEDIA.name / one["path"]).stat().st_size for one in files}
    assert {one["path"]: one["size_bytes"] for one in files} == lengths


def test_only_files_whose_rows_change_are_written_anew(tmp_path):
    lake = lake_in(tmp_path)
    for name in ("m1", "m2", "m3"):
        lake.upsert(MEDIA, [media(name, 1)], T0)
    before = set(DeltaTable(tmp_path / MEDIA.name).file_uris())

    lake.upsert(MEDIA, [media("m1", 5), media("m3", 1), media("m4", 1)], T0)

    after = set(DeltaTable(tmp_path / MEDIA.name).file_uris())
    assert (len(before - after), len(after - before), len(after)) == (1, 1, 3)


def test_a_name_given_between_reading_and_writing_holds(tmp_path):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(PROJECTS, [answered(1)], T0)
    meddle_once(lake, lambda: other.upsert(PROJECTS, [named(3)], T0))

    lake.upsert(PROJECTS, [answered(9)], T0)

    (row,) = lake.rows(PROJECTS)
    assert (row["master_file_name"], row["last_enriched_at"]) == ("MFN 3", T0 + 9)


def test_an_older_mfn_event_that_waited_does_not_undo_a_newer_one(tmp_path):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    meddle_once(lake, lambda: other.upsert(PROJECTS, [named(8)], T0))

    lake.upsert(PROJECTS, [named(3)], T0)

    (row,) = lake.rows(PROJECTS)
    assert row["master_file_name"] == "MFN 8"


def test_losing_every_race_ends_as_unavailable(tmp_path):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m", 1)], T0)
    rounds = iter(range(2, 100))
    meddle(lake, lambda: other.upsert(MEDIA, [media("m", next(rounds))], T0))

    with pytest.raises(Unavailable, match="12 times"):
        lake.upsert(MEDIA, [media("m", 500)], T0)


def test_what_a_lost_race_has_written_goes_with_it(tmp_path):
    """It stayed for two days, a file with each of twelve tries."""
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m", 1)], T0)
    rounds = iter(range(2, 100))
    meddle(lake, lambda: other.upsert(MEDIA, [media("m", next(rounds))], T0))

    with pytest.raises(Unavailable):
        lake.upsert(MEDIA, [media("m", 500)], T0)

    folder = tmp_path / MEDIA.name
    log = "".join(one.read_text() for one in folder.glob("_delta_log/*.json"))
    assert [one.name for one in folder.glob("*.parquet") if one.name not in log] == []


def test_files_of_a_write_that_fails_in_its_midst_are_removed(tmp_path, monkeypatch):
    """On a full disk each try left some more of them."""
    lake_in(tmp_path).ensure(MEDIA)
    table = DeltaTable(tmp_path / MEDIA.name)
    lacking = dict.fromkeys(MEDIA.column_names)
    rows = schema.to_arrow(MEDIA, [{**lacking, "media_id": f"m{n}"} for n in range(40)])
    write, written = pq.write_table, []

    def fill_the_disk(*arguments, **options):
        written.append(len(list((tmp_path / MEDIA.name).glob("*.parquet"))))
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **options)

    monkeypatch.setattr(pq, "write_table", fill_the_disk)

    with pytest.raises(OSError, match="No space"):
        rewriting.written(table, MEDIA, rows, 10)

    assert written == [1, 2, 3]
    assert list((tmp_path / MEDIA.name).glob("*.parquet")) == []


def test_what_is_in_the_table_stays_though_its_commit_seems_lost(tmp_path):
    """An answer that was lost, and the commit made once more, look like another's that won."""
    lake_in(tmp_path).upsert(MEDIA, [media("m", 1)], T0)
    first, again = (DeltaTable(tmp_path / MEDIA.name) for _ in range(2))
    rows = first.to_pyarrow_table()
    added = [files.write_file(first, MEDIA, rows)]
    once = CommitProperties(max_commit_retries=0)
    files.replace(first, MEDIA, [], added, once)

    with pytest.raises(CommitFailedError):
        files.replace(again, MEDIA, [], added, once)

    assert DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table().num_rows == 2


@pytest.mark.parametrize("stored", [[], [media("m1", 1)]], ids=["append", "merge"])
def test_an_error_after_the_commit_is_unknown_and_applying_again_is_right(
    tmp_path, stored, monkeypatch
):
    """The hooks run after a commit is durable, and a lost answer looks the same."""
    lake = lake_in(tmp_path)
    if stored:
        lake.upsert(MEDIA, stored, T0)
    changes = [media("m1", 5), media("m2", 5)]
    with monkeypatch.context() as context:

        def stumble(*_):
            raise OSError("connection reset")

        context.setattr(handles.Handle, "committed", stumble)
        with pytest.raises(Unavailable, match=r"claimx_media: the lake failed \(OSError\)"):
            lake.upsert(MEDIA, changes, T0 + 1)

    again = lake.upsert(MEDIA, changes, T0 + 9)

    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 2)
    assert sorted(row["media_id"] for row in lake.rows(MEDIA)) == ["m1", "m2"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (DeltaError("a/b?sig=x: No room (os error 28)"), "DeltaError: No space left on device"),
        (OSError(13, "a/b?sig=x"), "PermissionError: Permission denied"),
        (DeltaError("a/b?sig=x: 503 Service Unavailable"), "DeltaError: status 503"),
        (DeltaError("a/b?sig=x: who knows"), "DeltaError"),
    ],
)
def test_an_outage_says_what_the_system_calls_it_and_nothing_else_of_its_text(tmp_path, error, why):
    """Of a full disk the writer's log said that the lake failed."""
    handle = lake_in(tmp_path)._handles[MEDIA.name]

    with pytest.raises(Unavailable) as raised, handles.our_errors("media", handle):
        raise error

    assert str(raised.value) == f"media: the lake failed ({why})"


class PanicException(BaseException):
    """What Rust's panic is in Python: no Exception."""


def test_a_panic_is_an_outage_and_the_lake_goes_on(tmp_path):
    lake = lake_in(tmp_path)
    lake.ensure(MEDIA)

    def panic():
        raise PanicException("Forked process detected")

    meddle_once(lake, panic)
    with pytest.raises(Unavailable, match="PanicException"):
        lake.upsert(MEDIA, [media("m")], T0)

    assert lake.upsert(MEDIA, [media("m")], T0).inserted == 1


def test_an_interrupt_is_not_swallowed(tmp_path):
    lake = lake_in(tmp_path)

    def interrupt():
        raise KeyboardInterrupt

    meddle_once(lake, interrupt)

    with pytest.raises(KeyboardInterrupt):
        lake.upsert(MEDIA, [media("m")], T0)


def test_nothing_to_write_makes_no_commit(tmp_path):
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m")], T0)
    before = DeltaTable(tmp_path / MEDIA.name).version()

    lake.upsert(MEDIA, [media("m")], T0 + 1)
    lake.upsert(MEDIA, [], T0 + 1)

    assert DeltaTable(tmp_path / MEDIA.name).version() == before


def test_unchanged_rows_of_a_batch_are_not_written(tmp_path):
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("a"), media("b")], T0)

    written = lake.upsert(MEDIA, [media("a"), media("c")], T0)

    metrics = DeltaTable(tmp_path / MEDIA.name).history(1)[0]
    assert (written.inserted, written.unchanged) == (1, 1)
    assert metrics["operation"] == "WRITE"


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_new_table_is_readable_by_every_reader(tmp_path, table):
    """Protocol 1/2 and times with a zone: Fabric drops columns without one in silence."""
    lake_in(tmp_path).ensure(table)

    made = DeltaTable(tmp_path / table.name)
    assert (made.protocol().min_reader_version, made.protocol().min_writer_version) == (1, 2)
    assert made.protocol().reader_features is None
    assert [field.name for field in made.schema().fields] == list(table.column_names)
    assert "timestamp_ntz" not in made.schema().to_json()
    assert made.metadata().partition_columns == list(table.partition_by)
    configuration = made.metadata().configuration
    assert configuration["delta.checkpointInterval"] == "20"
    assert configuration["delta.logRetentionDuration"] == "interval 2 days"
    assert configuration["delta.dataSkippingStatsColumns"].startswith(
        "ingested_at,event_id" if table is EVENTS else ",".join(table.key)
    )


def test_columns_declared_later_are_added_and_old_rows_have_null(tmp_path):
    older = pa.schema([("media_id", pa.string()), ("project_id", pa.string())])
    write_deltalake(
        tmp_path / MEDIA.name, pa.table({"media_id": ["m1"], "project_id": ["p"]}, schema=older)
    )
    lake = lake_in(tmp_path)

    lake.upsert(MEDIA, [media("m1", project_id="q"), media("m2")], T0)

    rows = {row["media_id"]: row for row in lake.rows(MEDIA)}
    assert rows["m1"]["project_id"] == "q"
    assert rows["m2"]["file_name"] == "5"


def test_columns_that_a_newer_release_added_stay(tmp_path):
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m1")], T0)
    table = DeltaTable(tmp_path / MEDIA.name)
    table.alter.add_columns([Field("from_tomorrow", PrimitiveType("string"))])
    table.update({"from_tomorrow": "'kept'"})

    lake.upsert(MEDIA, [media("m1", 9), media("m2")], T0)
    lake.upsert(MEDIA, [media("m3")], T0)

    stored = DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table().to_pylist()
    assert {row["media_id"]: row["from_tomorrow"] for row in stored} == {
        "m1": "kept",
        "m2": None,
        "m3": None,
    }


def test_a_table_of_another_shape_is_refused_by_name(tmp_path):
    DeltaTable.create(
        tmp_path / MEDIA.name, Schema.from_arrow(pa.schema([("media_id", pa.int64())]))
    )
    DeltaTable.create(
        tmp_path / EVENTS.name, Schema.from_arrow(pa.schema([("event_id", pa.string())]))
    )
    lake = lake_in(tmp_path)

    with pytest.raises(NotAllowed, match=r"claimx_media.media_id is long .* declared string"):
        lake.ensure(MEDIA)
    with pytest.raises(NotAllowed, match="claimx_events is partitioned by nothing"):
        lake.upsert(EVENTS, [event("e")], T0)


def test_creators_that_race_make_one_table(tmp_path):
    barrier, failures = threading.Barrier(4), []

    def create() -> None:
        lake = DeltaLake(paths_below(tmp_path))
        barrier.wait()
        try:
            lake.ensure(PROJECTS)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert lake_in(tmp_path).rows(PROJECTS) == []


def test_a_table_that_somebody_removed_is_made_again(tmp_path):
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m")], T0)
    os.rename(tmp_path / MEDIA.name, tmp_path / "elsewhere")  # noqa: PTH104

    lake.upsert(MEDIA, [media("m")], T0)

    assert len(lake.rows(MEDIA)) == 1


@pytest.mark.parametrize("commits", [1, 3, 4, 5])
@pytest.mark.parametrize(("table", "say"), [(MEDIA, media), (EVENTS, event)])
def test_a_table_made_anew_is_not_taken_for_the_old_one(tmp_path, table, say, commits):
    """
    It may be at the very version that is open, or beyond it, and its log goes on from there.

    What is kept of the old one's files needs no look at them, so nothing fails that would tell: a
    row of the new table would stand twice, and one that only the old one had would not be written.
    """
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    for number in range(3):
        lake.upsert(table, [say(f"old {number}")], T0)
    shutil.rmtree(tmp_path / table.name)
    for number in range(commits):
        other.upsert(table, [say(f"new {number}")], T0)

    lake.upsert(table, [say("old 0", 9), say("new 0", 9), say("one more", 9)], T0)

    found = sorted(row[table.key[0]] for row in lake_in(tmp_path).rows(table))
    assert found == sorted([*(f"new {number}" for number in range(commits)), "old 0", "one more"])


def test_a_table_put_back_from_a_copy_and_written_by_another_is_read_anew(tmp_path):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m1")], T0)
    shutil.copytree(tmp_path / MEDIA.name, tmp_path / "copy")
    for number in (2, 3):
        lake.upsert(MEDIA, [media("m1", number), media(f"m{number}")], T0)
    shutil.rmtree(tmp_path / MEDIA.name)
    shutil.move(tmp_path / "copy", tmp_path / MEDIA.name)
    for number in (4, 5, 6):
        other.upsert(MEDIA, [media("m1", number), media(f"m{number}")], T0)

    lake.upsert(MEDIA, [media("m4", 9), media("m2", 9)], T0)

    rows = {row["media_id"]: row["file_name"] for row in lake_in(tmp_path).rows(MEDIA)}
    assert rows == {"m1": "6", "m2": "9", "m4": "9", "m5": "5", "m6": "5"}
    assert len(lake.rows(MEDIA)) == 5


def test_keys_of_files_that_a_flush_replaced_are_not_kept(tmp_path):
    """A file of a few rows that every flush exchanges would come to hold 200,000 of them."""
    lake = lake_in(tmp_path)
    for number in range(5):
        lake.upsert(MEDIA, [media("m1", number), media("m2", number)], T0)

    assert len(lake._handles[MEDIA.name].known_keys) == 2


def test_an_event_that_others_append_between_reading_and_writing_is_there_once(tmp_path):
    """Theirs has no number of ours that would collide, and an append goes beside any other."""
    lake = lake_in(tmp_path)
    lake.upsert(EVENTS, [event("e1")], T0)
    folder = tmp_path / EVENTS.name
    theirs = pa.table({"event_id": ["e2"], "event_date": [date(2026, 9, 21)]})
    meddle_once(lake, lambda: write_deltalake(folder, theirs, mode="append", schema_mode="merge"))

    written = lake.upsert(EVENTS, [event("e2"), event("e3")], T0)

    assert (written.inserted, written.unchanged) == (1, 1)
    assert sorted(row["event_id"] for row in lake.rows(EVENTS)) == ["e1", "e2", "e3"]


@pytest.mark.parametrize("name", ["with space", "50% off", "ü", "#1?"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    lake = lake_in(folder)

    for at in (1, 2):
        lake.upsert(MEDIA, [media("m", at), media(f"m{at}", at)], T0)
    lake.upsert(EVENTS, [event("e")], T0)

    assert len(lake.rows(MEDIA)) == 3
    assert (folder / MEDIA.name / "_delta_log").is_dir()
    assert lake.known_events(["e"], T0, T0) == {"e"}


def test_a_folder_that_readers_would_not_find_is_refused(tmp_path):
    with pytest.raises(NotAllowed, match=r"a%20b.* choose another folder"):
        lake_in(tmp_path / "a%20b").ensure(MEDIA)


def test_a_folder_that_cannot_be_made_is_an_outage(tmp_path):
    """
    It was the disk's own error, of which the lake writer ended at its start.

    Then it was told without the place, which a setting with a typing error has.
    """
    (tmp_path / "lake").write_text("no folder")
    lake = lake_in(tmp_path / "lake")

    with pytest.raises(
        Unavailable, match=r"Not a directory\); no table can be made at file:/.*/lake"
    ):
        lake.ensure(MEDIA)
    with pytest.raises(Unavailable):
        lake.upsert(MEDIA, [media("1")], T0)


def test_a_table_that_cannot_be_opened_is_an_outage_and_stays_as_it_is(tmp_path):
    lake_in(tmp_path).ensure(MEDIA)
    (commit,) = (tmp_path / MEDIA.name / "_delta_log").glob("*.json")
    commit.write_text("no json")

    with pytest.raises(Unavailable):
        lake_in(tmp_path).ensure(MEDIA)

    assert commit.read_text() == "no json"


def test_a_file_uri_is_a_folder(tmp_path):
    lake = DeltaLake({MEDIA.name: (tmp_path / "my lake").as_uri()})

    lake.upsert(MEDIA, [media("m", 1)], T0)

    assert len(lake.rows(MEDIA)) == 1
    assert (tmp_path / "my lake" / "_delta_log").is_dir()


def test_a_handle_is_opened_anew_before_it_grows(tmp_path, monkeypatch):
    opened = []

    def counting(*args, **kwargs):
        opened.append(args)
        return DeltaTable(*args, **kwargs)

    lake = lake_in(tmp_path)
    lake.ensure(MEDIA)
    monkeypatch.setattr(handles, "DeltaTable", counting)
    monkeypatch.setattr(handles, "MAX_COMMITS", 3)

    for number in range(8):
        lake.upsert(MEDIA, [media(f"m{number}")], T0)

    assert len(opened) == 2


def test_a_handle_is_opened_anew_before_its_token_ends(tmp_path):
    now = [0.0]
    lake = DeltaLake(paths_below(tmp_path), clock=lambda: now[0])
    lake.upsert(MEDIA, [media("m1")], T0)
    first = lake._handles[MEDIA.name]._table

    now[0] += handles.MAX_AGE_SECONDS + 1
    lake.upsert(MEDIA, [media("m2")], T0)

    assert lake._handles[MEDIA.name]._table is not first


class TestUpkeep:
    def test_many_small_files_become_one_and_no_row_is_lost(self, tmp_path, monkeypatch):
        monkeypatch.setattr(upkeep, "SMALL_FILES", 4)
        lake = lake_in(tmp_path)
        for number in range(5):
            lake.upsert(MEDIA, [media(f"m{number}")], T0)

        done = lake.maintain(MEDIA)

        assert (done.compacted_files, done.problems) == (5, ())
        assert len(DeltaTable(tmp_path / MEDIA.name).file_uris()) == 1
        assert len(lake.rows(MEDIA)) == 5
        assert lake.upsert(MEDIA, [media("m0", 9)], T0).updated == 1

    def test_only_the_partitions_with_many_small_files_are_rewritten(self, tmp_path, monkeypatch):
        monkeypatch.setattr(upkeep, "SMALL_FILES", 3)
        lake = lake_in(tmp_path)
        for number in range(3):
            lake.upsert(EVENTS, [event(f"e{number}")], T0)
        lake.upsert(EVENTS, [event("late", 86_400_000_000)], T0)

        done = lake.maintain(EVENTS)

        assert done.compacted_files == 3
        assert len(DeltaTable(tmp_path / EVENTS.name).file_uris()) == 2
        assert len(lake.rows(EVENTS)) == 4

    @pytest.mark.parametrize("full", [False, True])
    def test_vacuum_removes_replaced_files_and_leaves_the_names_alone(
        self, tmp_path, monkeypatch, full
    ):
        monkeypatch.setattr(upkeep, "FULL_RETENTION_HOURS", 0)
        folder = tmp_path / PROJECTS.name
        lake = lake_in(tmp_path)
        lake.upsert(PROJECTS, [named(1), answered(1)], T0)
        DeltaTable(folder).alter.set_table_properties(
            {"delta.deletedFileRetentionDuration": "interval 0 hours"}
        )
        for at in (2, 3):
            lake.upsert(PROJECTS, [answered(at)], T0)

        lake.maintain(PROJECTS, full=full)
        lake.upsert(PROJECTS, [answered(9)], T0)

        assert len(list(folder.glob("*.parquet"))) == 2
        assert len(list((folder / "_names").glob("*.parquet"))) == 1
        assert lake.rows(PROJECTS)[0]["master_file_name"] == "MFN 1"

    def test_files_that_a_killed_writer_was_staging_go_after_a_day(self, tmp_path):
        lake = lake_in(tmp_path)
        lake.upsert(MEDIA, [media("m")], T0)
        old, young = (tmp_path / MEDIA.name / f"part-{n}.parquet#1" for n in (1, 2))
        old.touch()
        young.touch()
        os.utime(old, (0, 0))

        lake.maintain(MEDIA)

        assert (old.exists(), young.exists()) == (False, True)

    def test_a_table_that_is_not_there_needs_none(self, tmp_path):
        done = lake_in(tmp_path).maintain(PROJECTS)

        assert (done.compacted_files, done.removed_files, done.problems) == (0, 0, ())

    def test_what_fails_is_told_and_not_raised(self, tmp_path):
        lake = lake_in(tmp_path)
        lake.upsert(MEDIA, [media("m")], T0)
        log = tmp_path / MEDIA.name / "_delta_log"
        for path in log.iterdir():
            path.write_text("no json")

        done = lake_in(tmp_path).maintain(MEDIA)

        assert done.problems
        assert done.problems[0].startswith("claimx_media: ")


class Recorder(BaseHTTPRequestHandler):
    """A storage that refuses everybody, and remembers how they asked."""

    status = 401
    seen: list[dict[str, str]] = []  # noqa: RUF012 - emptied by each test

    def _refuse(self) -> None:
        self.seen.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = _refuse  # noqa: N815 - http.server's names

    def log_message(self, *_args) -> None:
        """Say nothing."""


@pytest.fixture
def storage_server():
    Recorder.seen.clear()
    server = HTTPServer(("127.0.0.1", 0), Recorder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def remote_lake(endpoint: str) -> DeltaLake:
    def access() -> StorageAccess:
        return StorageAccess(
            {
                "azure_storage_account_name": "onelake",
                "azure_storage_endpoint": endpoint,
                "allow_http": "true",
                "bearer_token": "ours",
            }
        )

    root = "abfss://workspace@onelake.dfs.fabric.microsoft.com/lakehouse/Tables"
    return DeltaLake({name: f"{root}/{name}" for name in TABLES}, access)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZURE_SKIP_SIGNATURE", "true"),
        ("AZURE_STORAGE_USE_EMULATOR", "true"),
        ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
        ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=x"),
        ("AZURE_STORAGE_TOKEN", "theirs"),
        ("AZURE_CLIENT_SECRET", "theirs"),
    ],
)
def test_variables_of_the_environment_redirect_no_token(storage_server, monkeypatch, name, value):
    """AZURE_* are merged into the options; azure-identity's own stand there in production."""
    monkeypatch.setenv(name, value)

    with pytest.raises(TokenRejected):
        remote_lake(storage_server).upsert(MEDIA, [media("m")], T0)

    assert Recorder.seen
    assert {ask.get("authorization") for ask in Recorder.seen} == {"Bearer ours"}
    assert not [ask for ask in Recorder.seen if "sig=" in ask["path"]]


def test_a_lake_that_refuses_us_leaks_no_token_into_the_error(storage_server):
    with pytest.raises(TokenRejected) as caught:
        remote_lake(storage_server).ensure(MEDIA)

    assert "ours" not in json.dumps([str(caught.value), repr(caught.value)])


def test_files_are_compressed_with_zstd():
    assert WriterProperties(compression="ZSTD").compression == commit.WRITER.compression
