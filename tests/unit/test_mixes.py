"""The even mixes that measurements use: what is counted on, exactly."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest
from pipelines.mixes import MIXES

from claimx.sandbox.__main__ import parser
from claimx.sandbox.control import parse_faults
from claimx.sandbox.files import digest
from claimx.sandbox.mixes import MIX
from claimx.sandbox.rows import HELD
from claimx.sandbox.world import World

AT = 1_790_000_000


@pytest.mark.parametrize(
    ("mix", "files"), [("media", 100), ("no-media", 0), ("nothing", 0), ("long", 10)]
)
def test_every_event_comes_once_and_so_many_have_a_file(mix, files):
    world = World(1, 201, AT, mix=mix, specials=False, smallest=5000, largest=5000)

    types = Counter(row.values["event_type"] for row in world.rows)

    assert len({row.values["event_id"] for row in world.rows}) == len(world.rows) == 201
    assert types["PROJECT_FILE_ADDED"] == len(world.media) == files
    assert {item.size for item in world.media.values()} <= {5000}


def test_an_even_mix_without_files_is_shared_out_as_in_the_field():
    shares = {name: share for name, share in MIX.items() if name != "PROJECT_FILE_ADDED"}
    world = World(1, sum(shares.values()) * 3, AT, mix="no-media", specials=False)

    types = Counter(row.values["event_type"] for row in world.rows)

    assert types == {name: share * 3 for name, share in shares.items()}


def test_an_even_mix_lies_in_five_minutes():
    """So a poll that begins nine minutes back finds all of it, and is not far behind."""
    world = World(1, 200, AT, mix="nothing", specials=False)

    assert world.at - world.begins == timedelta(minutes=5)
    assert min(row.ingestion for row in world.rows) >= world.begins


def test_a_head_is_seen_at_once_and_the_others_when_they_are_released():
    """It warms the processes; its projects are its own, so that nothing else is known by then."""
    world = World(1, 200, AT, mix="media", specials=False, head=80)

    seen = [row for row in world.rows if row.visible_at == AT]
    projects = {str(row.values["project_id"]) for row in seen}
    others = {str(row.values["project_id"]) for row in world.rows if row not in seen}

    assert len(seen) == 80
    assert len(world.rows) == 280
    assert min(row.visible_at for row in world.rows if row not in seen) == HELD
    assert max(row.ingestion for row in seen) <= min(
        row.ingestion for row in world.rows if row not in seen
    )
    assert not projects & others


def test_the_truth_of_an_even_mix_is_known():
    world = World(1, 200, AT, mix="media", specials=False)

    truth = world.truth

    assert len(truth.tables["claimx_events"]) == 200
    assert len(truth.stored) == 100
    assert not truth.dead


def test_the_files_of_an_even_mix_are_alike_and_the_truth_knows_it():
    """Else the stand-in host would spend more on making files than a pipeline on moving them."""
    world = World(1, 200, AT, mix="media", specials=False, smallest=5000, largest=5000)
    rows = world.truth.tables["claimx_attachments"]

    contents = {key: world.media[int(key)].content() for (key,) in rows}

    assert {key: digest(content) for key, content in contents.items()} == {
        key: row["sha256"] for (key,), row in rows.items()
    }
    assert len(set(contents.values())) < len(contents)


def test_in_the_mix_of_doubles_each_row_comes_twenty_times_and_is_the_same():
    """What the poll makes of known rows is measured with it (docs/performance.md)."""
    world = World(1, 100, AT, mix="doubles", specials=False)

    rows = Counter(row.values["event_id"] for row in world.rows)
    alike = {json.dumps(row.values, sort_keys=True, default=str) for row in world.rows}

    assert set(rows.values()) == {20}
    assert len(alike) == len(rows) == 100


@pytest.mark.parametrize("name", list(MIXES))
def test_the_sandbox_takes_what_each_mix_of_the_benchmarks_asks_for(name):
    mix = MIXES[name]
    options = parser().parse_args(["--mix", mix.world, *mix.arguments])

    assert options.media_min == options.media_max == mix.file_bytes
    assert [fault.share for fault in parse_faults(json.loads(options.faults or "[]"))] == [
        fault["share"] for fault in mix.faults
    ]


def test_a_mix_that_is_none_is_named():
    with pytest.raises(ValueError, match="mix='neither': one of ordinary, media"):
        World(1, 100, AT, mix="neither")
