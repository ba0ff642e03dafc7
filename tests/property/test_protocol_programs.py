"""Random programs of the whole pipeline's protocol, each answer held against the book."""

from __future__ import annotations

import pytest
import redis
from protocol.machine import run
from protocol.stores import MemoryStore, RedisStore

pytestmark = pytest.mark.timeout(900)  # a failure is first made small, for five minutes at most


def test_the_ledger_in_memory_keeps_the_protocol():
    run(MemoryStore, examples=120, steps=50)


def test_the_ledger_in_redis_keeps_the_protocol(redis_client: redis.Redis):
    run(lambda clock: RedisStore(clock, redis_client), examples=30, steps=40)
