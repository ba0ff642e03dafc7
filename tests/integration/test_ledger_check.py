"""The check of a ledger's keys finds what is wrong with them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from ledger_check import problems
from ledger_rig import BROKEN, DAY, FAILURE, Rig, media, redis_rig

from claimx.domain.records import Advance, Buried, Retried, Stage, Waited

ROOT = "{claimx:0}"
Spoil = Callable[[redis.Redis], object]


@pytest.fixture
def rig(redis_client: redis.Redis) -> Rig:
    """Records in every state, in most stages: dead ones with rows and without, one finished."""
    made = redis_rig(redis_client)
    made.ledger.ping()
    made.admit(*"abcdefgh")
    made.admit_dead("x")
    a, b, c, d, e, _, g = made.claim(Stage.ENRICH, *(f"e:{name}" for name in "abcdefg"))
    made.ledger.settle(
        [
            Advance(a, Stage.WRITE, {}, b"rows", spawn=(media("1"), media("2"))),
            Retried(b, 5, FAILURE),
            Waited(c, 5, FAILURE),
            Buried(d, BROKEN, rows=b"rows"),
            Buried(e, BROKEN),
            Advance(g, Stage.WRITE, {}, b"rows"),
        ]
    )
    made.read("w1", 1)
    ((entry, _),) = made.read("w1", 1)  # the dead one's
    (written,) = made.claim(Stage.WRITE, "e:g")
    made.ledger.finish([("", written)], DAY)
    made.claim(Stage.WRITE, "e:d")
    assert entry
    return made


def wrong(client: redis.Redis, rig: Rig) -> list[str]:
    return problems(client, now=rig.clock.now)


def test_a_ledger_as_its_own_steps_leave_it_is_in_order(redis_client, rig):
    assert wrong(redis_client, rig) == []

    rig.clock.pass_(200)
    rig.ledger.due(100)
    assert rig.ledger.requeue(["e:d", "e:e"]) == 2
    assert wrong(redis_client, rig) == []


def test_an_empty_redis_and_another_ledger_are_none_of_its_business(redis_client):
    redis_client.set("{other:0}:record:facts", "not a ledger's")

    assert problems(redis_client) == []


def test_an_entry_that_was_forgotten_is_no_problem(redis_client, rig):
    """The redriver puts its record on the stream again."""
    redis_client.delete(f"{ROOT}:rows")

    assert wrong(redis_client, rig) == []


SPOILT: dict[str, tuple[Spoil, str]] = {
    "not looked at": (
        lambda r: r.zrem(f"{ROOT}:look:enrich", "e:b"),
        "e:b: retrying at enrich, but looked at in []",
    ),
    "in two stages": (
        lambda r: r.zadd(f"{ROOT}:look:write", {"e:b": 1}),
        "e:b: retrying at enrich, but looked at in ['enrich', 'write']",
    ),
    "looked at too late": (
        lambda r: r.zincrby(f"{ROOT}:look:enrich", 500, "e:b"),
        "e:b: looked at in 505.000 s, not 5.000 to 60.000",
    ),
    "looked at too early": (
        lambda r: r.zincrby(f"{ROOT}:look:enrich", -20, "e:f"),
        "e:f: looked at in 10.000 s, not 30.000 to 60.000",
    ),
    "a living dead letter": (
        lambda r: r.zadd(f"{ROOT}:dead", {"e:b": 1}),
        "e:b: retrying, and among the dead letters",
    ),
    "a dead letter that nobody sees": (
        lambda r: r.zrem(f"{ROOT}:dead", "e:e"),
        "e:e: dead, and not among the dead letters",
    ),
    "a record that is gone": (
        lambda r: [r.hdel(key, "e:h") for key in r.scan_iter(f"{ROOT}:record:*")],
        "e:h: listed at enrich, and no record",
    ),
    "a letter that is gone": (
        lambda r: [r.hdel(key, "e:e") for key in r.scan_iter(f"{ROOT}:record:*")],
        "e:e: a dead letter, and no record",
    ),
    "no data": (lambda r: r.hdel(f"{ROOT}:record:data", "e:h"), "e:h: has no data"),
    "no failure": (lambda r: r.hdel(f"{ROOT}:record:failure", "e:e"), "e:e: without a failure"),
    "no rows": (lambda r: r.hdel(f"{ROOT}:record:rows", "e:a"), "e:a: at write without rows"),
    "rows too many": (
        lambda r: r.hset(f"{ROOT}:record:rows", "e:b", "rows"),
        "e:b: at enrich with rows",
    ),
    "rows that are owed and gone": (
        lambda r: r.hdel(f"{ROOT}:record:rows", "e:d"),
        "e:d: at enrich without rows, owed: True",
    ),
    "unreadable facts": (
        lambda r: r.hset(f"{ROOT}:record:facts", "e:h", "?"),
        "e:h: facts unreadable",
    ),
    "no facts": (lambda r: r.hdel(f"{ROOT}:record:facts", "e:h"), "e:h: lacks kind, stage"),
    "facts of another release": (
        lambda r: r.hset(f"{ROOT}:record:facts", "e:h", b"event\0enrich\0"),
        "e:h: facts unreadable",
    ),
    "a part that nobody knows": (
        lambda r: r.hset(f"{ROOT}:record:more", "e:h", 1),
        f"{ROOT}:record:more: nobody knows this key",
    ),
    "a history cut short": (
        lambda r: r.hdel(f"{ROOT}:record:history", "e:b"),
        "e:b: 0 lines of history, 1 counted",
    ),
    "an entry of nobody": (
        lambda r: r.xadd(f"{ROOT}:rows", {"i": "e:b"}, id="9999999999999-0"),
        "the stream's entry 9999999999999-0 names e:b, whose entry it is not",
    ),
    "a counter": (
        lambda r: r.hincrby(f"{ROOT}:n", "s:enrich:waiting", 1),
        "the counter s:enrich:waiting says 2, there are 1",
    ),
    "a counter of what is no more": (
        lambda r: r.hset(f"{ROOT}:n", "a:upload:3", 1),
        "the counter a:upload:3 says 1, there are 0",
    ),
    "an admission": (
        lambda r: r.hincrby(f"{ROOT}:n", "media.admitted", 1),
        "media: 3 admitted; 0 recorded, 0 unhandled, 2 here",
    ),
    "a memory without end": (
        lambda r: [r.persist(key) for key in r.scan_iter(f"{ROOT}:seen:*")],
        "seen 43200:",
    ),
    "a memory of no time": (
        lambda r: r.hset(f"{ROOT}:seen:7:7:7", "e:z", 1) and r.expire(f"{ROOT}:seen:7:7:7", 9),
        "seen 7:7:7: of no slice",
    ),
    "half a cursor": (
        lambda r: r.hdel(f"{ROOT}:cursor:p1", "version"),
        "the cursor p1 holds",
    ),
    "a key that nobody knows": (
        lambda r: r.set(f"{ROOT}:left:over", 1),
        f"{ROOT}:left:over: nobody knows this key",
    ),
}


@pytest.mark.parametrize(("spoil", "told"), SPOILT.values(), ids=SPOILT.keys())
def test_what_is_wrong_is_told(redis_client, rig, spoil, told):
    spoil(redis_client)

    found = wrong(redis_client, rig)

    assert any(one.startswith(told) for one in found), found
