"""A large table, which takes changes by way of its log, holds what a small one holds."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_upsert import T0, any_table, deliver

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.memory.lake import MemoryLake
from claimx.domain.tables import TABLES

ALL_ARE_LARGE = Sizes(direct=-1, piece=2, most_of_piece=4, changes=3)


def by_key(table, rows):
    return sorted(rows, key=lambda row: [str(row[name]) for name in table.key])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_table, st.data())
def test_a_table_is_the_same_by_way_of_its_log(case, data):
    """Whenever it is folded, and read at once or after the last fold."""
    table, (_, batches) = case
    memory = deliver(MemoryLake(), table, batches)

    with tempfile.TemporaryDirectory() as folder:
        lake = DeltaLake({name: str(Path(folder) / name) for name in TABLES}, sizes=ALL_ARE_LARGE)
        for number, batch in enumerate(batches):
            lake.upsert(table, batch, T0 + 1000 + number)
            if not table.insert_only and data.draw(st.booleans(), "fold"):
                lake.large.fold(table)
        before = lake.rows(table)
        if not table.insert_only:
            assert lake.large.fold(table).ended
        after = lake.rows(table)

    assert by_key(table, before) == by_key(table, memory)
    assert by_key(table, after) == by_key(table, memory)
