"""Keys as what finds their rows: the values of each key column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from claimx.domain.columns import Table
from claimx.domain.upsert import Key


def wanted_of(table: Table, keys: Collection[Key]) -> dict[str, list[str]]:
    """Return the sorted values that *keys* have in each key column."""
    return {
        name: sorted({key[position] for key in keys}) for position, name in enumerate(table.key)
    }


def sets_of(wanted: Mapping[str, Sequence[str]]) -> list[Any]:
    """Return the values wanted of each key column as `met` takes them, for any number of files."""
    return [pa.array(values, pa.string()) for values in wanted.values()]


def met(columns: Sequence[Any], sets: Sequence[Any]) -> Any:
    """
    Return which rows have in each of their key *columns* a value of its set.

    Those are all that have one of the keys, and of keys in several parts a few others.
    """
    found: Any = None
    for column, values in zip(columns, sets, strict=True):
        one: Any = pc.is_in(column, value_set=values)
        found = one if found is None else pc.and_(found, one)
    return found
