"""What comes from outside: rows of the source, time, weather, and services that stop or die."""

from __future__ import annotations

from hypothesis import strategies as st

from claimx.domain.records import Stage
from protocol.move import Draw, move
from protocol.pipeline import Pipeline
from protocol.services import ENDLESS
from protocol.workers import STAGES

CONTENTS = st.sampled_from([0, 0, 1])
LATE = st.sampled_from([0.0, 0.0, 0.0, 8.0, 20.0])
NAMES = st.sampled_from("aabbcdhux")
CALLS = st.sampled_from([ENDLESS, ENDLESS, 1, 2, 3, 5, 8, 13])
FEW_CALLS = st.sampled_from([1, 1, 2, 4, 6, 9, 11])  # a poller reads its checkpoint, then a page
PAGE_CALLS = st.sampled_from([ENDLESS, ENDLESS, 10, 11, 12, 13, 14])  # ... and stores it about here
DEATHS = st.sampled_from(["", "", "", "before", "after"])
WHO = st.sampled_from([0, 1])
POLLERS = st.sampled_from([0, 1, 2])
FEW = 6  # records: with more of them a program only becomes longer


@move(3, lambda line: line.units)
def serve(line: Pipeline, draw: Draw) -> None:
    """Let a stage work as it should."""
    stage = line.units[draw(st.sampled_from(sorted(line.units)), "whose stage")].place
    if stage and stage is not line.paused:
        line.serve(stage)


# the source, and time


@move(4)
def time_passes(line: Pipeline, draw: Draw) -> None:
    line.world.pass_(draw(st.sampled_from([0.5, 6.0, 11.0, 16.0, 31.0, 61.0, 125.0]), "seconds"))


def some_happen(line: Pipeline, draw: Draw, least: int = 0) -> None:
    """Events one after another, which are seen in another order if some are late."""
    for name in draw(st.lists(NAMES, min_size=least, max_size=5), "events"):
        line.world.happen(name, draw(CONTENTS, "content"), draw(LATE, "late"))
        line.world.pass_(0.25)


@move(4, lambda line: len(line.units) < FEW)
def arrive(line: Pipeline, draw: Draw) -> None:
    """Events that come as far as they should."""
    some_happen(line, draw, 1)
    line.arrive()


@move(2)
def happen(line: Pipeline, draw: Draw) -> None:
    """An event; its id may have come before, with the same content or another."""
    line.world.happen(draw(NAMES, "event"), draw(CONTENTS, "content"), draw(LATE, "late"))


@move(3, lambda line: line.units)
def weather(line: Pipeline, draw: Draw) -> None:
    """A stage that nobody serves, events whose rows no table takes: until it changes."""
    line.paused = draw(st.sampled_from([None, None, *STAGES, Stage.WRITE]), "paused")
    line.world.lake.refused = draw(st.sets(st.sampled_from("abcd"), max_size=2), "refused")


# services that die between two calls, or stand still there while others run


@move(3)
def poll(line: Pipeline, draw: Draw) -> None:
    line.poll(draw(POLLERS, "who"), draw(CALLS, "calls"), draw(DEATHS, "dies"))


@move(3)
def overtake(line: Pipeline, draw: Draw) -> None:
    """A poller stands still for so long that another comes, and then it goes on."""
    some_happen(line, draw)
    line.world.pass_(10)
    first, second = draw(st.permutations([0, 1, 2]), "first, second")[:2]
    line.poll(first, draw(FEW_CALLS, "calls of the first"))
    line.world.pass_(draw(st.sampled_from([0.5, 16.0, 16.0]), "seconds"))
    line.poll(second, draw(PAGE_CALLS, "calls of the second"))
    line.poll(first)


@move(8, lambda line: line.at(Stage.INGEST))
def ingest(line: Pipeline, draw: Draw) -> None:
    """Of the pages that wait, in the order of their hints or another."""
    backwards = draw(st.booleans(), "backwards")
    line.ingest(draw(WHO, "who"), draw(CALLS, "calls"), draw(DEATHS, "dies"), backwards=backwards)


@move(4, lambda line: line.units)
def redrive(line: Pipeline, draw: Draw) -> None:
    line.redrive(draw(WHO, "who"), draw(CALLS, "calls"), draw(DEATHS, "dies"))
