"""Large tables: changes wait in a log beside them, and a fold brings them in piece by piece."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable, write_deltalake
from lakes import removed
from large_world import DRAWN, MANY, SIZES, T0, asked, drawn, lake_in, stored, table_of, told_in

from claimx.adapters.credentials import no_access
from claimx.adapters.lake import Sizes
from claimx.adapters.lake.change_log import SUFFIX, ChangeLog
from claimx.adapters.lake.commit import Committer
from claimx.adapters.lake.creation import ensure_table
from claimx.adapters.lake.deciding import Deciding
from claimx.adapters.lake.folding import Fold
from claimx.adapters.lake.handles import Handle
from claimx.domain.changes import Change, Source
from claimx.domain.tables import CONTACTS, EVENTS, MEDIA, PROJECTS, TABLES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def lake(tmp_path):
    """With a table of media that somebody else has made: one file, in no order."""
    table_of(tmp_path, MANY)
    return lake_in(tmp_path)


def actions(folder: Path, name: str = MEDIA.name) -> list[dict]:
    table = DeltaTable(str(folder / name))
    return pa.table(table.get_add_actions(flatten=True)).to_pylist()


def test_a_flush_into_a_large_table_does_not_touch_it(lake, tmp_path):
    """Its cost is that of what it brings; any Delta reader sees that at once."""
    version = DeltaTable(str(tmp_path / MEDIA.name)).version()

    written = lake.upsert(MEDIA, [asked(3, at=5), asked(MANY + 1, at=5)], T0)

    assert written.logged == 2
    assert DeltaTable(str(tmp_path / MEDIA.name)).version() == version
    log = DeltaTable(str(tmp_path / f"{MEDIA.name}{SUFFIX}")).to_pyarrow_table().to_pylist()
    assert {row["media_id"] for row in log} == {asked(3, 5).values["media_id"], f"m{MANY + 1:06d}"}
    assert {row["source"] for row in log} == {"answer"}
    assert all(row["file_name"] == "asked at 5" for row in log)


def test_a_fold_lays_a_table_out_and_brings_in_what_waits(lake, tmp_path):
    changes = [asked(n, at=n % 7) for n in range(0, MANY, 3)]
    changes += [asked(MANY + n, at=1) for n in range(50)]
    for at in range(0, len(changes), 100):
        lake.upsert(MEDIA, changes[at : at + 100], T0 + at)

    done = lake.large.fold(MEDIA)

    assert (done.ended, done.laid_out) == (True, 1)
    assert done.inserted == 50
    rows = stored(tmp_path)
    assert len(rows) == MANY + 50
    for change in changes:
        row = rows[change.values["media_id"]]
        assert row["file_name"] == change.values["file_name"]
    assert rows["m000001"]["file_name"] == "made elsewhere"
    files = sorted(actions(tmp_path), key=lambda one: one["min.media_id"])
    assert len(files) > 5
    assert all(one["num_records"] <= SIZES.most_of_piece for one in files)
    neighbours = itertools.pairwise(files)
    assert all(one["max.media_id"] < other["min.media_id"] for one, other in neighbours)
    assert actions(tmp_path, f"{MEDIA.name}{SUFFIX}") == []


def test_statistics_skip_files_for_any_reader(lake, tmp_path):
    """What the fold writes of a file's least and greatest values is what is in it."""
    lake.upsert(MEDIA, [asked(n, at=n) for n in range(40)], T0)
    lake.large.fold(MEDIA)

    for action in actions(tmp_path):
        file = ds.dataset(tmp_path / MEDIA.name / action["path"]).to_table()
        ids = file.column("media_id").to_pylist()
        assert action["num_records"] == file.num_rows
        assert (action["min.media_id"], action["max.media_id"]) == (min(ids), max(ids))
        times = [one for one in file.column("last_enriched_at").to_pylist() if one is not None]
        assert action["null_count.last_enriched_at"] == file.num_rows - len(times)
        assert action["min.last_enriched_at"] <= min(times)
        assert action["max.last_enriched_at"] >= max(times)


