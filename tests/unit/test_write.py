"""The lake writer on a ledger and a lake in memory."""

from __future__ import annotations

import pytest

from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.lake import MemoryLake
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.changes import Change, Source
from claimx.domain.codec import encode_changes
from claimx.domain.errors import ErrorCategory, Unavailable
from claimx.domain.records import (
    Advance,
    Buried,
    DeadFilter,
    Failure,
    Kind,
    NewRecord,
    Stage,
    State,
)
from claimx.domain.shared_rows import SharedRows
from claimx.domain.tables import CONTACTS, EVENTS, MEDIA, PROJECTS
from claimx.services.held import CHUNK
from claimx.services.settle_rows import MAX_FAILURES
from claimx.services.write import BUFFERED_BATCHES, LakeWriter
from claimx.telemetry.metrics import RecordedMetrics

NOW = 1_790_000_000.0
T0 = 1_790_000_000_000_000
FAILURE = Failure(ErrorCategory.PERMANENT, "NotFound", "gone", Stage.ENRICH, NOW)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class World:
    """A ledger, a lake and as many writers as a test needs."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger = MemoryLedger(self.clock)
        self.lake = MemoryLake()
        self.gates = MemoryGates(self.clock)
        self.metrics = RecordedMetrics()
        self.writers: list[LakeWriter] = []
        self._pages = 0

    def writer(self, name: str = "w1", ledger=None, **options) -> LakeWriter:
        options = {"batch_rows": 3, "batch_seconds": 5.0} | options
        writer = LakeWriter(
            ledger or self.ledger,
            self.lake,
            self.gates,
            self.metrics,
            self.clock,
            sleep=self.clock.sleep,
            consumer=name,
            **options,
        )
        self.writers.append(writer)
        return writer

    def claimed(self, *names: str):
        """Admit events and claim them for ENRICH."""
        self._pages += 1
        page = NewRecord(f"p:{self._pages}", Kind.PAGE, Stage.INGEST, {}, "t")
        before = self.ledger.checkpoint("live")
        assert self.ledger.store_page("live", before, T0 + self._pages, [page])
        (held,) = self.ledger.claim(Stage.INGEST, [page.id], 30.0)
        events = [
            NewRecord(f"e:{name}", Kind.EVENT, Stage.ENRICH, {"status": "enriched"}, "t")
            for name in names
        ]
        self.ledger.admit(held, events, [], 3600.0)
        return self.ledger.claim(Stage.ENRICH, [f"e:{name}" for name in names], 30.0)

    def enriched(self, name: str, *changes: Change, rows: bytes | None = None) -> None:
        """Bring an event to WRITE with what was found for it."""
        (record,) = self.claimed(name)
        encoded = encode_changes(changes) if rows is None else rows
        assert self.ledger.settle([Advance(record, Stage.WRITE, record.data, encoded)]) == [True]

    def died(self, name: str, *changes: Change) -> None:
        (record,) = self.claimed(name)
        assert self.ledger.settle([Buried(record, FAILURE, rows=encode_changes(changes))]) == [True]

    def run(self, writer: LakeWriter, seconds: float) -> int:
        """Step for so long on the clock."""
        settled, until = 0, self.clock.now + seconds
        while self.clock.now < until:
            self.ledger.due(100)
            settled += writer.step()
            self.clock.now += 0.5
        return settled

    def state(self, name: str) -> State | None:
        found = self.ledger.find(f"e:{name}")
        return found[0].state if found else None

    def keys(self, table) -> list[str]:
        return sorted(row[table.key[0]] for row in self.lake.rows(table))


@pytest.fixture
def world():
    made = World()
    yield made
    for writer in made.writers:
        writer.close()


def event(name: str) -> Change:
    values = {"event_id": name, "ingested_at": T0 - 10_000_000}
    return Change(EVENTS.name, values, Source.RESULT, name, T0 - 10_000_000)


def media(name: str, **values) -> Change:
    return Change(MEDIA.name, {"media_id": name} | values, Source.ANSWER, "e", T0, T0)


def project(name: str) -> Change:
    return Change(PROJECTS.name, {"project_id": name}, Source.ANSWER, "e", T0, T0)


def dead(world: World):
    return {letter.id: letter for letter in world.ledger.dead_letters(DeadFilter())}


def test_nothing_is_written_before_a_batch_is_due(world):
    world.enriched("a", media("m1"), event("a"))
    writer = world.writer()

    world.run(writer, 3.0)

    assert (world.keys(EVENTS), writer.buffered, world.state("a")) == ([], 1, State.LEASED)


def test_a_batch_is_written_when_its_time_is_up_and_then_settled(world):
    world.enriched("a", media("m1"), event("a"))
    writer = world.writer()

    settled = world.run(writer, 7.0)

    assert settled == 1
    assert (world.keys(EVENTS), world.keys(MEDIA)) == (["a"], ["m1"])
    assert (writer.buffered, world.state("a")) == (0, None)
    census = world.ledger.census()
    assert (census.counters["event.recorded"], census.missing(Kind.EVENT)) == (1, 0)
    assert (census.stream_length, census.stream_pending) == (0, 0)


def test_a_batch_that_gets_no_more_goes_early_but_not_soon_after_the_last(world):
    """What a poll brought is written when it is all there; small files stay as few as before."""
    writer = world.writer()
    world.clock.now += 60
    world.enriched("a", event("a"))

    settled = [writer.step(), writer.step()]
    world.enriched("b", event("b"))
    settled += [writer.step(), writer.step(), writer.step()]

    assert settled == [0, 1, 0, 0, 0]
    assert world.run(writer, 4.6) == 1


def test_a_table_with_enough_rows_is_written_at_once(world):
    for name in "abc":
        world.enriched(name, event(name))
    writer = world.writer()

    assert writer.step() == 3
    assert world.keys(EVENTS) == ["a", "b", "c"]


def test_rows_that_many_share_count_once_in_each_batch(world):
    """They were counted in the first alone when nothing forgot them, and kept for ever."""
    keys = [("p", one, "CLAIM_REP") for one in "abc"]
    team = [(CONTACTS.name, dict(zip(CONTACTS.key, key, strict=True))) for key in keys]
    shared = SharedRows(team, T0)
    writer, settled = world.writer(), []
    for name in "xy":
        world.enriched(name, *shared.changes(name, T0), event(name))
        settled.append(writer.step())

    assert settled == [1, 1]


def test_what_was_measured(world):
    world.enriched("a", event("a"))

    world.run(world.writer(), 7.0)

    assert world.metrics.values["processed", ("write",)] == 1
    (lag,) = world.metrics.observed["event_lag_seconds", ()]
    assert 10.0 <= lag <= 20.0


def test_an_event_whose_own_time_lies_ahead_has_no_lag(world):
    early = Change(EVENTS.name, {"event_id": "a"}, Source.RESULT, "a", T0 + 3_600_000_000)
    world.enriched("a", early)

    world.run(world.writer(), 7.0)

    assert world.metrics.observed["event_lag_seconds", ()] == [0.0]


def test_who_died_before_is_neither_finished_nor_dead_once_more(world):
    """Whoever gave up on them has counted them."""
    world.died("a", project("p1"))
    world.died("b", media("m1", latitude="north"))
    world.enriched("c", media("m2", latitude="north"))

    world.run(world.writer(), 7.0)

    permanent = ("write", "PERMANENT")
    found = {name: world.metrics.values[name, permanent] for name in ("dead", "failed")}
    assert (found, world.metrics.values["processed", ("write",)]) == ({"dead": 1, "failed": 1}, 0)


def test_a_table_that_fails_is_counted_each_time(world):
    world.lake.fail_next[MEDIA.name] = [Unavailable("away")] * 2
    world.enriched("a", media("m1"), event("a"))

    world.run(world.writer(), 20.0)

    assert world.metrics.values["failed", ("write", "TRANSIENT")] == 2
    assert world.metrics.values["processed", ("write",)] == 1


def test_a_record_without_rows_is_settled_too(world):
    world.enriched("a", rows=b"")

    assert world.run(world.writer(), 7.0) == 1
    assert world.state("a") is None


def test_refused_rows_make_room(world):
    """Held on, they would be written again and again, and in the end nothing else be read."""
    world.enriched("bad", media("m1", latitude="north"), event("bad"))
    writer = world.writer()

    assert world.run(writer, 7.0) == 1

    assert (writer.buffered, list(dead(world))) == (0, ["e:bad"])


def test_rows_that_cannot_be_read_are_buried_alone(world):
    world.enriched("bad", rows=b"\x00 no rows")
    world.enriched("good", event("good"))

    world.run(world.writer(), 7.0)

    (letter,) = dead(world).values()
    assert (letter.id, letter.stage) == ("e:bad", Stage.WRITE)
    assert letter.failure.category is ErrorCategory.PERMANENT
    assert world.keys(EVENTS) == ["good"]
    assert world.ledger.census().missing(Kind.EVENT) == 0


def test_rows_of_a_table_that_does_not_exist_are_buried_alone(world):
    world.enriched("bad", Change("claimx_nonsense", {"id": "1"}, Source.ANSWER, "e", T0))
    world.enriched("good", event("good"))

    world.run(world.writer(), 7.0)

    assert "claimx_nonsense" in dead(world)["e:bad"].failure.message
    assert world.keys(EVENTS) == ["good"]


def test_a_refused_row_is_told_with_table_column_and_reason(world):
    world.enriched("bad", media("m1", latitude="north"), event("bad"))
    world.enriched("good", media("m2"), event("good"))

    world.run(world.writer(), 7.0)

    failure = dead(world)["e:bad"].failure
    assert failure.message == "claimx_media.latitude: expected a number, found str"
    assert (failure.stage, failure.category) == (Stage.WRITE, ErrorCategory.PERMANENT)
    assert (world.keys(EVENTS), world.keys(MEDIA)) == (["good"], ["m2"])
    assert world.ledger.census().counters["event.recorded"] == 1


def test_what_a_dead_event_had_found_is_written_and_it_stays_dead(world):
    world.died("a", project("p1"))

    world.run(world.writer(), 7.0)

    assert (world.keys(PROJECTS), world.keys(EVENTS)) == (["p1"], [])
    assert list(dead(world)) == ["e:a"]
    assert world.ledger.census().missing(Kind.EVENT) == 0


def test_a_table_that_fails_for_a_moment_holds_up_only_its_own_records(world):
    world.lake.fail_next[MEDIA.name] = [Unavailable("away")]
    world.enriched("a", media("m1"), event("a"))
    world.enriched("b", project("p1"), event("b"))
    writer = world.writer()

    for _ in range(20):
        if not world.keys(EVENTS):
            world.run(writer, 0.5)
    assert (world.keys(EVENTS), world.state("a")) == (["b"], State.LEASED)

    world.run(writer, 5.0)
    assert (world.keys(EVENTS), world.keys(MEDIA)) == (["a", "b"], ["m1"])


def test_a_table_that_keeps_failing_lets_its_records_wait_in_the_ledger_and_loses_none(world):
    world.lake.fail_next[MEDIA.name] = [Unavailable("away")] * 8
    world.enriched("a", media("m1"), event("a"))
    writer = world.writer()

    world.run(writer, 15.0)
    assert (writer.buffered, world.state("a")) == (0, State.WAITING)
    assert len(world.lake.fail_next[MEDIA.name]) == 8 - MAX_FAILURES
    world.enriched("b", project("p1"), event("b"))
    world.run(writer, 7.0)
    assert world.keys(EVENTS) == ["b"]

    world.run(writer, 240.0)
    assert world.keys(EVENTS) == ["a", "b"]
    assert world.ledger.census().missing(Kind.EVENT) == 0


def test_what_a_dead_event_had_found_is_given_back_when_its_table_keeps_failing(world):
    world.lake.fail_next[MEDIA.name] = [Unavailable("away")] * MAX_FAILURES
    world.died("a", media("m1"))
    writer = world.writer()
    while world.lake.fail_next[MEDIA.name] or writer.buffered:
        world.run(writer, 0.5)

    (given_back,) = world.ledger.claim(Stage.WRITE, ["e:a"], 5.0)
    world.ledger.release([given_back])
    world.run(writer, 30.0)

    assert world.keys(MEDIA) == ["m1"]
    assert list(dead(world)) == ["e:a"]


def test_a_lost_answer_of_the_lake_writes_twice_and_leaves_one_row(world):
    class Forgetful(MemoryLake):
        lost = 1

        def upsert(self, table, changes, now):
            written = super().upsert(table, changes, now)
            if self.lost and table is EVENTS:
                self.lost -= 1
                raise Unavailable("the answer was lost")
            return written

    world.lake = Forgetful()
    world.enriched("a", event("a"))

    world.run(world.writer(), 10.0)

    assert world.keys(EVENTS) == ["a"]
    assert world.ledger.census().counters["event.recorded"] == 1


class Moody:
    """The ledger, with methods that fail once when told to."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self.fails: set[str] = set()

    def __getattr__(self, name):
        if name in self.fails:
            self.fails.discard(name)
            raise Unavailable(f"{name} is away")
        return getattr(self._ledger, name)


