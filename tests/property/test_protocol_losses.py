"""Redis is put back to any earlier state, or loses everything, in the midst of random programs."""

from __future__ import annotations

import pytest
import redis
from protocol.machine import run
from protocol.moves_losses import LOSSES
from protocol.stores import MemoryStore, RedisStore

pytestmark = pytest.mark.timeout(900)  # a failure is first made small, for five minutes at most


def test_any_earlier_state_of_a_ledger_in_memory_is_one_to_go_on_from():
    run(MemoryStore, *LOSSES, examples=120, steps=50)


def test_any_earlier_state_of_redis_is_one_to_go_on_from(redis_client: redis.Redis):
    run(lambda clock: RedisStore(clock, redis_client), *LOSSES, examples=30, steps=40)
