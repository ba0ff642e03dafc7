"""Reconcile over a pipeline of real processes, whose tables are damaged by another writer."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from deltalake import DeltaTable, write_deltalake
from pipeline_rig import (
    ROOT,
    Answer,
    Rig,
    assert_as_it_must_be,
    assert_dead_as_expected,
    is_idle,
)

from claimx.cli.stack import free_port
from claimx.domain.times import from_datetime
from claimx.sandbox.truth import compare, read_lake
from claimx.services.reconcile import Ending, notes, reconcile

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("pipeline"),
]

EVENTS, MEDIA, ATTACHMENTS = "claimx_events", "claimx_media", "claimx_attachments"
GHOST, GHOST_FILE = "ev-ghost", "9999999"


class Damaged(Rig):
    """A pipeline that is done; what tests put wrong in its tables, they put right again."""

    def table(self, name: str) -> DeltaTable:
        return DeltaTable(str(self.lake / name))

    def row(self, name: str, key: str) -> Any:
        column = "event_id" if name == EVENTS else "media_id"
        whole = self.table(name).to_pyarrow_table()
        (at,) = [n for n, one in enumerate(whole.column(column).to_pylist()) if one == key]
        return whole.slice(at, 1)

    def lose(self, name: str, *keys: str) -> None:
        column = "event_id" if name == EVENTS else "media_id"
        listed = ", ".join(f"'{key}'" for key in keys)
        self.table(name).delete(f"{column} IN ({listed})")

    def double(self, name: str, key: str, *, as_: str = "") -> None:
        row = self.row(name, key)
        if as_:
            at = row.schema.get_field_index("event_id" if name == EVENTS else "media_id")
            row = row.set_column(at, row.schema.field(at), [[as_]])
        write_deltalake(self.table(name), row, mode="append")

    def range(self) -> tuple[str, ...]:
        since, until = self.world.at - timedelta(hours=1), self.world.at + timedelta(hours=1)
        return "--from", since.isoformat(), "--to", until.isoformat()

    def reconcile(self, *more: str, given: str = "", **settings: str) -> Answer:
        return self.claimx("reconcile", *self.range(), *more, given=given, **settings)

    def answering(self, word: str, *arguments: str) -> Answer:
        """Run a command at a terminal, where somebody types *word*."""
        mine, theirs = pty.openpty()
        os.write(mine, f"{word}\n".encode())
        done = subprocess.run(
            [sys.executable, "-m", "claimx", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        os.close(mine)
        os.close(theirs)
        return Answer(done.returncode, done.stdout, done.stderr)

    def keys(self, name: str) -> list[str]:
        """Keys whose rows are of events with ids of their own, in a bounded order."""
        column = "event_id" if name == EVENTS else "media_id"
        return sorted(
            str(one) for one in self.table(name).to_pyarrow_table().column(column).to_pylist()
        )


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Damaged]:
    with Damaged(tmp_path_factory.mktemp("reconcile"), "--events", "100", "--seed", "5") as one:
        one.processes()
        one.until_done()
        yield one


def findings(answer: Answer) -> dict[tuple[str, str], list[str]]:
    assert answer.document["schema_version"] == 1, answer
    rows = answer.document["reconcile"]["findings"]
    return {(row["table"], row["finding"]): sorted(row["ids"]) for row in rows}


def test_a_pipeline_that_is_done_is_well(rig):
    answer = rig.reconcile("-o", "json")

    assert (answer.status, findings(answer)) == (0, {}), answer
    report = answer.document["reconcile"]
    assert report["dead"] == len(rig.world.truth.dead)
    assert report["finished"] >= len(rig.world.truth.enriched)
    assert (report["unread"], report["unsure"]) == (0, 0)


def test_what_another_writer_did_to_the_tables_is_named_and_the_missing_brought_back(rig):
    world = rig.world
    hashed = [one for one in rig.keys(EVENTS) if len(one) == 64]
    own = [one for one in rig.keys(EVENTS) if one.startswith("ev-")]
    done = [k for k, row in world.truth.tables[ATTACHMENTS].items() if k[0] in world.truth.stored]
    files = sorted(key[0] for key in done)
    lost, doubled = sorted([*own[:3], hashed[0]]), own[5]
    rig.lose(EVENTS, *lost)
    rig.lose(ATTACHMENTS, *files[:2])
    rig.double(EVENTS, doubled)
    rig.double(EVENTS, own[6], as_=GHOST)
    rig.double(ATTACHMENTS, files[3])
    rig.double(ATTACHMENTS, files[4], as_=GHOST_FILE)
    left = {
        (EVENTS, "extra"): [GHOST],
        (EVENTS, "doubled"): [doubled],
        (ATTACHMENTS, "extra"): [GHOST_FILE],
        (ATTACHMENTS, "doubled"): [files[3]],
    }
    missing = {(EVENTS, "missing"): lost, (ATTACHMENTS, "missing"): files[:2]}

    looked = rig.reconcile("-o", "json")
    dry = rig.reconcile("--fix", "--dry-run", "-o", "json")
    unanswered = rig.reconcile("--fix")
    lines = rig.reconcile("-o", "jsonl")

    assert (looked.status, findings(looked)) == (7, missing | left), looked
    assert (dry.status, findings(dry)) == (7, missing | left)
    assert "would admit what is missing: 6" in dry.err
    assert (unanswered.status, unanswered.out) == (2, "")
    assert {line.count('"id":"') for line in lines.out.splitlines()[:-1]} == {1}
    assert len(lines.out.splitlines()) == 11
    assert "delete all rows of the key" in lines.err
    told = rig.claimx("status")
    assert told.status == 7
    assert "PROBLEM: reconcile found" in told.out
    assert rig.status().counters["event"]["admitted"] == len(world.truth.enriched) + len(
        world.truth.unhandled
    ) + len(world.truth.dead)

    fixed = rig.reconcile("--fix", "--yes", "-o", "json")

    assert fixed.status == 7, "extra and doubled rows are left"
    assert fixed.document["reconcile"]["admitted"] == {"event": 4, "media": 2}
    rig.until_idle(len(world.truth.enriched) + len(world.truth.unhandled) + len(world.truth.dead))
    again = rig.reconcile("-o", "json")
    assert findings(again) == left

    rig.lose(EVENTS, GHOST, doubled)
    rig.lose(ATTACHMENTS, GHOST_FILE, files[3])
    assert rig.answering("n", "reconcile", *rig.range(), "--fix").status == 130
    table = rig.reconcile()
    assert table.status == 7
    assert doubled in table.out
    assert rig.answering("y", "reconcile", *rig.range(), "--fix").status == 0
    rig.until_done()
    assert rig.reconcile().status == 0
    assert rig.claimx("status").status == 0
    tables = read_lake(rig.lake)
    differences = [str(one)[:300] for one in compare(world.truth.tables, tables)]
    assert differences == []
    assert rig.status().missing == {"event": 0, "media": 0}
    assert_dead_as_expected(world, rig.letters())


def test_what_is_asked_at_a_terminal_is_no_part_of_the_data(rig):
    """A table stood before the document; and what a first look alone had found was not listed."""
    truth = rig.world.truth
    file = next(key[0] for key in sorted(truth.tables[ATTACHMENTS]) if key[0] in truth.stored)
    rig.double(ATTACHMENTS, file, as_=GHOST_FILE)

    nothing_to_admit = rig.answering("", "reconcile", *rig.range(), "--fix", "-o", "jsonl")
    rig.lose(ATTACHMENTS, GHOST_FILE, file)
    refused = rig.answering("n", "reconcile", *rig.range(), "--fix", "-o", "json")
    fixed = rig.reconcile("--fix", "--yes")
    rig.until_done()

    assert [json.loads(line).get("id") for line in nothing_to_admit.out.splitlines()] == [
        GHOST_FILE,
        None,
    ]
    assert (refused.status, refused.out) == (130, "")
    assert "Admit what is missing (1)" in refused.err
    assert file in refused.err
    assert (nothing_to_admit.status, fixed.status, rig.reconcile().status) == (7, 0, 0)


def test_wrong_use_and_what_is_away_are_told_by_the_status(rig):
    nowhere = f"127.0.0.1:{free_port()}"
    backwards = rig.claimx("reconcile", "--from", "1h", "--to", "2h")
    unclear = rig.claimx("reconcile", "--from", "yesterdayish")
    early = rig.claimx("reconcile", "--from", "2001-01-01", "--to", "2001-01-02")
    redis_away = rig.reconcile(REDIS_URL=f"redis://{nowhere}/0")
    kusto_away = rig.reconcile("-o", "json", EVENTHOUSE_CLUSTER_URL=f"http://{nowhere}")

    assert (backwards.status, unclear.status) == (2, 2)
    assert early.status == 0
    assert (redis_away.status, kusto_away.status) == (5, 5)
    assert kusto_away.document["reconcile"]["ending"] == "failed"
    assert "Traceback" not in redis_away.err + kusto_away.err


def test_beats_task_runs_in_a_worker_and_says_how_far_it_has_looked(rig):
    with Celery(broker=rig.redis_url) as client:
        client.send_task("claimx.reconcile", queue="maintenance")

    reached = rig.until(
        "a reconcile by a worker", lambda: rig.runtime.ledger.checkpoint("reconcile")
    )

    assert reached.source_time < rig.world.at.timestamp() * 1e6
    assert notes.open_notes(rig.runtime) == []
    assert_as_it_must_be(rig)


def test_a_busy_pipeline_whose_processes_are_killed_shows_no_false_alarm(tmp_path):
    """Whoever looks at whatever moment: all that is not there yet is on its way."""
    told: list[str] = []
    with Rig(tmp_path, "--events", "400", "--rate", "50", "--seed", "11") as rig:
        counts = rig.world.truth.counts()
        events = sum(counts[f"events {end}"] for end in ("enriched", "unhandled", "dead"))
        rig.processes()
        since = from_datetime(rig.world.at - timedelta(hours=1))
        kills = {5: "writer", 10: "worker"}
        looks = in_flight = 0

        def look() -> bool:
            nonlocal looks, in_flight
            looks += 1
            report = reconcile(
                rig.runtime,
                since,
                from_datetime(datetime.now(UTC)),
                sleep=time.sleep,
                fix=looks % 2 == 0,
                told=lambda found, _: told.append(f"look {looks}: {found}"),
            )
            in_flight += report.in_flight
            if name := kills.pop(looks, None):
                next(one for one in rig.running if one.name == name).kill()
                rig.process(name)
            done = report.ending is Ending.COMPLETE and is_idle(rig.status(), events)
            return done and not kills  # a slow machine does not look often

        rig.until("the end of a busy world", look, 120)
        rig.until_done()

        assert told == []
        assert kills == {}
        assert in_flight > 100, "it was looked at while it was busy"
        assert_as_it_must_be(rig)


def test_a_table_that_is_not_there_is_named(rig, tmp_path):
    """With a wrong path it only said that all is missing, and that --fix admits it."""
    answer = rig.reconcile("-o", "json", CLAIMX_LAKE_PATH=str(tmp_path))

    assert answer.status == 7
    for name in (EVENTS, ATTACHMENTS):
        assert f"{name}: there is no table at file://{tmp_path}/{name}" in answer.err
