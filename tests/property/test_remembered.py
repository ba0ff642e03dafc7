"""How long ids are remembered in Redis, where they lie in slices of time (ADR 0011)."""

from __future__ import annotations

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_rig import DAY, event, redis_rig

ROOT = "{claimx:0}:seen"
IDS = "abcdef"


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    window=st.sampled_from([1, 7, 100, 3600]),
    steps=st.lists(
        st.tuples(st.integers(0, 130), st.sets(st.sampled_from(IDS), min_size=1)), max_size=25
    ),
)
def test_an_id_is_remembered_to_the_millisecond(redis_client: redis.Redis, window, steps):
    """Wherever the edges of the slices are; *steps* are hundredths of the window, and ids."""
    redis_client.flushall()
    rig = redis_rig(redis_client)
    forgotten_at: dict[str, float] = {}

    for hundredths, names in steps:
        rig.clock.pass_(window * hundredths / 100)
        now = rig.clock()
        rig.ledger.admit(rig.page(), [event(name) for name in sorted(names)], [], window)
        for name in names:
            if forgotten_at.get(name, 0.0) <= now:
                forgotten_at[name] = now + window

        known = {f"e:{name}" for name, end in forgotten_at.items() if end > now}
        assert rig.ledger.seen([f"e:{name}" for name in IDS]) == known
        if known:
            first = min(end for end in forgotten_at.values() if end > now)
            rig.clock.pass_(first - now - 0.002)
            assert rig.ledger.seen([f"e:{name}" for name in IDS]) == known


def test_hashes_are_small_enough_to_be_packed_from_the_second_slice_on(redis_client):
    """The first slice cannot know how many ids will come."""
    rig = redis_rig(redis_client)
    for piece in range(3):
        many = [event(f"{piece}-{n:030d}") for n in range(3000)]
        rig.ledger.admit(rig.page(), many, [], DAY)
        rig.clock.pass_(DAY / 2)

    hashes = [key.decode() for key in redis_client.scan_iter(f"{ROOT}:*")]
    lengths = {int(key.split(":")[-2]): [] for key in hashes}
    for key in hashes:
        lengths[int(key.split(":")[-2])].append(redis_client.hlen(key))

    first, *others = (lengths[number] for number in sorted(lengths))
    assert sum(first) == 3000
    assert [sum(one) for one in others] == [3000, 3000]
    assert all(len(one) <= 3000 / 50 for one in others)
    assert max(map(max, others)) <= 128
    assert {redis_client.object("encoding", key) for key in hashes} == {b"listpack"}


def test_what_is_remembered_outlives_a_change_of_the_window(redis_client):
    """An operator makes it longer or shorter; what was remembered before stays so for its time."""
    rig = redis_rig(redis_client)
    rig.admit("a")
    for window in (2 * DAY, DAY / 4):
        rig.ledger.admit(rig.page(), [event(f"b{window}")], [], window)

    rig.clock.pass_(DAY - 1)
    before = rig.ledger.seen(["e:a", f"e:b{2 * DAY}", f"e:b{DAY / 4}"])
    rig.clock.pass_(2)

    assert before == {"e:a", f"e:b{2 * DAY}"}
    assert rig.ledger.seen(["e:a", f"e:b{2 * DAY}"]) == {f"e:b{2 * DAY}"}


def test_slices_that_are_over_are_forgotten(redis_client):
    rig = redis_rig(redis_client)
    for _ in range(6):
        rig.admit("a")
        rig.clock.pass_(DAY + 1)

    slices = [key for key in redis_client.hkeys(ROOT) if not key.startswith(b"n:")]

    assert len(slices) <= 3
    assert len(redis_client.hkeys(ROOT)) <= 6
