"""A run of a benchmark counts only when the lake is what it must be."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from pipelines.appending import Appender
from pipelines.complete import check, wait_for_all
from pipelines.job import ATTACHMENTS, EVENTS, Job

from claimx.domain.errors import Unavailable
from claimx.domain.tables import TABLES
from claimx.sandbox.world import World

WORLD = {
    "seed": 7,
    "events": 100,
    "mix": "media",
    "specials": False,
    "smallest": 5000,
    "largest": 5000,
}


@pytest.fixture(scope="module")
def truth():
    return World(**WORLD, at=1_780_000_000).truth


@pytest.fixture
def job(tmp_path):
    for name in ("lake", "files"):
        (tmp_path / name).mkdir()
    return Job({}, "", 0, tmp_path, events=100, files=50, world=WORLD)


def written(job: Job, truth, *, without=(), again=(), **changed) -> None:
    """Write what the truth says, but for the rows of some keys and for columns of the first."""
    appender = Appender(job.lake)
    for name, rows in truth.tables.items():
        for key in (*rows, *again) if name == EVENTS else rows:
            if (name, key) in without:
                continue
            row = dict(zip(TABLES[name].key, key, strict=True))
            if name in (EVENTS, ATTACHMENTS):
                row["status"] = "enriched" if name == EVENTS else "completed"
            if name == EVENTS:
                row["event_date"] = "2026-11-28"
            if name == ATTACHMENTS:
                row |= {name: rows[key][name] for name in ("bytes", "sha256")}
                row["blob_path"] = path = f"7/media/{key[0]}"
                stored(job, path, row["bytes"])
            appender.add([(name, row | changed if key == min(rows) else row)])
    appender.flush()


def stored(job: Job, path: str, size: int) -> None:
    file = Path(job.files_folder / path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))


def test_what_the_truth_says_is_complete(job, truth):
    written(job, truth)

    check(job, job.lake)


def test_a_job_that_was_saved_knows_its_world(job):
    assert json.loads(job.save().read_text())["world"] == WORLD


def test_rows_of_other_tables_may_come_behind_the_last_event(job, truth):
    """The floor, whose 30,000th event makes a batch full, lost a round for it."""
    written(job, truth)
    commit = job.lake / "claimx_contacts/_delta_log/00000000000000000001.json"
    aside = commit.rename(job.folder / "aside.json")
    with pytest.raises(Unavailable, match=r"claimx_contacts: \d+ missing"):
        wait_for_all(job, job.lake, seconds=0.1)

    later = threading.Timer(0.3, aside.rename, [commit])
    later.start()

    wait_for_all(job, job.lake)
    later.join()


@pytest.mark.parametrize("table", [EVENTS, ATTACHMENTS, "claimx_projects", "claimx_contacts"])
def test_a_row_that_is_missing_is_told(job, truth, table):
    """Only rows of events and attachments were counted."""
    written(job, truth, without={(table, min(truth.tables[table]))})

    with pytest.raises(Unavailable, match=f"{table}: 1 missing"):
        check(job, job.lake)


def test_a_doubled_event_does_not_stand_for_a_missing_one(job, truth):
    first, last = min(truth.tables[EVENTS]), max(truth.tables[EVENTS])
    written(job, truth, without={(EVENTS, first)}, again=[last])

    with pytest.raises(Unavailable, match=r"claimx_events: 1 missing"):
        check(job, job.lake)


def test_an_event_twice_is_told(job, truth):
    written(job, truth, again=[max(truth.tables[EVENTS])])

    with pytest.raises(Unavailable, match=r"claimx_events: 1 doubled"):
        check(job, job.lake)


def test_what_failed_is_no_success(job, truth):
    written(job, truth, status="failed")

    with pytest.raises(Unavailable, match=r"1 not (enriched|completed)"):
        check(job, job.lake)


def test_a_file_that_is_cut_is_told(job, truth):
    written(job, truth)
    stored(job, f"7/media/{min(truth.stored)}", 10)

    with pytest.raises(Unavailable, match="files: 1 missing or cut"):
        check(job, job.lake)


def test_a_file_with_another_hash_is_told(job, truth):
    written(job, truth, sha256="0" * 64)

    with pytest.raises(Unavailable, match="files: 1 other than at their host"):
        check(job, job.lake)
