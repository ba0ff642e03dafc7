"""
Random programs against the ledger: admit, claim, settle, lose, redrive, write, bury, requeue.

One machine holds both implementations side by side and compares every answer; alone on the
in-memory one it runs longer programs. At the end of each program everything is worked off, so that
a record that nobody would ever see again is found.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger_rig import (
    BROKEN,
    DAY,
    FAILURE,
    Clock,
    event,
    media,
    page,
)

from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.ports.ledger import DeadOnArrival, Ledger
from claimx.domain.records import (
    Advance,
    Buried,
    DeadFilter,
    Kind,
    Record,
    Retried,
    Stage,
    State,
    Waited,
)

NAMES = st.sampled_from("abcd")
SOME_NAMES = st.lists(NAMES, min_size=1, max_size=4)
STAGES = st.sampled_from([s for s in Stage if s is not Stage.INGEST])
DELAYS = st.sampled_from([0.0, 3.0, 40.0])
FORWARD = {
    Stage.INGEST: Stage.ENRICH,
    Stage.ENRICH: Stage.WRITE,
    Stage.DOWNLOAD: Stage.UPLOAD,
    Stage.UPLOAD: Stage.RECORD,
    Stage.RECORD: Stage.WRITE,
}
LEASE_SECONDS = 30.0
EVERY_ID = [*(f"e:{name}" for name in "abcdz"), *(f"m:{name}" for name in "abcd")]

Held = tuple[Record, ...]
"""One record as each of the ledgers handed it out, under leases of their own."""


def bare(found: Any) -> Any:
    """Return an answer without what may differ: leases."""
    if isinstance(found, Record):
        rounded = round(found.waited_seconds, 3), round(found.admitted_at, 3)
        return replace(found, lease="", waited_seconds=rounded[0], admitted_at=rounded[1])
    if isinstance(found, list | tuple):
        return [bare(item) for item in found]
    if isinstance(found, dict) and "holder" in found:
        return {**found, "holder": "?"}
    return found


class Program(RuleBasedStateMachine):
    """The rules, on as many ledgers as `ledgers` makes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ledgers = self.make()
        self.leased: list[Held] = []
        self.held_until: dict[str, float] = {}
        self.looks = 0
        self.entries: dict[str, tuple[str, ...]] = {}
        self.pages = 0
        self.recorded: dict[str, float] = {}

    def make(self) -> list[Ledger]:
        return [MemoryLedger(self.clock)]

    def agreed(self, answers: list[Any]) -> Any:
        """All give the same answer."""
        first, *others = answers
        for other in others:
            assert bare(other) == bare(first)
        return first

    def claim(self, stage: Stage, ids: list[str]) -> list[Held]:
        answers = [one.claim(stage, ids, LEASE_SECONDS) for one in self.ledgers]
        self.agreed(answers)
        held = list(zip(*answers, strict=True))
        for records in held:
            until = self.held_until.get(records[0].id, 0.0)
            assert until <= self.clock.now, "handed out while another held it"
            self.held_until[records[0].id] = self.clock.now + LEASE_SECONDS
        self.leased += held
        return held

    def drop(self, held: Held) -> None:
        """Note that nobody holds the record now."""
        self.leased = [other for other in self.leased if other is not held]
        self.held_until[held[0].id] = 0.0

    def settle(self, held: Held, make: Any) -> bool:
        answers = [
            one.settle([make(record)]) for one, record in zip(self.ledgers, held, strict=True)
        ]
        (done,) = self.agreed(answers)
        if done:
            self.drop(held)
        return bool(done)

    def pick(self, data: st.DataObject) -> Held:
        return data.draw(st.sampled_from(self.leased))

    # the source

    @initialize(busy=st.booleans())
    def begin(self, *, busy: bool) -> None:
        if busy:
            self.admit(["a", "b"], dead=True)
            self.work(["a", "b"], revive=False)

    @rule(names=SOME_NAMES, dead=st.booleans())
    def admit(self, names: list[str], *, dead: bool) -> None:
        self.pages += 1
        name = f"p{self.pages}"
        for one in self.ledgers:
            assert one.store_page(name, None, 1, [page(name)])
        (held,) = self.claim(Stage.INGEST, [f"p:{name}"])
        junk = [DeadOnArrival(event("z", Stage.INGEST), BROKEN)] if dead else []
        events = [event(n) for n in dict.fromkeys(names)]
        admitted = self.agreed(
            [
                one.admit(record, events, junk, DAY)
                for one, record in zip(self.ledgers, held, strict=True)
            ]
        )
        assert len(admitted.ids) + admitted.malformed + admitted.duplicates == len(events + junk)
        self.drop(held)
        assert self.agreed([one.seen([f"e:{n}" for n in names]) for one in self.ledgers]) == {
            f"e:{n}" for n in names
        }

    # the workers

    @rule(stage=STAGES, data=st.data())
    def take(self, stage: Stage, data: st.DataObject) -> None:
        self.claim(stage, data.draw(st.lists(st.sampled_from(EVERY_ID), max_size=4)))

    @rule()
    def take_all(self) -> None:
        for stage in Stage:
            if stage is not Stage.WRITE:
                self.claim(stage, EVERY_ID)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), names=st.lists(NAMES, max_size=2), revive=st.booleans(), delay=DELAYS)
    def advance(self, data: st.DataObject, names: list[str], *, revive: bool, delay: float) -> None:
        held = self.pick(data)
        if held[0].stage is not Stage.WRITE:
            self.move_on(held, names, revive=revive, delay=delay)

    @rule(names=st.lists(NAMES, max_size=2), revive=st.booleans())
    def work(self, names: list[str], *, revive: bool) -> None:
        """Do what a healthy worker does, so that programs get to the later stages."""
        for stage in FORWARD:
            for held in self.claim(stage, EVERY_ID):
                self.move_on(held, names, revive=revive)

    def move_on(
        self, held: Held, names: list[str], *, revive: bool = False, delay: float = 0.0
    ) -> None:
        stage = FORWARD[held[0].stage]
        spawn = tuple(media(n, revive=revive) for n in names) if stage is Stage.WRITE else ()
        status = "completed" if held[0].kind is Kind.MEDIA else "enriched"
        before = {n: self.ledgers[0].find(f"m:{n}") for n in names}
        done = self.settle(
            held,
            lambda r: Advance(
                r, stage, {**r.data, "status": status}, b"rows", spawn, affinity="n1", delay=delay
            ),
        )
        for name in names if done and spawn else ():
            self.note_revived(name, before[name])
            if before[name] is None and self.recorded.get(f"m:{name}", 0) > self.clock.now:
                assert self.ledgers[0].find(f"m:{name}") is None, "recorded media came again"

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), delay=DELAYS, again=st.booleans())
    def retry(self, data: st.DataObject, delay: float, *, again: bool) -> None:
        held = self.pick(data)
        new = {"again": 1} if again else None
        self.settle(held, lambda r: Retried(r, delay, FAILURE, new))

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), delay=DELAYS)
    def wait(self, data: st.DataObject, delay: float) -> None:
        held = self.pick(data)
        self.settle(held, lambda r: Waited(r, delay, FAILURE))

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), rows=st.sampled_from([b"", b"found"]), name=NAMES)
    def bury(self, data: st.DataObject, rows: bytes, name: str) -> None:
        held = self.pick(data)
        before = self.ledgers[0].find(f"m:{name}")
        self.settle(held, lambda r: Buried(r, BROKEN, rows, (media(name, revive=True),)))
        self.note_revived(name, before)

    def note_revived(self, name: str, before: Any) -> None:
        """Note that a writer which held the rows of a dead file that came back lost them."""
        after = self.ledgers[0].find(f"m:{name}")
        if before and before[0].state is State.DEAD and after and after[0].state is State.READY:
            self.held_until[f"m:{name}"] = 0.0

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = self.pick(data)
        for one, record in zip(self.ledgers, held, strict=True):
            one.release([record])
        self.drop(held)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        held = self.pick(data)
        kept = self.agreed(
            [
                one.renew([record], LEASE_SECONDS)
                for one, record in zip(self.ledgers, held, strict=True)
            ]
        )
        if kept:
            self.held_until[held[0].id] = self.clock.now + LEASE_SECONDS

    @rule(seconds=st.sampled_from([1.0, 6.0, 31.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_(seconds)

    @rule(limit=st.sampled_from([1, 3, 100]))
    def redrive(self, limit: int) -> None:
        found = self.agreed([one.due(limit) for one in self.ledgers])
        ids = [record_id for ids in found.values() for record_id in ids]
        assert len(ids) == len(set(ids)) <= limit
        again = self.ledgers[0].due(0)
        assert again == {}

    # the writer

    @rule()
    def write_all(self) -> None:
        """Do what a healthy writer does."""
        for held in self.write():
            self.end(held, refused=False)

    @rule()
    def read(self) -> None:
        self.write()

    def write(self) -> list[Held]:
        answers = [one.read_rows("w1", 100, 0.0) for one in self.ledgers]
        ids = self.agreed([sorted({r for _, r in answer}) for answer in answers])
        by_ledger = [{r: entry for entry, r in answer} for answer in answers]
        for record_id in ids:
            self.entries[record_id] = tuple(found[record_id] for found in by_ledger)
        return self.claim(Stage.WRITE, ids)

    @precondition(lambda self: any(held[0].stage is Stage.WRITE for held in self.leased))
    @rule(data=st.data(), refused=st.booleans())
    def finish(self, data: st.DataObject, *, refused: bool) -> None:
        writing = [held for held in self.leased if held[0].stage is Stage.WRITE]
        self.end(data.draw(st.sampled_from(writing)), refused=refused)

    def end(self, held: Held, *, refused: bool) -> None:
        entries = self.entries.get(held[0].id, tuple("" for _ in self.ledgers))
        done = self.agreed(
            [
                one.fail_rows([(entry, record)], BROKEN)
                if refused
                else one.finish([(entry, record)], DAY)
                for one, record, entry in zip(self.ledgers, held, entries, strict=True)
            ]
        )
        if done:
            self.drop(held)
            completed = held[0].data.get("status") == "completed" and not refused
            if completed and held[0].kind is Kind.MEDIA and held[0].state is not State.DEAD:
                self.recorded[held[0].id] = self.clock.now + DAY

    # the operator

    @rule(data=st.data(), stage=st.sampled_from([None, Stage.ENRICH, Stage.UPLOAD, Stage.WRITE]))
    def requeue(self, data: st.DataObject, stage: Stage | None) -> None:
        ids = data.draw(st.lists(st.sampled_from(EVERY_ID), max_size=4))
        held = {record[0].id for record in self.leased}
        before = {record_id: self.ledgers[0].find(record_id) for record_id in ids}
        self.agreed([one.requeue(ids, stage) for one in self.ledgers])
        for record_id in held & {i for i, found in before.items() if found}:
            if self.ledgers[0].find(record_id)[0].state is State.READY:
                self.held_until[record_id] = 0.0  # a writer that held its rows lost them

    @rule(names=SOME_NAMES, files=st.lists(NAMES, max_size=2))
    def readmit(self, names: list[str], files: list[str]) -> None:
        """What reconcile does with what it finds in neither ledger nor lake."""
        found = [*(event(n) for n in names), *(media(n) for n in files)]
        self.looks += 1
        records = [replace(one, trace=f"{one.trace}-{self.looks}") for one in found]
        absent = {r.id for r in records} - self.ledgers[0].states([r.id for r in records]).keys()
        admitted = self.agreed([one.readmit("job", records, 1) for one in self.ledgers])
        assert sorted(admitted) == sorted(absent)
        for record_id in admitted:
            self.recorded.pop(record_id, None)  # it may be fetched again now
            self.held_until[record_id] = 0.0

    # what always holds

    @invariant()
    def nothing_is_missing(self) -> None:
        census = self.agreed([self.comparable(one) for one in self.ledgers])
        full = self.ledgers[0].census()
        assert [full.missing(kind) for kind in Kind] == [0, 0, 0]
        in_stages = sum(sum(states.values()) for states in full.stages.values())
        by_attempts = sum(sum(numbers.values()) for numbers in full.by_attempts.values())
        assert in_stages == by_attempts == sum(full.active.values())
        assert census["active"] == full.active[Kind.EVENT] + full.active[Kind.MEDIA]

    @invariant()
    def all_agree_on_every_record(self) -> None:
        for record_id in EVERY_ID:
            found = self.agreed([one.find(record_id) for one in self.ledgers])
            states = self.agreed([one.states([record_id]) for one in self.ledgers])
            assert states == ({record_id: found[0].state} if found else {})
            assert found is None or len(found[1]) <= 20
        letters = [one.dead_letters(DeadFilter()) for one in self.ledgers]
        self.agreed([[(x.id, x.failure.error, x.replays) for x in found] for found in letters])

    def comparable(self, ledger: Ledger) -> dict[str, Any]:
        census = ledger.census()
        return {
            "counters": {name: n for name, n in census.counters.items() if n},
            "stages": census.stages,
            "attempts": census.by_attempts,
            "active": ledger.active(),
            "dead": census.dead,
            "oldest": {stage: round(age, 2) for stage, age in census.oldest_seconds.items()},
            "stream": census.stream_length,
        }

    def teardown(self) -> None:
        """Every record is still reachable by the ways that workers have."""
        for one in self.ledgers:
            self.work_off(one)
            census = one.census()
            assert sum(census.active.values()) == 0
            assert census.stream_length == 0
            assert [census.missing(kind) for kind in Kind] == [0, 0, 0]
            assert not any(letter.id.startswith("p:") for letter in one.dead_letters(DeadFilter()))

    def work_off(self, ledger: Ledger) -> None:
        self.clock.pass_(200)
        for _ in range(12):
            for (stage, _), ids in ledger.due(1000).items():
                records = ledger.claim(stage, ids, LEASE_SECONDS)
                assert all(
                    ledger.settle([Advance(r, FORWARD[stage], r.data, b"rows") for r in records])
                )
            pairs = ledger.read_rows("last", 1000, 0.0)
            records = {r.id: r for r in ledger.claim(Stage.WRITE, [r for _, r in pairs], 30)}
            ledger.finish([(e, records[r]) for e, r in pairs if r in records], DAY)
            ledger.forget_entries([entry for entry, r in pairs if r not in records])
            self.clock.pass_(61)


def test_random_programs_lose_and_double_nothing_in_memory():
    run_state_machine_as_test(
        Program,
        settings=settings(
            max_examples=120,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_programs_are_answered_alike_in_memory_and_in_redis(redis_client: redis.Redis):
    class Both(Program):
        """Both implementations, step by step."""

        def make(self) -> list[Ledger]:
            redis_client.flushall()
            # entries of the silent are left to the redriver: Redis ages them by its own clock
            return [
                MemoryLedger(self.clock, takeover_seconds=1e9),
                RedisLedger(redis_client, clock=self.clock, takeover_seconds=1e5),
            ]

    run_state_machine_as_test(
        Both,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