def test_what_is_written_during_a_fold_waits_for_the_next(lake, tmp_path):
    lake.upsert(MEDIA, [asked(n, at=1) for n in range(200)], T0)
    other = lake_in(tmp_path)
    during = iter(range(1000))

    def write_too() -> bool:
        other.upsert(MEDIA, [asked(10_000 + next(during), at=2)], T0 + 1)
        return True

    lake.large.fold(MEDIA, write_too)

    late = next(during)
    assert late > 3
    assert lake.large.backlog(MEDIA).changes == late
    assert lake.large.fold(MEDIA).inserted == late
    assert len(stored(tmp_path)) == MANY + late


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 9])
def test_a_fold_that_stops_half_way_is_done_by_the_next(lake, tmp_path, steps):
    changes = [asked(n, at=n) for n in range(0, MANY, 5)] + [asked(MANY + 7, at=1)]
    lake.upsert(MEDIA, changes, T0)
    left = iter([True] * steps)

    assert not lake.large.fold(MEDIA, lambda: next(left, False)).ended
    assert lake.large.backlog(MEDIA).changes == len(changes), "nothing is forgotten before the end"
    assert sorted(row["media_id"] for row in lake.rows(MEDIA)) == sorted(
        {f"m{n:06d}" for n in range(MANY)} | {f"m{MANY + 7:06d}"}
    )

    assert lake_in(tmp_path).large.fold(MEDIA).ended
    rows = stored(tmp_path)
    assert len(rows) == MANY + 1
    assert all(
        rows[one.values["media_id"]]["file_name"] == f"asked at {n}"
        for n, one in zip(range(0, MANY, 5), changes, strict=False)
    )
    assert list((tmp_path / "spill").iterdir()) == []


def test_two_folds_at_once_waste_work_and_break_nothing(lake, tmp_path):
    """A lease keeps them apart, and a process that stood still may have lost it."""
    lake.upsert(MEDIA, [asked(n, at=9) for n in range(MANY + 50)], T0)
    other = lake_in(tmp_path)
    once = []

    def other_too() -> bool:
        if len(once) < 2:
            once.append(other.large.fold(MEDIA).ended)
        return True

    lake.large.fold(MEDIA, other_too)

    assert once[0] is True
    rows = stored(tmp_path)
    assert len(rows) == MANY + 50
    assert {row["file_name"] for row in rows.values()} == {"asked at 9"}


def test_an_older_answer_in_the_log_does_not_win_over_the_table(lake, tmp_path):
    lake.upsert(MEDIA, [asked(4, at=50)], T0)
    lake.large.fold(MEDIA)
    lake.upsert(MEDIA, [asked(4, at=20)], T0 + 1)

    done = lake.large.fold(MEDIA)

    assert (done.updated, done.inserted) == (0, 0)
    assert stored(tmp_path)["m000004"]["file_name"] == "asked at 50"


def test_columns_that_others_have_added_stay(lake, tmp_path):
    path = str(tmp_path / MEDIA.name)
    theirs = pa.table({"media_id": ["m000003"], "verdict": ["good"]})
    DeltaTable(path).merge(
        theirs, "t.media_id = s.media_id", source_alias="s", target_alias="t", merge_schema=True
    ).when_matched_update_all().execute()

    lake.upsert(MEDIA, [asked(3, at=5), asked(4, at=5), asked(MANY, at=5)], T0)
    lake.large.fold(MEDIA)

    rows = stored(tmp_path)
    assert rows["m000003"]["verdict"] == "good"
    assert rows["m000003"]["file_name"] == "asked at 5"
    assert rows["m000004"]["verdict"] is None
    assert rows[f"m{MANY:06d}"]["verdict"] is None


def test_a_row_that_the_log_cannot_take_is_refused_alone(lake):
    bad = asked(5, at=1)
    bad.values["latitude"] = "north"

    written = lake.upsert(MEDIA, [asked(4, at=1), bad, asked(6, at=1)], T0)

    assert written.logged == 2
    assert [change for change, _ in written.refused] == [bad]


def test_keys_of_several_parts_are_told_apart(tmp_path):
    """Pieces go by the first part alone; many rows may share it."""
    lake = lake_in(tmp_path, Sizes(direct=-1, piece=10, most_of_piece=20, changes=7))
    rng = random.Random(3)

    def contact(project: int, email: int, at: int) -> Change:
        values = {
            "project_id": f"p{project}",
            "contact_email": f"{email}@x.y",
            "contact_type": "CLAIM_REP",
            "first_name": f"at {at}",
        }
        return Change(CONTACTS.name, values, Source.ANSWER, f"e{at}", T0 + at, T0 + at)

    newest: dict[tuple[int, int], int] = {}
    for at in range(300):
        project, email = rng.randrange(9), rng.randrange(20)
        newest[project, email] = at
        lake.upsert(CONTACTS, [contact(project, email, at)], T0 + at)
        if at % 60 == 0:
            lake.large.fold(CONTACTS)

    lake.large.fold(CONTACTS)

    rows = DeltaTable(str(tmp_path / CONTACTS.name)).to_pyarrow_table().to_pylist()
    assert {(row["project_id"], row["contact_email"]): row["first_name"] for row in rows} == {
        (f"p{project}", f"{email}@x.y"): f"at {at}" for (project, email), at in newest.items()
    }
    assert len(rows) == len(newest)