@pytest.mark.parametrize(
    "method", ["read_rows", "claim", "finish", "renew", "forget_entries", "settle"]
)
def test_a_ledger_that_fails_once_loses_and_doubles_nothing(world, method):
    moody = Moody(world.ledger)
    writer = world.writer(ledger=moody)
    world.enriched("a", media("m1"), event("a"))
    world.lake.fail_next[MEDIA.name] = [Unavailable("away")] * 3
    moody.fails = {method}

    world.run(writer, 120.0)

    assert (world.keys(EVENTS), world.state("a")) == (["a"], None)
    census = world.ledger.census()
    assert (census.counters["event.recorded"], census.missing(Kind.EVENT)) == (1, 0)


@pytest.mark.parametrize("failures", [0, 2])
def test_a_clock_that_is_set_back_holds_up_no_rows(world, failures):
    """The ledger's own goes on. A machine that starts with a wrong clock is set right soon."""
    behind = 0.0
    writer = LakeWriter(
        world.ledger,
        world.lake,
        world.gates,
        world.metrics,
        lambda: world.clock.now - behind,
        sleep=world.clock.sleep,
        consumer="w1",
        batch_rows=3,
    )
    world.enriched("a", event("a"))
    world.lake.fail_next[EVENTS.name] = [Unavailable("away")] * failures
    world.run(writer, 7.0 if failures else 1.0)
    assert writer.buffered == 1

    behind = 86_400.0
    world.run(writer, 15.0)

    assert (world.keys(EVENTS), world.state("a")) == (["a"], None)


