"""What several contracts are held against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ledger_check import problems
from ledger_rig import Rig, memory_rig, redis_rig

from claimx.domain.records import DeadFilter, Kind, Stage


@pytest.fixture(params=["memory", "redis"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        made = memory_rig()
    else:
        made = redis_rig(request.getfixturevalue("redis_client"))
    yield made
    for kind in Kind:  # whatever a test did: nothing went astray, and all the counts agree
        assert made.ledger.census().missing(kind) == 0
    census = made.ledger.census()
    for stage in Stage:
        assert sum(census.stages[stage].values()) == sum(census.by_attempts[stage].values())
    assert sum(sum(states.values()) for states in census.stages.values()) == sum(
        census.active.values()
    )
    assert made.ledger.active() == census.active[Kind.EVENT] + census.active[Kind.MEDIA]
    assert [made.ledger.active(kind) for kind in Kind] == [census.active[kind] for kind in Kind]
    assert len(made.ledger.dead_letters(DeadFilter())) == sum(census.dead.values())
    if request.param == "redis":
        found = problems(request.getfixturevalue("redis_client"), now=made.clock.now)
        # the writer lets no dead record wait, though the ledger lets it
        assert [one for one in found if "waiting since" not in one] == []
