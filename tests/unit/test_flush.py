from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.lake import MemoryLake
from claimx.domain.changes import Change, Source
from claimx.domain.errors import Unavailable
from claimx.domain.records import Kind, Record, Stage
from claimx.domain.shared_rows import SharedRows
from claimx.domain.tables import EVENTS, MEDIA, PROJECTS, TABLES
from claimx.services.flush import LOCK_SECONDS, Item, TableWriter
from claimx.telemetry.metrics import RecordedMetrics

NOW = 1_790_000_000.0
T0 = 1_790_000_000_000_000
FRESH = 300.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ListeningLake(MemoryLake):
    """Remembers what was written, table by table; *during* happens within the write of one."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.said: list[Change] = []
        self.during: dict[str, threading.Event] = {}

    def upsert(self, table, changes, now):
        if table.name in self.during:
            assert self.during[table.name].wait(5)
        self.order.append(table.name)
        self.said += changes
        return super().upsert(table, changes, now)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lake():
    return ListeningLake()


@pytest.fixture
def gates(clock):
    return MemoryGates(clock)


@pytest.fixture
def metrics():
    return RecordedMetrics()


@pytest.fixture
def tables(lake, gates, metrics, clock):
    writer = TableWriter(
        lake,
        gates,
        metrics,
        clock,
        sleep=clock.sleep,
        holder="me",
        fresh_seconds=FRESH,
        keep_seconds=0.01,
    )
    yield writer
    writer.close()


def project(name: str, asked: int = 0, **values) -> Change:
    values = {"project_id": name} | values
    return Change(PROJECTS.name, values, Source.ANSWER, "e", T0, T0 + asked)


def media(name: str, **values) -> Change:
    return Change(MEDIA.name, {"media_id": name} | values, Source.ANSWER, "e", T0, T0)


def event(name: str) -> Change:
    return Change(EVENTS.name, {"event_id": name, "ingested_at": T0}, Source.RESULT, name, T0)


def attachment(name: str) -> Change:
    values = {"media_id": name, "status": "completed"}
    return Change("claimx_attachments", values, Source.RESULT, "e", T0, T0)


def item(name: str, *changes: Change) -> Item:
    return Item(f"entry {name}", Record(name, Kind.EVENT, Stage.WRITE, {}), list(changes))


def nothing() -> None:
    """Keep no leases."""


def keys(lake, table) -> list[str]:
    return sorted(row[table.key[0]] for row in lake.rows(table))


def test_events_are_written_after_all_else(tables, lake):
    changes = [event("e1"), attachment("m1"), media("m1"), project("p1")]

    flushed = tables.write([item("a", *changes)], nothing)

    assert set(lake.order[:2]) == {PROJECTS.name, MEDIA.name}
    assert lake.order[2:] == ["claimx_attachments", EVENTS.name]
    assert [one.record.id for one in flushed.done] == ["a"]


def test_where_a_table_fails_its_records_wait_and_the_others_go_on(tables, lake):
    lake.fail_next[MEDIA.name] = [Unavailable("away")]
    both = item("both", project("p1"), media("m1"), event("e1"))
    other = item("other", project("p2"), event("e2"))

    flushed = tables.write([both, other], nothing)

    assert flushed.done == [other]
    ((failed, error),) = flushed.failed
    assert (failed, str(error)) == (both, "away")
    assert keys(lake, EVENTS) == ["e2"]
    assert keys(lake, PROJECTS) == ["p1", "p2"]


def test_a_refused_row_is_its_own_records_alone_and_leaves_no_event_row(tables, lake):
    bad = item("bad", project("p1"), media("m1", latitude="north"), event("e1"))
    good = item("good", media("m2"), event("e2"))

    flushed = tables.write([bad, good], nothing)

    assert flushed.done == [good]
    ((refused, reason),) = flushed.refused
    assert refused is bad
    assert reason == "claimx_media.latitude: expected a number, found str"
    assert (keys(lake, EVENTS), keys(lake, MEDIA), keys(lake, PROJECTS)) == (["e2"], ["m2"], ["p1"])


def test_rows_that_events_share_are_said_once_by_the_newest_of_them(tables, lake):
    """However many events bring an answer, it is one change of each of its rows."""
    rows = SharedRows([(PROJECTS.name, {"project_id": "p"})], T0)
    items = [
        replace(item(name, event(name)), shared=(rows,), said_by=(T0 + moment, name))
        for moment, name in ((1, "e1"), (3, "e3"), (2, "e2"))
    ]

    flushed = tables.write(items, nothing)

    assert [one for one in lake.said if one.table == PROJECTS.name] == [
        Change(PROJECTS.name, {"project_id": "p"}, Source.ANSWER, "e3", T0 + 3, T0)
    ]
    assert flushed.done == items


def test_where_shared_rows_fail_or_are_refused_all_who_share_them_are_held(tables, lake):
    """None of them may be told as finished: each would have written the rows itself."""
    bad = SharedRows([(PROJECTS.name, {"project_id": "p", "square_footage": ["no text"]})], T0)
    good = SharedRows([(MEDIA.name, {"media_id": "m", "project_id": "q"})], T0)
    refused = [replace(item(n, event(n)), shared=(bad,), said_by=(T0, n)) for n in ("a", "b")]
    failed = [replace(item(n, event(n)), shared=(good,), said_by=(T0, n)) for n in ("c", "d")]
    lake.fail_next[MEDIA.name] = [Unavailable("away")]

    flushed = tables.write([*refused, *failed], nothing)

    assert [one for one, _ in flushed.refused] == refused
    assert [one for one, _ in flushed.failed] == failed
    assert keys(lake, EVENTS) == []


def test_a_record_refused_by_one_table_is_not_retried_for_another_that_failed(tables, lake):
    lake.fail_next[PROJECTS.name] = [Unavailable("away")]

    flushed = tables.write([item("bad", project("p1"), media("m1", latitude="x"))], nothing)

    assert (len(flushed.refused), flushed.failed, flushed.done) == (1, [], [])


def test_a_record_without_rows_is_done(tables):
    flushed = tables.write([item("empty")], nothing)

    assert len(flushed.done) == 1


def test_projects_are_known_once_committed_for_as_long_as_they_are_fresh(tables, gates, clock):
    asked = -100 * 1_000_000
    fact = Change(PROJECTS.name, {"project_id": "fact"}, Source.EVENT, "e", T0)
    stale = project("stale", asked=-1000 * 1_000_000)
    bad = project("bad", year_built="x")

    tables.write([item("a", project("p1", asked), fact, stale), item("b", bad)], nothing)

    assert set(gates.known_projects(["p1", "fact", "stale", "bad"])) == {"p1"}
    clock.now += FRESH - 101
    assert set(gates.known_projects(["p1"])) == {"p1"}
    clock.now += 2
    assert set(gates.known_projects(["p1"])) == set()


def test_a_known_project_has_the_name_of_its_newest_answer(tables, gates):
    old = project("p1", asked=-100 * 1_000_000, master_file_name="OLD")
    changes = [
        project("p1", master_file_name="NEW"),
        old,
        project("p2", master_file_name="x" * 201),
    ]

    tables.write([item("a", *changes)], nothing)

    assert gates.known_projects(["p1", "p2"]) == {"p1": "NEW", "p2": None}


def test_of_a_projects_answers_the_newest_says_how_long_it_is_known(tables, gates, clock):
    old = project("p1", asked=-100 * 1_000_000)

    tables.write([item("a", project("p1")), item("b", old)], nothing)

    clock.now += FRESH - 1
    assert set(gates.known_projects(["p1"])) == {"p1"}


def test_projects_whose_table_failed_are_not_known(tables, lake, gates):
    lake.fail_next[PROJECTS.name] = [Unavailable("away")]

    tables.write([item("a", project("p1"))], nothing)

    assert set(gates.known_projects(["p1"])) == set()


def test_a_table_that_another_writer_keeps_is_waited_for_so_long_and_no_longer(
    tables, gates, clock
):
    assert gates.lock(f"table:{MEDIA.name}", "other", 3600.0) is not None

    flushed = tables.write([item("a", media("m1")), item("b", project("p1"))], nothing, 2.0)

    ((failed, error),) = flushed.failed
    assert failed.record.id == "a"
    assert "another writer" in str(error)
    assert [one.record.id for one in flushed.done] == ["b"]
    assert clock.now == pytest.approx(NOW + 2.0)


def test_a_table_whose_lease_cannot_be_asked_for_is_waited_for_likewise(tables, gates, clock):
    gates.away = True

    flushed = tables.write([item("a", media("m1"))], nothing, 2.0)

    ((_, error),) = flushed.failed
    assert isinstance(error, Unavailable)
    assert "whose the lease table:claimx_media is" in str(error)
    assert clock.now == pytest.approx(NOW + 2.0)
    gates.away = False
    assert tables.write([item("a", media("m1"))], nothing, 2.0).done


def test_a_flush_that_is_under_way_goes_on_when_its_lease_cannot_be_extended(tables, lake, gates):
    lake.during[MEDIA.name] = threading.Event()
    kept = []

    def keep() -> None:
        kept.append(gates.away)
        gates.away = True
        if len(kept) > 2:
            lake.during[MEDIA.name].set()

    assert tables.write([item("a", media("m1"))], keep).done
    assert kept[-1]


def test_a_table_is_free_again_after_a_flush_and_after_a_failure(tables, lake, gates):
    lake.fail_next[MEDIA.name] = [Unavailable("away")]

    tables.write([item("a", media("m1")), item("b", project("p1"))], nothing)

    for table in (MEDIA, PROJECTS):
        assert gates.lock(f"table:{table.name}", "other", 1.0) is not None


def test_an_error_that_nobody_expected_fails_its_records_and_nothing_else(tables, lake):
    lake.fail_next[MEDIA.name] = [ZeroDivisionError("odd")]  # type: ignore[list-item]

    flushed = tables.write([item("a", media("m1")), item("b", project("p1"))], nothing)

    assert [type(error) for _, error in flushed.failed] == [ZeroDivisionError]
    assert len(flushed.done) == 1


def test_leases_are_kept_while_a_flush_goes_on(tables, lake):
    lake.during[MEDIA.name] = threading.Event()
    kept = []

    def keep() -> None:
        kept.append(True)
        lake.during[MEDIA.name].set()

    flushed = tables.write([item("a", media("m1"))], keep)

    assert kept
    assert len(flushed.done) == 1


def test_a_table_is_kept_from_others_for_as_long_as_it_is_written_and_no_longer(
    tables, lake, gates, clock
):
    """One that was given back and taken again would hold up the others at each flush."""
    lake.during[MEDIA.name] = threading.Event()
    others: list[tuple[bool, bool]] = []

    def keep() -> None:
        clock.now += LOCK_SECONDS / 2
        mine, free = (
            gates.lock(f"table:{table.name}", "other", 1.0) is not None
            for table in (MEDIA, PROJECTS)
        )
        others.append((mine, free))
        if (free and len(others) > 3) or len(others) > 200:
            lake.during[MEDIA.name].set()

    tables.write([item("a", media("m1"), project("p1"))], keep)

    assert [mine for mine, _ in others] == [False] * len(others)
    assert others[-1][1]


def test_flushes_are_measured_by_table(tables, metrics):
    tables.write([item("a", media("m1"), media("m2"), event("e1"))], nothing)

    assert metrics.values["flush_rows", (MEDIA.name,)] == 2
    assert metrics.values["flush_rows", (EVENTS.name,)] == 1
    assert len(metrics.observed["flush_seconds", (MEDIA.name,)]) == 1


def test_every_table_has_its_place_in_the_order():
    from claimx.services.flush import _ORDER

    assert sorted(name for names in _ORDER for name in names) == sorted(TABLES)