def test_a_writer_that_dies_with_a_full_buffer_is_followed_by_another(world):
    first = world.writer("w1")
    world.enriched("a", event("a"))
    world.run(first, 1.0)
    assert first.buffered == 1

    world.run(world.writer("w2"), 60.0)

    assert (world.keys(EVENTS), world.state("a")) == (["a"], None)


def test_a_writer_that_slept_past_its_leases_settles_nothing_of_theirs(world):
    sleeper = world.writer("w1")
    world.enriched("a", event("a"))
    world.run(sleeper, 1.0)
    world.clock.now += 60.0
    world.run(world.writer("w2"), 40.0)

    world.run(sleeper, 10.0)

    assert world.keys(EVENTS) == ["a"]
    assert world.ledger.census().counters["event.recorded"] == 1


def test_an_entry_whose_record_another_holds_is_taken_off_the_stream(world):
    """Nobody else would: it would be handed to one writer after another."""
    world.enriched("a", event("a"))
    (held,) = world.ledger.claim(Stage.WRITE, ["e:a"], 30.0)

    world.writer().step()

    census = world.ledger.census()
    assert (census.stream_length, census.stream_pending) == (0, 0)
    assert world.ledger.finish([("", held)], 60.0) == 1


def test_what_another_writer_has_settled_counts_once(world):
    sleeper = world.writer("w1", batch_seconds=30.0)
    world.enriched("a", event("a"))
    world.run(sleeper, 1.0)
    world.clock.now += 60.0
    world.run(world.writer("w2"), 40.0)

    assert sleeper.flush() == 0

    assert world.metrics.values["processed", ("write",)] == 1
    assert len(world.metrics.observed["event_lag_seconds", ()]) == 1


