"""
A move: something that may happen next, and how often beside the rest.

Drawn by weight among what is possible: with equal chances, what needs something to have happened
would drown in what can always happen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocol.pipeline import Pipeline

Draw: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Move:
    """Something that happens; *possible* says whether it would mean anything now."""

    name: str
    weight: int
    possible: Callable[[Pipeline], Any]
    make: Callable[[Pipeline, Draw], None]


MOVES: list[Move] = []


def move(
    weight: int, possible: Callable[[Pipeline], Any] = lambda _: True
) -> Callable[[Callable[[Pipeline, Draw], None]], Callable[[Pipeline, Draw], None]]:
    """Put a function among the moves."""

    def put(make: Callable[[Pipeline, Draw], None]) -> Callable[[Pipeline, Draw], None]:
        MOVES.append(Move(make.__name__, weight, possible, make))
        return make

    return put
