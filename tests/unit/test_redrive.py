"""What the redriver sends, and what it leaves for later."""

from __future__ import annotations

import pytest

from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.hints import MemoryHints
from claimx.domain.records import Stage, State
from claimx.domain.retry import RetryPolicy
from claimx.services.hinting import LONG_QUEUE, MOST_AT_ONCE, MOST_QUEUED, hint
from claimx.services.redrive import RECORDS_A_TICK, TRICKLE, redrive_once
from claimx.services.runtime import Limits, Runtime
from claimx.telemetry.metrics import RecordedMetrics


class Due:
    """What the redriver uses of a ledger, over a plain answer; *states* are those not ready."""

    def __init__(self, due: dict[tuple[Stage, str], list[str]]) -> None:
        self.due_now = due
        self.limits: list[int] = []
        self.other_states: dict[str, State] = {}

    def states(self, ids: list[str]) -> dict[str, State]:
        return {one: self.other_states.get(one, State.READY) for one in ids}

    def due(self, limit: int) -> dict[tuple[Stage, str], list[str]]:
        self.limits.append(limit)
        return self.due_now


def runtime_with(due: dict[tuple[Stage, str], list[str]]) -> Runtime:
    return Runtime(
        ledger=Due(due),
        gates=MemoryGates(lambda: 0.0),
        hints=MemoryHints(),
        metrics=RecordedMetrics(),
        retry=RetryPolicy(),
        limits=Limits(),
        now=lambda: 0.0,
        jitter=lambda: 0.0,
        holder="test",
        make_lake=None,
        make_source=None,
    )


def test_what_is_due_is_sent_by_stage():
    runtime = runtime_with({(Stage.ENRICH, ""): ["e:1", "e:2"], (Stage.DOWNLOAD, ""): ["m:1"]})

    report = redrive_once(runtime, limit=10)

    assert runtime.hints.sent == [
        (Stage.ENRICH, ("e:1", "e:2"), ""),
        (Stage.DOWNLOAD, ("m:1",), ""),
    ]
    assert report.sent == 3
    assert runtime.ledger.limits == [10]


def test_nothing_due_sends_nothing():
    runtime = runtime_with({})

    report = redrive_once(runtime)

    assert (report.sent, runtime.hints.sent) == (0, [])


def test_behind_a_long_queue_only_the_oldest_go_out():
    """All would make the queue longer still; none would leave a retry waiting for ever."""
    ids = [f"e:{n}" for n in range(TRICKLE + 20)]
    runtime = runtime_with({(Stage.ENRICH, ""): ids, (Stage.RECORD, ""): ["m:1"]})
    runtime.hints.backlogs[Stage.ENRICH, ""] = LONG_QUEUE + 1

    report = redrive_once(runtime)

    assert runtime.hints.taken(Stage.ENRICH) == ids[:TRICKLE]
    assert runtime.hints.taken(Stage.RECORD) == ["m:1"]
    assert report.later == 20


def test_what_comes_again_goes_ahead_of_what_waits():
    """Else each try of a record would wait for the whole of a backlog."""
    runtime = runtime_with({(Stage.ENRICH, ""): ["e:1", "e:2", "e:3", "e:4"]})
    runtime.ledger.other_states = {"e:2": State.RETRYING, "e:3": State.LEASED, "e:4": State.WAITING}
    runtime.hints.backlogs[Stage.ENRICH, ""] = 1
    runtime.hints.send(Stage.ENRICH, ["e:0"])

    report = redrive_once(runtime)

    assert [ids for _, ids, _ in runtime.hints.sent] == [("e:2", "e:3", "e:4"), ("e:0",), ("e:1",)]
    assert report.sent == 4


def test_what_comes_again_is_found_among_very_many_that_wait():
    """Most of what is due behind a backlog are new records whose hint waits in it."""
    ids = [f"e:{n}" for n in range(RECORDS_A_TICK)]
    runtime = runtime_with({(Stage.ENRICH, ""): ids})
    runtime.ledger.other_states = {ids[-1]: State.RETRYING}
    runtime.hints.backlogs[Stage.ENRICH, ""] = 1

    redrive_once(runtime)

    assert [ids for _, ids, _ in runtime.hints.sent] == [(ids[-1],), tuple(ids[:-1])]


