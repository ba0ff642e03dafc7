"""The state machine: one move after another, and after each all that always holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from protocol import moves_inside, moves_outside  # noqa: F401 - they put themselves on the list
from protocol.ending import Ending
from protocol.move import MOVES, Move
from protocol.pipeline import ONCE, Pipeline
from protocol.stores import MakeStore


class Protocol(RuleBasedStateMachine):
    """Programs over one pipeline, on the ledger that *make_store* makes; *more* may happen, too."""

    def __init__(self, make_store: MakeStore, *more: Move) -> None:
        super().__init__()
        self.moves = {one.name: one for one in (*MOVES, *more)}
        self.line = Pipeline(make_store)
        self.loath: set[str] = set()
        self.broken = False

    @initialize(
        names=st.lists(moves_outside.NAMES, min_size=1, max_size=4),
        steps=st.integers(0, len(ONCE)),
        loath=st.sets(st.sampled_from([move.name for move in MOVES]), max_size=8),
        old=st.booleans(),
    )
    def begin(self, names: list[str], steps: int, loath: set[str], *, old: bool) -> None:
        """Most programs begin in the midst of things, and leave some moves out."""
        self.loath = loath
        if old:
            self.line.grow_old()
        for name in names:
            self.line.world.happen(name, 0, 0.0)
        self.line.arrive()
        for stage in ONCE[:steps]:
            self.line.serve(stage)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        names = [
            name
            for name, one in self.moves.items()
            if name not in self.loath and one.possible(self.line)
            for _ in range(one.weight)
        ]
        with self.unless_broken():
            if names:
                self.moves[data.draw(st.sampled_from(names), "move")].make(self.line, data.draw)

    @invariant()
    def all_is_as_the_book_says(self) -> None:
        with self.unless_broken():
            problems = self.line.world.problems()
            assert not problems, "\n".join(problems)

    def teardown(self) -> None:
        try:
            if not self.broken:  # else only the first failure is worth reading
                self.line.late()
                Ending(self.line.world, forgot=self.line.forgot).check()
        finally:
            self.line.close()

    @contextmanager
    def unless_broken(self) -> Iterator[None]:
        try:
            yield
        except AssertionError:
            self.broken = True
            raise


def run(make_store: MakeStore, *more: Move, examples: int, steps: int) -> None:
    """Run so many programs of so many moves; what the services log would fill the report."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        run_state_machine_as_test(
            lambda: Protocol(make_store, *more),
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        structlog.configure(**before)