def test_leases_are_renewed_while_records_wait_for_their_batch(world):
    writer = world.writer(batch_seconds=120.0)
    world.enriched("a", event("a"))

    world.run(writer, 90.0)

    assert (writer.buffered, world.state("a")) == (1, State.LEASED)
    assert world.ledger.claim(Stage.WRITE, ["e:a"], 30.0) == []


def test_closing_writes_what_is_there_and_gives_back_what_cannot_be_written(world):
    world.lake.fail_next[MEDIA.name] = [Unavailable("away")]
    writer = world.writer()
    world.enriched("a", media("m1"), event("a"))
    world.enriched("b", event("b"))
    world.run(writer, 1.0)

    assert writer.close() == 1

    assert (world.keys(EVENTS), writer.buffered) == (["b"], 0)
    assert world.state("a") is State.READY
    world.run(world.writer("w2"), 60.0)
    assert world.keys(EVENTS) == ["a", "b"]


def test_what_has_failed_already_is_not_tried_again_at_the_end(world):
    """The host gives a process half a minute, and a table that is away may take it all."""
    world.lake.fail_next[MEDIA.name] = [Unavailable("away")]
    writer = world.writer(batch_seconds=0.0)
    world.enriched("a", media("m1"), event("a"))
    writer.step()
    assert writer.buffered == 1

    assert writer.close() == 0

    assert (world.keys(MEDIA), world.state("a")) == ([], State.READY)


