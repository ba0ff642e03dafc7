"""
What an event costs in numbers that do not depend on how fast the machine is.

A guard, not a measurement (that is ``make bench-stages``): half as much again as it was when the
bounds were set, and for commands what the more frequent settlements of a slow machine take besides.
Whoever comes by one has made every event dearer: by a round trip, a command or a message for each
record, a commit for each event, or a copy of everything.
"""

from __future__ import annotations

import pytest
from pipelines.stage_costs import Bench

EVENTS = 1000

COMMANDS = {  # of Redis for each event, those inside its scripts, too; every second has a file
    "poll": 0.2,
    "ingest": 4.5,
    "enrich": 3.7,
    "download": 1.5,
    "upload": 1.5,
    "record": 2.0,
    "write": 3.1,
}
CALLS = {  # of Python's functions, built-in ones too: what CPU is, on any machine
    "poll": 210,
    "ingest": 65,
    "enrich": 550,
    "download": 260,
    "upload": 240,
    "record": 125,
    "write": 335,
}
BYTES = {  # the most that Python's objects took at a time, for each of the thousand events
    "poll": 6_000,
    "ingest": 9_200,
    "enrich": 8_700,
    "download": 1_000,
    "upload": 16_000,  # of which 10 kB are the file in the store's memory
    "record": 1_000,
    "write": 13_800,
}
STEPS = 0.3  # scripts that were called, over all stages: chunks, and a settlement every 0.1 s
MESSAGES = 0.1
COMMITS = 0.008


@pytest.fixture(scope="module")
def costs(tmp_path_factory, redis_server):
    """Of the stages, one after the other, in the order in which they come."""
    import redis

    url = str(redis_server.connection_url)
    redis.Redis.from_url(url).flushall()
    return Bench(tmp_path_factory.mktemp("bench"), url, EVENTS, traced=True).run()


@pytest.mark.parametrize("stage", COMMANDS)
def test_redis_carries_out_no_more_commands_an_event(costs, stage):
    assert 0 < costs[stage].commands <= COMMANDS[stage]


@pytest.mark.parametrize("stage", CALLS)
def test_an_event_takes_no_more_calls(costs, stage):
    assert 0 < costs[stage].calls <= CALLS[stage]


@pytest.mark.parametrize("stage", BYTES)
def test_an_event_takes_no_more_memory(costs, stage):
    assert 0 < costs[stage].bytes <= BYTES[stage]


def test_round_trips_messages_and_commits_are_shared_by_many_events(costs):
    assert 0 < sum(cost.steps for cost in costs.values()) <= STEPS
    assert 0 < sum(cost.messages for cost in costs.values()) <= MESSAGES
    assert 0 < sum(cost.commits for cost in costs.values()) <= COMMITS