def test_rows_that_share_the_first_part_of_their_key_stay_together(tmp_path):
    """However many they are, a fold comes to its end."""
    lake = lake_in(tmp_path, Sizes(direct=-1, piece=4, most_of_piece=8, changes=100))

    def contact(email: int, at: int) -> Change:
        values = {"project_id": "p", "contact_email": f"{email}@x.y", "contact_type": "CLAIM_REP"}
        return Change(CONTACTS.name, values, Source.ANSWER, f"e{at}", T0 + at, T0 + at)

    for at in range(3):
        lake.upsert(CONTACTS, [contact(email, at) for email in range(30)], T0 + at)
        assert lake.large.fold(CONTACTS).ended

    rows = DeltaTable(str(tmp_path / CONTACTS.name)).to_pyarrow_table().to_pylist()
    assert sorted(row["contact_email"] for row in rows) == sorted(f"{n}@x.y" for n in range(30))
    assert len(actions(tmp_path, CONTACTS.name)) == 1


def test_a_table_that_is_removed_is_made_again_by_the_fold(lake, tmp_path):
    lake.upsert(MEDIA, [asked(4, at=1)], T0)
    (tmp_path / MEDIA.name).rename(tmp_path / "away")

    assert lake_in(tmp_path).large.fold(MEDIA).ended

    assert list(stored(tmp_path)) == ["m000004"]


def test_a_small_table_is_merged_at_once(tmp_path):
    lake = lake_in(tmp_path)

    written = lake.upsert(
        PROJECTS,
        [Change(PROJECTS.name, {"project_id": "p", "city": "Ulm"}, Source.ANSWER, "e", T0, T0)],
        T0,
    )

    assert (written.inserted, written.logged) == (1, 0)
    assert not (tmp_path / f"{PROJECTS.name}{SUFFIX}").exists()


def test_maintenance_leaves_the_pieces_and_empties_what_was_folded(lake, tmp_path):
    for at in range(4):
        lake.upsert(MEDIA, [asked(n, at=at) for n in range(100)], T0 + at)
        lake.large.fold(MEDIA)
    before = {one["path"] for one in actions(tmp_path)}

    done = lake.maintain(MEDIA, full=True)

    assert done.problems == ()
    assert {one["path"] for one in actions(tmp_path)} == before
    assert lake.rows(MEDIA)


class Overtaken(Handle):
    """A handle of a process that others are faster than, before one of its looks."""

    def overtake(self, look: int, others: Callable[[], None]) -> None:
        self._looks, self._others = itertools.count(1), {look: others}

    def fresh(self) -> DeltaTable:
        self._others.pop(next(self._looks), lambda: None)()
        return super().fresh()


@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_a_table_that_others_lay_out_between_looks_of_a_fold_keeps_one_row_a_key(
    lake, tmp_path, look
):
    """A file that lies across pieces of an older version was written once with each of them."""
    lake.upsert(MEDIA, [asked(n, at=1) for n in range(MANY)], T0)
    assert lake.large.fold(MEDIA).ended
    changes = [asked(n, at=5) for n in range(0, MANY, 7)] + [asked(MANY + 1, at=5)]
    lake.upsert(MEDIA, changes, T0 + 5)

    def in_one_file() -> None:
        path = str(tmp_path / MEDIA.name)
        write_deltalake(path, DeltaTable(path).to_pyarrow_table(), mode="overwrite")

    handle = Overtaken(str(tmp_path / MEDIA.name), no_access, time.monotonic)
    handle.overtake(look, in_one_file)
    waiting = ChangeLog(
        MEDIA,
        Handle(str(tmp_path / f"{MEDIA.name}{SUFFIX}"), no_access, time.monotonic),
        ensure_table,
    )
    fold = Fold(
        waiting,
        handle,
        Committer(time.sleep, random.random),
        partial(Deciding(None).of, MEDIA),
        tmp_path / "spill",
        sizes=SIZES,
    )

    assert fold.run(waiting.pending()).ended

    ids = DeltaTable(str(tmp_path / MEDIA.name)).to_pyarrow_table().column("media_id").to_pylist()
    assert sorted(ids) == [f"m{n:06d}" for n in range(MANY)] + [f"m{MANY + 1:06d}"]
    rows = stored(tmp_path)
    assert {rows[one.values["media_id"]]["file_name"] for one in changes} == {"asked at 5"}