def test_closing_twice_is_closing_once(world):
    writer = world.writer()
    writer.close()

    assert writer.close() == 0


def test_a_full_buffer_reads_no_more(world):
    """Rows that cannot be written stay in Redis, not in the writer's memory."""
    many = 3 * CHUNK
    world.lake.fail_next[EVENTS.name] = [Unavailable("away")] * 2
    writer = world.writer(batch_rows=CHUNK // BUFFERED_BATCHES)
    for number in range(many):
        world.enriched(f"{number:04}", event(f"{number:04}"))

    for _ in range(3):
        writer.step()

    assert writer.buffered == CHUNK
    world.run(writer, 60.0)
    assert len(world.keys(EVENTS)) == many


def test_records_without_rows_fill_the_buffer_as_well(world):
    """Each is held, whatever it says; they are read in chunks, of which the last goes beyond."""
    for at in range(CHUNK + 1):
        world.enriched(f"e{at}", rows=b"")
    writer = world.writer(batch_rows=CHUNK // BUFFERED_BATCHES, batch_seconds=600.0)

    world.run(writer, 3.0)

    assert writer.buffered == CHUNK


def test_projects_are_known_once_their_rows_are_committed(world):
    world.enriched("a", project("p1"), event("a"))

    world.run(world.writer(), 7.0)

    assert set(world.gates.known_projects(["p1"])) == {"p1"}


def test_two_writers_share_the_stream(world):
    writers = [world.writer("w1"), world.writer("w2")]
    for number in range(20):
        world.enriched(f"{number}", media("shared"), event(f"{number}"))

    for _ in range(20):
        for writer in writers:
            world.run(writer, 0.5)

    assert len(world.keys(EVENTS)) == 20
    assert world.ledger.census().counters["event.recorded"] == 20
