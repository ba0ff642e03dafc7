"""Die at every crash point, let another process finish, and compare the lake with the truth."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from plays import PLAYS
from sites import all_sites
from theatre import Theatre
from walk import Recordings, die_somewhere, moments, own_points, unreached

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

# Several parts of about the same length, so that two workers end together.
PARTS = {"life": 5, "worker": 2, "leaving": 2, "api": 2, "elsewhere": 2}
SHARES = [(name, part) for name in PLAYS for part in range(PARTS.get(name, 1))]


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Theatre(tmp_path_factory.mktemp("theatre")) as found:
        yield found


@pytest.fixture(scope="session")
def recordings(theatre: Theatre, tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    """Every play, once, without a death; for all workers of this run together."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    base = tmp_path_factory.getbasetemp()
    return Recordings(theatre, base.parent / f"plays-{run}" if run else base / "plays")


@pytest.mark.parametrize(("name", "part"), SHARES)
def test_a_death_between_two_effects_loses_and_doubles_nothing(theatre, recordings, name, part):
    """
    Before each effect; of several points of one moment, between which nothing lasting happens, one.

    `make crash-walk` dies at every point, those behind the effects too.
    """
    play = PLAYS[name]
    before = [one for one in own_points(play, recordings) if one.endswith(" before")]
    share = list(moments(recordings[name], before))[part :: PARTS.get(name, 1)]

    deaths = [die_somewhere(theatre, recordings, play, point) for point in share]

    assert deaths
    assert [death.line for death in deaths if death.problems] == []


def test_every_crash_point_is_met_by_a_play(recordings):
    """New code with a new effect is in the list by itself, and here until a play comes by."""
    recordings.gather(PLAYS)

    assert list(unreached(all_sites(), recordings)) == []


def test_no_effect_leaves_the_process_but_by_a_crash_point(recordings):
    """What the reading of the source overlooks is seen at the doors of the libraries."""
    recordings.gather(PLAYS)

    assert {name: one.unlisted for name, one in recordings.items() if one.unlisted} == {}
