"""The contract of `claimx.domain.ports.ledger.Ledger`: admitting what it may remember."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_rig import (
    DAY,
    Rig,
    event,
    media,
    media_at,
    state_of,
)

from claimx.domain.errors import Malformed
from claimx.domain.records import (
    Advance,
    Kind,
    Record,
    Stage,
    State,
)


class TestReadmission:
    """What is in neither ledger nor lake is admitted, whatever is remembered of it."""

    def finished(self, rig: Rig, name: str) -> None:
        """An event that was through, and is remembered."""
        record = rig.one(name)
        rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"rows")])
        rig.ledger.finish(rig.write(), DAY)

    def test_an_event_that_is_remembered_is_admitted_all_the_same(self, rig: Rig) -> None:
        self.finished(rig, "a")

        assert rig.ledger.readmit("job", [event("a"), event("b")], 1) == ("e:a", "e:b")

        record, history = rig.ledger.find("e:a")
        assert (record.stage, record.state, record.trace) == (Stage.ENRICH, State.READY, "trace-a")
        assert [note["what"] for note in history] == ["admitted"]
        assert rig.ledger.census().counters["event.admitted"] == 3

    def test_it_is_remembered_anew(self, rig: Rig) -> None:
        self.finished(rig, "a")
        rig.clock.pass_(DAY / 2)
        rig.ledger.readmit("job", [event("a")], 1)

        rig.clock.pass_(DAY / 2 + 1)

        assert rig.ledger.seen(["e:a"]) == {"e:a"}
        assert rig.admit("a") == []

    def test_a_record_that_is_there_is_left_alone(self, rig: Rig) -> None:
        held = rig.one("a")
        rig.admit_dead("dead")

        assert rig.ledger.readmit("job", [event("a"), event("dead")], 1) == ()

        assert rig.ledger.renew([held], 30) == {"e:a"}
        assert state_of(rig, "e:dead") is State.DEAD
        assert rig.ledger.census().counters["event.duplicate"] == 2

    def test_of_two_callers_one_admits(self, rig: Rig) -> None:
        self.finished(rig, "a")

        first = rig.ledger.readmit("job", [event("a"), event("a")], 1)
        second = rig.second().readmit("job", [event("a")], 1)

        assert (first, second) == (("e:a",), ())

    def test_who_got_no_answer_is_told_what_it_admitted(self, rig: Rig) -> None:
        """Redis went away once it was carried out: reconcile waits for it, and asks again."""
        rig.admit("b")
        found = [event("a"), event("b"), event("c")]
        later = [replace(one, trace="found by another look") for one in found]

        answers = [rig.second().readmit("job", found, 1) for _ in range(2)]
        answers.append(rig.ledger.readmit("job", later, 1))

        assert answers == [("e:a", "e:c"), ("e:a", "e:c"), ()]
        assert rig.ledger.census().counters["event.admitted"] == 3

    def test_media_that_were_completed_are_fetched_again_and_then_known_again(
        self, rig: Rig
    ) -> None:
        def complete(record: Record) -> None:
            data = {**record.data, "status": "completed"}
            rig.ledger.settle([Advance(record, Stage.WRITE, data, b"rows")])
            rig.ledger.finish(rig.write(), DAY)

        complete(media_at(rig, "1"))
        parent = rig.one("later")
        assert rig.ledger.readmit("job", [media("1", refresh=True)], 1) == ("m:1",)
        assert rig.ledger.seen(["m:1"]) == set(), "it does not count as completed"
        (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
        assert record.data["refresh"] is True
        complete(record)

        rig.ledger.settle([Advance(parent, Stage.WRITE, {}, b"r", spawn=(media("1"),))])

        assert rig.ledger.find("m:1") is None

    def test_a_source_row_is_parsed_again(self, rig: Rig) -> None:
        assert rig.ledger.readmit("job", [event("x", Stage.INGEST, junk=1)], 1) == ("e:x",)

        (record,) = rig.claim(Stage.INGEST, "e:x")

        assert record.kind is Kind.EVENT

    def test_a_greater_fence_shuts_out_a_smaller_one_of_its_job(self, rig: Rig) -> None:
        assert rig.ledger.readmit("job", [], 1_790_000_000_002) == ()

        assert rig.ledger.readmit("job", [event("a")], 1_790_000_000_001) is None
        assert rig.ledger.find("e:a") is None
        assert rig.ledger.readmit("another", [event("a")], 1) == ("e:a",)

    def test_it_is_due_like_anything_new(self, rig: Rig) -> None:
        rig.ledger.readmit("job", [event("a"), media("1")], 1)
        assert rig.ledger.due(10) == {}

        rig.clock.pass_(6)

        assert rig.ledger.due(10) == {
            (Stage.ENRICH, ""): ["e:a"],
            (Stage.DOWNLOAD, ""): ["m:1"],
        }

    def test_what_is_no_json_stops_the_whole(self, rig: Rig) -> None:
        with pytest.raises(Malformed, match="e:b"):
            rig.ledger.readmit("job", [event("a"), event("b", bad={1, 2})], 1)

        assert rig.ledger.find("e:a") is None