@pytest.mark.parametrize(
    ("waiting", "sent"),
    [(LONG_QUEUE, TRICKLE + 20), (LONG_QUEUE + 1, TRICKLE), (MOST_QUEUED, TRICKLE)],
)
def test_a_queue_is_long_from_its_first_message_too_many(waiting, sent):
    """And what was sent is counted, by stage: the figure that says whether retries move."""
    ids = [f"e:{n}" for n in range(TRICKLE + 20)]
    runtime = runtime_with({(Stage.ENRICH, ""): ids})
    runtime.hints.backlogs[Stage.ENRICH, ""] = waiting

    report = redrive_once(runtime)

    assert (report.sent, report.later) == (sent, len(ids) - sent)
    assert runtime.metrics.values == {("redriven", ("enrich",)): sent}


def test_to_a_queue_that_nobody_serves_nothing_is_sent():
    """It must not grow for ever; the records stay due, and the ledger offers them again."""
    runtime = runtime_with({(Stage.DOWNLOAD, ""): ["m:1"], (Stage.ENRICH, ""): ["e:1"]})
    runtime.hints.backlogs[Stage.DOWNLOAD, ""] = MOST_QUEUED + 1

    report = redrive_once(runtime)

    assert runtime.hints.sent == [(Stage.ENRICH, ("e:1",), "")]
    assert (report.sent, report.later) == (1, 1)


def test_new_work_is_hinted_only_while_its_queue_is_short():
    """Thus the redriver's trickle always has room before the queue is as long as it may be."""
    runtime = runtime_with({})
    runtime.hints.backlogs[Stage.ENRICH, ""] = LONG_QUEUE + 1
    runtime.hints.backlogs[Stage.UPLOAD, "n1"] = LONG_QUEUE

    hint(runtime, Stage.ENRICH, ["e:1"])
    hint(runtime, Stage.UPLOAD, ["m:1"], "n1")

    assert runtime.hints.sent == [(Stage.UPLOAD, ("m:1",), "n1")]
    assert LONG_QUEUE + TRICKLE <= MOST_QUEUED


def test_very_many_records_are_not_hinted_at_once():
    runtime = runtime_with({})

    hint(runtime, Stage.ENRICH, [f"e:{n}" for n in range(MOST_AT_ONCE + 1)])

    assert len(runtime.hints.taken(Stage.ENRICH)) == MOST_AT_ONCE


@pytest.mark.parametrize(
    "announced",
    [{"node": "n1"}, {"node": "n1", "queues": "download,upload,upload.n1"}],
    ids=["says only its node", "says what it consumes"],
)
def test_an_upload_goes_to_the_node_that_has_the_file(announced):
    runtime = runtime_with({(Stage.UPLOAD, "n1"): ["m:1"]})
    runtime.gates.beat("worker", "w", announced, 30)

    report = redrive_once(runtime)

    assert runtime.hints.sent == [(Stage.UPLOAD, ("m:1",), "n1")]
    assert report.orphaned == 0


@pytest.mark.parametrize(
    "announced", [{}, {"node": "n2"}, {"node": "n1", "queues": "enrich"}], ids=str
)
def test_an_upload_whose_node_is_gone_goes_to_the_shared_queue(announced):
    """Nobody reads that node's queue any more: there the record would stay for ever."""
    due = {"n1": ["m:1", "m:4"], "": ["m:2"], "gone, too": ["m:3"]}
    runtime = runtime_with({(Stage.UPLOAD, node): ids for node, ids in due.items()})
    runtime.gates.beat("worker", "w", announced, 30)

    report = redrive_once(runtime)

    assert runtime.hints.sent == [(Stage.UPLOAD, ("m:1", "m:4", "m:2", "m:3"), "")]
    assert report.orphaned == 3


@pytest.mark.parametrize("away", [True, False], ids=["do not answer", "have lost what they knew"])
def test_an_upload_stays_its_nodes_while_the_gates_know_of_nobody(away):
    """Others have not got its file: each would be downloaded again."""
    runtime = runtime_with({(Stage.UPLOAD, "n1"): ["m:1"]})
    if away:
        runtime.gates.beat("worker", "w", {"node": "n1"}, 30)
    runtime.gates.away = away

    report = redrive_once(runtime)

    assert runtime.hints.sent == [(Stage.UPLOAD, ("m:1",), "n1")]
    assert report.orphaned == 0
