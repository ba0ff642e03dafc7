"""Commands that look, beside a Redis that takes no writes: just then they are needed."""

from __future__ import annotations

import json

import pytest
from cli_runner import claimx
from ledger_rig import BROKEN

from claimx.adapters.ledger import RedisLedger
from claimx.cli.stack import free_port
from claimx.domain.records import Buried, Kind, NewRecord, Stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(params=["full", "a replica"])
def refusing(request, redis_client):
    """Redis with a dead page, that refuses every write."""
    ledger = RedisLedger(redis_client)
    page = NewRecord("p:1", Kind.PAGE, Stage.INGEST, {}, "trace")
    ledger.store_page("live", None, 1, [page])
    (record,) = ledger.claim(Stage.INGEST, ["p:1"], 60)
    ledger.settle([Buried(record, BROKEN)])
    limit = redis_client.config_get("maxmemory")["maxmemory"]
    if request.param == "full":
        redis_client.config_set("maxmemory", "1mb")
    else:
        redis_client.replicaof("127.0.0.1", free_port())
    try:
        yield {"full": "out of memory", "a replica": "a replica"}[request.param]
    finally:
        redis_client.replicaof("NO", "ONE")
        redis_client.config_set("maxmemory", limit)


def test_the_status_tells_all_it_knows_and_that_redis_takes_no_writes(refusing, redis_url):
    """It printed the reason alone: what waits, and how much, was not to be seen."""
    answer = claimx("status", "-o", "json", REDIS_URL=redis_url)

    found = json.loads(answer.out)
    assert answer.status == 7
    assert found["dead"]["page"] == 1
    assert [one for one in found["problems"] if refusing in one and "takes no writes" in one]


def test_dead_letters_can_be_looked_at(refusing, redis_url):
    """A requeue must wait until there is room; a look need not."""
    listed = claimx("dlq", "ls", "-o", "json", REDIS_URL=redis_url)
    shown = claimx("dlq", "show", "p:1", "-o", "json", REDIS_URL=redis_url)
    requeued = claimx("dlq", "requeue", "--all", "--yes", REDIS_URL=redis_url)

    assert [one["id"] for one in listed.rows("dead_letters")] == ["p:1"]
    assert [one["message"] for one in shown.rows("dead_letters")] == ["no type"]
    assert requeued.status == 5
    assert refusing in requeued.err


def test_the_doctor_says_that_redis_takes_no_writes(refusing, redis_url):
    """It said that REDIS_URL leads nowhere, and nothing of what else is wrong."""
    answer = claimx("doctor", "--only", "redis", "-o", "json", REDIS_URL=redis_url)

    (found,) = [one for one in answer.rows("diagnoses") if "takes no writes" in one["wrong"]]
    assert answer.status == 7
    assert refusing in found["wrong"]
