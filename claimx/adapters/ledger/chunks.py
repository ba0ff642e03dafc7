"""How much goes into one script, which holds Redis up while it runs, and its flat answers read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from claimx.adapters.ledger.wire import Argument

T = TypeVar("T")

CHUNK_RECORDS = 500
CHUNK_BYTES = 8 * 1024 * 1024  # of outcomes in one script: Redis does nothing else meanwhile


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut *items* into pieces of at most 500."""
    for start in range(0, len(items), CHUNK_RECORDS):
        yield items[start : start + CHUNK_RECORDS]


def steps(coded: Iterable[list[Argument]]) -> Iterator[list[list[Argument]]]:
    """Put coded outcomes together, up to a bound of records (spawned ones too) and of bytes."""
    step: list[list[Argument]] = []
    size = records = 0
    for outcome in coded:
        weight = 1 + len(outcome) // 6
        length = sum([len(part) for part in outcome if isinstance(part, bytes)])
        full = len(step) == CHUNK_RECORDS or records + weight > 2 * CHUNK_RECORDS
        if step and (full or size + length > CHUNK_BYTES):
            yield step
            step, size, records = [], 0, 0
        step.append(outcome)
        size += length
        records += weight
    if step:
        yield step


def groups(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """Return the tuples of *size* that a script answered one after another."""
    return zip(*[iter(flat)] * size, strict=True)
