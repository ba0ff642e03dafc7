"""Whatever is damaged, reconcile names exactly that; and fixing brings back exactly the missing."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reconcile_world import Pipeline

from claimx.domain.records import Kind
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.services.reconcile import Finding, pieces

NAMES = [f"e{n}" for n in range(8)]
FILES = [f"m{n}" for n in range(8)]
SOME_EVENTS = st.sets(st.sampled_from(NAMES), max_size=3)
SOME_FILES = st.sets(st.sampled_from(FILES), max_size=3)
UNDER_WAY = ["u0", "u1"]
SHORT = {EVENTS: "events", MEDIA: "media", ATTACHMENTS: "attachments"}


@dataclass
class Damage:
    """What is done to the tables; a key that is lost is not doubled as well."""

    lost_events: set[str]
    lost_files: set[str]
    doubled_events: set[str]
    doubled_media: set[str]
    doubled_files: set[str]
    ghosts: int
    ghost_files: int
    named: set[tuple[str, str, str]] = field(default_factory=set)

    def do(self, world: Pipeline) -> None:
        for table, keys in (
            (EVENTS, self.doubled_events - self.lost_events),
            (MEDIA, self.doubled_media),
            (ATTACHMENTS, self.doubled_files - self.lost_files),
        ):
            for key in keys:
                world.double(table, key)
                self.named.add((SHORT[table], Finding.DOUBLED, key))
        for table, key, count in (
            (EVENTS, "e0", self.ghosts),
            (ATTACHMENTS, "m0", self.ghost_files),
        ):
            for n in range(count):
                world.double(table, key, **{table.key[0]: f"ghost{n}"})
                self.named.add((SHORT[table], Finding.EXTRA, f"ghost{n}"))
        for table, keys in ((EVENTS, self.lost_events), (ATTACHMENTS, self.lost_files)):
            world.lose(table, *keys)
            self.named |= {(SHORT[table], Finding.MISSING, key) for key in keys}


damages = st.builds(
    Damage,
    lost_events=SOME_EVENTS,
    lost_files=SOME_FILES,
    doubled_events=SOME_EVENTS,
    doubled_media=SOME_FILES,
    doubled_files=SOME_FILES,
    ghosts=st.integers(0, 2),
    ghost_files=st.integers(0, 2),
)


def world_of(stages: int) -> Pipeline:
    """Eight finished events with a file each, and two more that are under way."""
    world = Pipeline()
    for n, name in enumerate(NAMES):
        world.added(name, FILES[n], ago=1800 - n)
    world.through()
    for name in UNDER_WAY:
        world.added(name, f"file of {name}", ago=60)
    world.poll()
    for step in (world.ingest, world.enrich, world.fetch, world.write)[:stages]:
        step()
    world.on_sleep = world.ingest
    return world


@settings(max_examples=60, deadline=None)
@given(damages, st.integers(0, 4), st.sampled_from([1, 3, 100]))
def test_exactly_the_damage_is_named_and_exactly_the_missing_comes_back(damage, stages, piece):
    world = world_of(stages)
    damage.do(world)
    before = world.rows()
    missing = {one for one in damage.named if one[1] is Finding.MISSING}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pieces, "PAGE_ROWS", piece)
        patched.setattr(pieces, "PIECE_ROWS", piece)
        world.reconcile()
        assert world.found == sorted((t, f.value, k) for t, f, k in damage.named)
        assert world.rows() == before

        report = world.reconcile(fix=True)
        assert sum(report.admitted.values()) == len(missing)
        world.finish()
        world.reconcile(fix=True)

    assert world.found == sorted((t, f.value, k) for t, f, k in damage.named - missing)
    assert world.admitted == []
    for kind in Kind:
        assert world.ledger.census().missing(kind) == 0
