"""What only a ledger in Redis can get wrong."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis
from ledger_check import problems
from ledger_rig import (
    DAY,
    FAILURE,
    media,
    media_at,
    page,
    redis_rig,
)

from claimx.adapters.ledger import RedisLedger
from claimx.adapters.ledger.scripts import source_of
from claimx.domain.errors import Unavailable
from claimx.domain.records import (
    Advance,
    Buried,
    DeadFilter,
    Kind,
    NewRecord,
    Retried,
    Stage,
    State,
)


def test_what_is_indexed_is_what_is_counted(redis_client):
    """The counters are kept apart from the records: they must say the same."""
    rig = redis_rig(redis_client)
    rig.admit(*"abcdef")
    a, b, c, d = rig.claim(Stage.ENRICH, "e:a", "e:b", "e:c", "e:d")
    rig.ledger.settle(
        [
            Advance(a, Stage.WRITE, {}, b"r", spawn=(media("1"), media("2"))),
            Retried(b, 5, FAILURE),
            Buried(c, FAILURE, rows=b"r"),
            Buried(d, FAILURE),
        ]
    )

    census = rig.ledger.census()

    for stage in Stage:
        indexed = redis_client.zcard(f"{{claimx:0}}:look:{stage}")
        owed = 1 if stage is Stage.WRITE else 0  # the dead record's rows
        assert indexed == sum(census.stages[stage].values()) + owed
    assert redis_client.zcard("{claimx:0}:dead") == census.dead[Kind.EVENT] == 2
    records = redis_client.hlen("{claimx:0}:record:facts")
    assert records == sum(census.active.values()) + sum(census.dead.values())


def test_what_is_committed_is_settled_in_a_redis_that_is_full(redis_client):
    """That is what makes room again; a record that is kept, and an id, need some of it."""
    rig = redis_rig(redis_client)
    rig.ledger.settle([Buried(rig.one("dead"), FAILURE, rows=b"found")])
    file = media_at(rig, "1")
    rig.ledger.settle([Advance(file, Stage.WRITE, {"status": "completed"}, b"r")])
    done = rig.write()
    assert [record.state for _, record in done] == [State.DEAD, State.LEASED, State.LEASED]
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="out of memory"):
            rig.ledger.ping()

        assert rig.ledger.finish(done, DAY) == 3
    finally:
        redis_client.config_set("maxmemory", 0)

    assert rig.ledger.seen(["m:1"]) == {"m:1"}
    assert problems(redis_client, now=rig.clock.now) == []


@pytest.mark.parametrize("refused", [False, True])
def test_rows_of_the_dead_alone_make_room_in_a_redis_that_is_full(redis_client, refused):
    """The writer settles the dead by themselves, and they may be what fills it."""
    rig = redis_rig(redis_client)
    rig.ledger.settle([Buried(rig.one("dead"), FAILURE, rows=b"found")])
    done = rig.write()
    redis_client.config_set("maxmemory", 1)
    try:
        settle = rig.ledger.fail_rows if refused else rig.ledger.finish
        assert settle(done, FAILURE if refused else DAY) == 1
    finally:
        redis_client.config_set("maxmemory", 0)

    assert rig.ledger.find("e:dead")[0].rows == b""
    assert problems(redis_client, now=rig.clock.now) == []


def test_nothing_is_left_of_what_was_finished(redis_client):
    rig = redis_rig(redis_client)
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    rig.ledger.finish(rig.write(), DAY)

    names = {key.decode().removeprefix("{claimx:0}:") for key in redis_client.scan_iter("*")}

    (seen,) = {name for name in names if name.startswith("seen:")}
    assert names == {"n", "seen", seen, "rows", "cursor:p1"}
    assert redis_client.hkeys(f"{{claimx:0}}:{seen}") == [b"e:a"]
    assert DAY <= redis_client.ttl(f"{{claimx:0}}:{seen}") <= 1.5 * DAY
    assert redis_client.xlen("{claimx:0}:rows") == 0


def test_every_key_shares_one_hash_tag(redis_client):
    ledger = RedisLedger(redis_client, prefix="other")
    ledger.ping()
    ledger.store_page("live", None, 1, [page("a")])

    assert all(key.startswith(b"{other:0}:") for key in redis_client.scan_iter("*"))


def test_scripts_that_redis_forgot_are_loaded_again(redis_client):
    rig = redis_rig(redis_client)
    record = rig.one("a")
    redis_client.script_flush()

    assert rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")]) == [True]


def test_a_consumer_group_that_vanished_is_made_again(redis_client):
    rig = redis_rig(redis_client)
    assert rig.read() == []
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    redis_client.xgroup_destroy("{claimx:0}:rows", "writers")

    assert [record_id for _, record_id in rig.read()] == ["e:a"]

    redis_client.delete("{claimx:0}:rows")
    rig.clock.pass_(61)
    time.sleep(0.005)  # Redis names entries by its own clock: in a stream made anew, not as before
    rig.ledger.due(10)
    assert len(rig.write()) == 1


def test_an_entry_that_nobody_has_read_keeps_its_place_in_the_stream(redis_client):
    """Else a backlog of rows would be put on the stream anew again and again, the oldest last."""
    rig = redis_rig(redis_client)
    read = rig.one("read")
    rig.ledger.settle([Advance(read, Stage.WRITE, {}, b"r")])
    rig.read()
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    (_, unread) = redis_client.xrange("{claimx:0}:rows")

    for _ in range(2):
        rig.clock.pass_(61)
        rig.ledger.due(10)

    entries = redis_client.xrange("{claimx:0}:rows")
    assert unread in entries
    assert len(entries) == 2


def test_a_reader_waits_for_rows_no_longer_than_told(redis_client):
    rig = redis_rig(redis_client)
    assert rig.ledger.read_rows("w1", 10, 0.02) == []
    record = rig.one("a")

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(rig.second().read_rows, "w1", 10, 5.0)
        rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")])
        ((_, record_id),) = reading.result(timeout=10)

    assert record_id == "e:a"


def test_without_a_clock_the_time_is_the_servers(redis_client):
    ledger = RedisLedger(redis_client)
    ledger.store_page("live", None, 1, [page("a")])
    seconds, micros = redis_client.time()

    record, _ = ledger.find("p:a")

    assert record.admitted_at == pytest.approx(seconds + micros / 1e6, abs=2.0)
    assert len(ledger.claim(Stage.INGEST, ["p:a"], 30)) == 1


def test_a_zero_byte_in_a_text_beside_the_data_spoils_no_record(redis_client):
    """There a zero byte ends the text, so one within would shift all facts behind it."""
    rig = redis_rig(redis_client)
    odd = NewRecord("e:a", Kind.EVENT, Stage.ENRICH, {"text": "\0"}, "tra\0ce")
    rig.ledger.admit(rig.page(), [odd], [], DAY)
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    assert (record.trace, record.data) == ("trace", {"text": "\0"})

    failure = replace(FAILURE, error="Brok\0en")
    rig.ledger.settle([Buried(record, failure)])

    (letter,) = rig.ledger.dead_letters(DeadFilter(error="Broken"))
    assert (letter.trace, letter.failure) == ("trace", failure)


def test_a_claim_repeated_after_a_broken_connection_gives_the_same_leases(redis_client):
    rig = redis_rig(redis_client)
    rig.admit("a")
    script = redis_client.register_script(source_of("claim"))
    call = {"keys": ["{claimx:0}"], "args": [rig.clock.now, "enrich", "token", 30, "e:a"]}

    first, second = script(**call), script(**call)

    assert first == second
    assert first[1] == [b"e:a"]
    assert rig.ledger.find("e:a")[0].tries == 1


def test_a_readmission_repeated_after_a_broken_connection_is_told_the_same(redis_client):
    """Told of none, reconcile said of what it had admitted that nobody had mended it."""
    rig = redis_rig(redis_client)
    rig.admit("b")
    script = redis_client.register_script(source_of("readmit"))
    records = [word for name in "abc" for word in (f"e:{name}", "event", "enrich", "{}", "trace")]

    def call(token):
        return script(keys=["{claimx:0}"], args=[rig.clock.now, "job", 1, DAY, token, *records])

    answers = [call("one"), call("one"), call("another"), call("another")]

    assert answers == [[b"e:a", b"e:c"], [b"e:a", b"e:c"], [], []]
    counters = rig.ledger.census().counters
    assert (counters["event.admitted"], counters["event.duplicate"]) == (3, 4)


def test_a_requeue_repeated_after_a_broken_connection_is_told_the_same(redis_client):
    """Told of none, an operator read "requeued 0", "no longer dead", and a script saw a failure."""
    rig = redis_rig(redis_client)
    for name in "abc":
        rig.admit_dead(name)
    script = redis_client.register_script(source_of("requeue"))

    def call(token, *ids):
        return script(keys=["{claimx:0}"], args=[rig.clock.now, "", token, *ids, "e:nobody"])

    answers = [call("one", "e:a", "e:b"), call("one", "e:a", "e:b"), call("another", "e:a")]
    answers += [call("of one", "e:c"), call("of one", "e:c")]

    assert answers == [2, 2, 0, 1, 1]
    assert rig.ledger.census().counters["event.requeued"] == 3


def test_resp3_clients_read_the_same(redis_url):
    with redis.Redis.from_url(redis_url, protocol=3) as client:
        rig = redis_rig(client)
        rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r", spawn=(media("1"),))])

        assert rig.ledger.census().active[Kind.MEDIA] == 1
        ((_, record_id),) = rig.ledger.read_rows("w1", 10, 1.0)
        rig.ledger.settle([Advance(rig.one("b"), Stage.WRITE, {}, b"r")])
        _, second = rig.ledger._wait_for_rows("w1", 10, 1.0)

        assert (record_id, second) == ("e:a", b"e:b")


def test_readers_that_are_gone_leave_the_groups_books(redis_client):
    """Each writer that starts has a new name: a crash loop added one each time, for good."""
    rig = redis_rig(redis_client)
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    for name in ("took one", "found none"):
        rig.read(name)
    rig.fall_silent(601)
    rig.read("reads")
    rig.clock.pass_(601)

    found = rig.read("reads")

    def readers():
        return {
            one["name"].decode(): one["pending"]
            for one in redis_client.xinfo_consumers("{claimx:0}:rows", "writers")
        }

    assert found == []
    assert readers() == {"reads": 1}


def test_a_reader_that_is_gone_stays_in_the_books_while_it_holds_entries(redis_client):
    """With it, Redis would forget who has read them, and no step of the walk would find them."""
    rig = redis_rig(redis_client)
    for name in "ab":
        rig.ledger.settle([Advance(rig.one(name), Stage.WRITE, {}, b"r")])
    rig.read("took two")
    rig.fall_silent(601)

    found = []
    for _ in range(2):
        found += rig.read("reads", 1)
        rig.clock.pass_(1.5)

    assert [record_id for _, record_id in found] == ["e:a", "e:b"]


def test_a_reader_that_is_forgotten_while_it_waits_gets_what_comes_all_the_same(redis_client):
    """One that waits is silent as well, for longer than a takeover takes."""
    rig = redis_rig(redis_client)
    rig.read("reads")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(rig.second().read_rows, "waits", 10, 5.0)
        deadline = time.monotonic() + 5
        while len(redis_client.xinfo_consumers("{claimx:0}:rows", "writers")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        rig.fall_silent(601)
        rig.read("reads")
        (left,) = redis_client.xinfo_consumers("{claimx:0}:rows", "writers")
        rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
        ((_, record_id),) = waiting.result(10)

    assert (left["name"], record_id) == (b"reads", "e:a")
