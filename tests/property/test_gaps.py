"""Whatever is set aside, extended, read and closed: nothing of it is left unread and forgotten."""

from __future__ import annotations

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_rig import Clock

from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.cursors import Gap
from claimx.domain.ports.ledger import Ledger

MOST = 3
steps = st.lists(
    st.one_of(
        # how far the source has run on, how far the overlap reaches back
        st.tuples(st.just("set aside"), st.integers(1, 30), st.integers(0, 60)),
        # which gap is read, by how much
        st.tuples(st.just("read"), st.integers(0, MOST - 1), st.integers(1, 25)),
        st.tuples(st.just("count"), st.integers(0, MOST - 1), st.integers(0, 9)),
    ),
    max_size=25,
)


def agreed(answers: list) -> object:
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def owed_by(ledger: Ledger) -> set[int]:
    """Return the moments that the ledger's gaps would still lead somebody to read."""
    owed: set[int] = set()
    for gap in ledger.gaps("live"):
        read = ledger.checkpoint(gap.reader)
        owed |= set(range((read.source_time if read else gap.after) + 1, gap.until + 1))
    return owed


def run(ledgers: list[Ledger], doing: list[tuple[str, int, int]]) -> None:
    unread: set[int] = set()
    for kind, first, second in doing:
        gaps = agreed([one.gaps("live") for one in ledgers])
        match kind:
            case "set aside":
                at = agreed([one.checkpoint("live") for one in ledgers])
                reached = at.source_time if at else 1000
                gap = Gap(max(900, reached - second), reached + first, first)
                agreed([one.set_aside("live", at, gap, MOST) for one in ledgers])
                unread |= set(range(gap.after + 1, gap.until + 1))
            case "read" if first < len(gaps):
                gap = gaps[first]
                read = agreed([one.checkpoint(gap.reader) for one in ledgers])
                begin = read.source_time if read else gap.after
                end = min(gap.until, begin + second)
                agreed([one.store_page(gap.reader, read, end, []) for one in ledgers])
                unread -= set(range(begin + 1, end + 1))
                if end == gap.until:
                    assert agreed(
                        [one.close_gap("live", gap, one.checkpoint(gap.reader)) for one in ledgers]
                    )
            case "count" if first < len(gaps):
                agreed([one.recount_gap("live", gaps[first], second) for one in ledgers])
        gaps = agreed([one.gaps("live") for one in ledgers])
        assert len(gaps) <= MOST
        assert unread <= owed_by(ledgers[0])


@settings(deadline=None, max_examples=300)
@given(doing=steps)
def test_what_is_set_aside_is_read_or_kept_in_memory(doing):
    run([MemoryLedger(Clock())], doing)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(doing=steps)
def test_gaps_are_kept_alike_in_memory_and_in_redis(redis_client: redis.Redis, doing):
    redis_client.flushall()
    run([MemoryLedger(Clock()), RedisLedger(redis_client, clock=Clock())], doing)
