"""Hints on a real broker: what lies in its queues, and for how long."""

from __future__ import annotations

import pytest
from celery import Celery

from claimx.adapters.hints import (
    CHUNK_SIZES,
    NODE_QUEUE_SECONDS,
    SHARED_BY,
    CeleryHints,
    chunk_size,
    queue_named,
)
from claimx.adapters.transport import Transport
from claimx.adapters.unreadable import UNREADABLE_KEY, keep_unreadable
from claimx.domain.records import Stage

pytestmark = pytest.mark.integration


@pytest.fixture
def hints(redis_client, redis_url):
    app = Celery("hints", broker=redis_url, set_as_current=False)
    yield CeleryHints(app, redis_client)
    app.close()


def test_a_backlog_is_the_number_of_messages(hints):
    ids = [f"e:{n}" for n in range(SHARED_BY * CHUNK_SIZES[Stage.ENRICH][1] + 1)]

    hints.send(Stage.ENRICH, ids)

    assert hints.backlog(Stage.ENRICH) == SHARED_BY + 1
    assert hints.backlog(Stage.DOWNLOAD) == 0


def test_one_message_goes_ahead_of_those_that_wait(redis_client, redis_url):
    """More of them would hold up new work for as long as very many come again."""
    most = CHUNK_SIZES[Stage.ENRICH][1]
    again = [f"e:{n}" for n in range(most + 2)]
    with Celery("hints", broker=redis_url, set_as_current=False) as app:
        app.conf.broker_transport = f"{Transport.__module__}:{Transport.__name__}"
        hints = CeleryHints(app, redis_client)
        hints.send(Stage.ENRICH, ["e:1"])
        hints.send(Stage.ENRICH, ["e:2"])
        hints.send(Stage.ENRICH, again, ahead=True, waiting=SHARED_BY)

        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(queue_named("enrich"))
            read = [queue.get(timeout=30) for _ in range(4)]
            queue.close()

    half = len(again) // 2
    [[one], [two], [three], [four]] = [message.payload[0] for message in read]
    assert [one, two, three, four] == [again[:half], ["e:1"], ["e:2"], again[half:]]


@pytest.mark.parametrize("stage", list(CHUNK_SIZES))
def test_a_burst_is_shared_by_several_children_once_it_is_worth_a_message_each(stage):
    least, most = CHUNK_SIZES[stage]

    sizes = {records: chunk_size(stage, records) for records in (1, least, 4 * most, 10**6)}

    assert sizes == {1: 1, least: least, 4 * most: most, 10**6: most}
    assert all(-(-n // chunk_size(stage, n)) >= SHARED_BY for n in range(4 * least, 10 * most, 7))


@pytest.mark.parametrize("stage", list(CHUNK_SIZES))
@pytest.mark.parametrize("waiting", range(SHARED_BY + 2))
def test_messages_of_a_burst_are_alike_in_size(stage, waiting):
    """Twenty-five files were a message of twenty and one of five, which cost as much."""
    least, most = CHUNK_SIZES[stage]

    for records in range(1, 5 * most, 3):
        size = chunk_size(stage, records, waiting)
        assert 1 <= size <= most
        messages = -(-records // size)
        assert messages <= max(1, records // least, -(-records // most))
        assert records - (messages - 1) * size > size - messages


@pytest.mark.parametrize("stage", list(CHUNK_SIZES))
@pytest.mark.parametrize("waiting", range(SHARED_BY))
def test_a_burst_becomes_as_many_messages_as_somebody_may_be_idle_for(stage, waiting):
    """Each message costs, and those that wait already keep others busy."""
    least, most = CHUNK_SIZES[stage]
    records = min(most, (SHARED_BY - waiting) * least)

    size = chunk_size(stage, records, waiting)

    assert -(-records // size) == min(SHARED_BY - waiting, records // least)


@pytest.mark.parametrize("stage", list(CHUNK_SIZES))
def test_behind_a_queue_nobody_is_idle_so_few_messages_are_sent(stage):
    _, most = CHUNK_SIZES[stage]

    for records in (most, most + 1, 4 * most, 9 * most + 1):
        size = chunk_size(stage, records, SHARED_BY)
        assert -(-records // size) == -(-records // most)


def test_the_queue_of_a_node_that_is_gone_for_good_vanishes(hints, redis_client):
    """Its records are due again long before; the shared queues stay."""
    hints.send(Stage.UPLOAD, ["m:1"], "node-7")
    hints.send(Stage.UPLOAD, ["m:2"])

    assert 0 < redis_client.ttl("upload.node-7") <= NODE_QUEUE_SECONDS
    assert redis_client.ttl("upload") == -1


def test_what_nobody_can_read_is_kept_in_a_list_that_ends(redis_client):
    """Somebody who sends nonsense for a week must not fill Redis with it."""
    for n in range(1005):
        keep_unreadable(redis_client, "item", f"{n} {'x' * 5000}", None)

    kept = redis_client.lrange(UNREADABLE_KEY, 0, -1)
    assert len(kept) == 1000
    assert kept[0].count(b"x") < 2001
    assert b"1004 x" in kept[0]
    assert b'"5 x' in kept[-1]
