"""The in-memory ledger's census: counted from the records, so that it can disprove counters."""

from __future__ import annotations

from collections import Counter, defaultdict

from claimx.adapters.memory.ledger_records import Records
from claimx.domain.records import Census, Kind, Stage, State


def census_of(records: Records) -> Census:
    """Count everything."""
    now = records.now()
    stages: dict[Stage, Counter[State]] = {stage: Counter() for stage in Stage}
    attempts: dict[Stage, Counter[int]] = {stage: Counter() for stage in Stage}
    oldest: dict[Stage, float] = defaultdict(float, dict.fromkeys(Stage, 0.0))
    active, dead = Counter(dict.fromkeys(Kind, 0)), Counter(dict.fromkeys(Kind, 0))
    for kept in records.by_id.values():
        if kept.dead:
            dead[kept.kind] += 1
            continue
        active[kept.kind] += 1
        stages[kept.stage][kept.state] += 1
        attempts[kept.stage][kept.attempts] += 1
        oldest[kept.stage] = max(oldest[kept.stage], now - kept.entered_at)
    return Census(
        counters=dict(records.counters),
        stages={stage: dict(states) for stage, states in stages.items()},
        active=dict(active),
        dead=dict(dead),
        by_attempts={stage: dict(numbers) for stage, numbers in attempts.items()},
        oldest_seconds=dict(oldest),
        stream_length=len(records.stream),
        stream_pending=records.stream.pending,
    )
