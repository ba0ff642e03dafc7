"""What may become of Redis as a whole, while the source, the lake and every process go on."""

from __future__ import annotations

from hypothesis import strategies as st

from protocol.move import Draw, Move
from protocol.moves_outside import CALLS, DEATHS, WHO, some_happen
from protocol.pipeline import ONCE, Pipeline
from protocol.services import ENDLESS


def keep_a_copy(line: Pipeline, draw: Draw) -> None:
    del draw
    line.copies = [*line.copies[-2:], line.world.save()]


def put_back(line: Pipeline, draw: Draw) -> None:
    """Redis is what it was, and it may have taken a while."""
    line.world.pass_(draw(st.sampled_from([0.0, 0.0, 700.0]), "seconds"))
    line.world.load(line.copies[draw(st.integers(0, len(line.copies) - 1), "copy")])
    line.forgot = True


def emptied(line: Pipeline, draw: Draw) -> None:
    """Redis has lost everything."""
    del draw
    line.world.load(None)
    line.forgot = True


_PAST_A_PAGE = (13, 14, 16, 19)  # calls after which a poller has stored one, about


def outlived(line: Pipeline, draw: Draw) -> None:
    """A poller that stood still goes on with what it knew, after others have begun anew."""
    first, second = draw(st.permutations([0, 1, 2]), "first, second")[:2]
    some_happen(line, draw)
    line.world.pass_(6)
    line.poll(first, draw(st.sampled_from([1, 6, *_PAST_A_PAGE]), "calls of the first"))
    put_back(line, draw)
    line.world.pass_(draw(st.sampled_from([0.5, 16.0, 16.0]), "seconds"))
    line.poll(second, draw(st.sampled_from([ENDLESS, *_PAST_A_PAGE]), "calls of the second"))
    line.poll(first)


def hour_old(line: Pipeline, draw: Draw) -> None:
    """A copy is put back after so long that events were finished, and their files not yet."""
    keep_a_copy(line, draw)
    some_happen(line, draw, 1)
    line.arrive()
    for stage in ONCE[: draw(st.integers(0, len(ONCE)), "stages")]:
        line.serve(stage)
    line.world.pass_(700)
    line.world.load(line.copies[-1])
    line.forgot = True


def recover(line: Pipeline, draw: Draw) -> None:
    line.recover(draw(WHO, "who"), draw(CALLS, "calls"), draw(DEATHS, "dies"))


LOSSES = (
    Move("keep_a_copy", 4, lambda line: line.units, keep_a_copy),
    Move("put_back", 3, lambda line: line.copies, put_back),
    Move("recover", 2, lambda line: line.forgot, recover),
    Move("emptied", 1, lambda line: line.units, emptied),
    Move("outlived", 3, lambda line: line.copies, outlived),
    Move("hour_old", 2, lambda line: line.units, hour_old),
)