@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_a_compaction_in_the_midst_of_a_fold_doubles_no_row(tmp_path, look):
    """
    Somebody else's maintenance may compact any table at any time.

    delta-rs takes a compaction for no conflict: the files that a fold takes out are gone, and what
    stood in them is in the compacted file, beside what the fold brings.
    """
    sizes = Sizes(direct=110, piece=40, most_of_piece=80)
    small, lake = lake_in(tmp_path, Sizes(direct=10_000)), lake_in(tmp_path, sizes)
    for number in range(120):
        small.upsert(MEDIA, [asked(number, at=1)], T0)
    assert lake.upsert(MEDIA, [asked(3, at=5)], T0 + 5).logged == 1
    looks = itertools.count(1)

    def go_on() -> bool:
        if next(looks) == look:
            DeltaTable(str(tmp_path / MEDIA.name)).optimize.compact()
        return True

    assert lake.large.fold(MEDIA, go_on).ended

    ids = DeltaTable(str(tmp_path / MEDIA.name)).to_pyarrow_table().column("media_id").to_pylist()
    assert sorted(ids) == [f"m{number:06d}" for number in range(120)]
    assert stored(tmp_path)["m000003"]["file_name"] == "asked at 5"


WRITER = """
import random, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
from large_world import DRAWN, T0, drawn, lake_in, said
from claimx.domain.tables import TABLES

folder, seed = Path(sys.argv[2]), int(sys.argv[3])
lake = lake_in(folder)
for number, batch in enumerate(drawn(seed)):
    for table in random.Random(number).sample(list(TABLES.values()), len(TABLES)):
        lake.upsert(table, [said(table, n % DRAWN, n) for n in batch], T0 + number)
        if number % 3 == seed % 3:
            lake.large.fold(table)
"""


def test_what_a_fold_replaced_goes_an_hour_later_and_not_sooner(lake, tmp_path):
    """Whoever has opened the table reads on for that long; gigabytes do not lie about longer."""
    for at in (1, 5, 9):
        lake.upsert(MEDIA, [asked(n, at=at) for n in range(MANY)], T0 + at)
        assert lake.large.fold(MEDIA).ended
    folder = tmp_path / MEDIA.name
    before = {path.name for path in folder.glob("*.parquet")}
    named = {row["path"] for row in actions(tmp_path)}
    uncommitted = folder / "part-of-a-writer-that-has-yet-to-commit.parquet"
    uncommitted.write_bytes(b"")
    os.utime(uncommitted, (time.time() - 7200, time.time() - 7200))
    commits = sorted((folder / "_delta_log").glob("*.json"))
    old = removed(minutes_ago=61, by=commits[: len(commits) // 2])
    young = removed(minutes_ago=59, by=commits[len(commits) // 2 :])
    assert old
    assert young
    rows = stored(tmp_path)

    lake_in(tmp_path).maintain(MEDIA)

    there = {path.name for path in folder.glob("*.parquet")}
    assert young | named <= before
    assert there == (before - old) | {uncommitted.name}
    assert stored(tmp_path) == rows


def test_four_writers_that_fold_and_are_killed_leave_one_row_a_key(tmp_path):
    """
    All nine tables, overlapping and differently composed batches, redelivery.

    One table is large from the start, the others grow so in the middle of it; those are made by
    whoever comes first. Whoever is killed begins anew.
    """
    table_of(tmp_path, MANY)
    rng = random.Random(11)
    path = ":".join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])

    def start(seed: int) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", WRITER, path, str(tmp_path), str(seed)])

    running = {seed: start(seed) for seed in range(4)}
    kills = 0
    deadline = time.monotonic() + 250
    while running:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        for seed, process in list(running.items()):
            if process.poll() is None:
                if kills < 6 and rng.random() < 0.1:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                    running[seed] = start(seed)
                continue
            assert process.returncode == 0
            del running[seed]

    newest: dict[int, int] = {}
    for n in (n for seed in range(4) for batch in drawn(seed) for n in batch):
        newest[n % DRAWN] = max(n, newest.get(n % DRAWN, n))
    for name, table in TABLES.items():
        if not table.insert_only:
            assert lake_in(tmp_path).large.fold(table).ended
        rows = DeltaTable(str(tmp_path / name)).to_pyarrow_table().to_pylist()
        told = [(row[table.key[0]], row[told_in(table)]) for row in rows]
        told = [one for one in told if one[0].startswith(f"{table.key[0]}-")]
        assert len({key for key, _ in told}) == len(told), name
        if table is not EVENTS:
            assert dict(told) == {
                f"{table.key[0]}-{number}": f"asked at {n}" for number, n in newest.items()
            }, name
        assert len(told) == len(newest), name
    assert kills >= 3
