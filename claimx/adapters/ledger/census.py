"""The ledger's counts as a `Census`, from the counters that every script keeps."""

from __future__ import annotations

from collections.abc import Sequence

from claimx.adapters.ledger.chunks import groups
from claimx.domain.records import Census, Kind, Stage, State


def census_from(
    counts: Sequence[bytes], stream_length: int, stream_pending: int, ages: Sequence[bytes]
) -> Census:
    """
    Return what ``census`` gave: counters and ages, each name followed by its value.

    A counter's name says what it counts: ``s:stage:state``, ``a:stage:attempts``, ``k:kind``
    (active), ``d:kind`` (dead), and ``kind.what`` for what has happened so far.
    """
    counters: dict[str, int] = {}
    by_state: dict[Stage, dict[State, int]] = {stage: {} for stage in Stage}
    by_attempts: dict[Stage, dict[int, int]] = {stage: {} for stage in Stage}
    active, dead = dict.fromkeys(Kind, 0), dict.fromkeys(Kind, 0)
    for raw_name, count in groups(counts, 2):
        match raw_name.decode().split(":"):
            case ["s", stage, state] if int(count):
                by_state[Stage(stage)][State(state)] = int(count)
            case ["a", stage, attempts] if int(count):
                by_attempts[Stage(stage)][int(attempts)] = int(count)
            case ["k", kind]:
                active[Kind(kind)] = int(count)
            case ["d", kind]:
                dead[Kind(kind)] = int(count)
            case [name] if "." in name:
                counters[name] = int(count)
    return Census(
        counters=counters,
        stages=by_state,
        active=active,
        dead=dead,
        by_attempts=by_attempts,
        oldest_seconds={Stage(stage.decode()): float(age) for stage, age in groups(ages, 2)},
        stream_length=stream_length,
        stream_pending=stream_pending,
    )
