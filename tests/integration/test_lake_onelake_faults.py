"""All nine tables on an OneLake that throttles, fails, is slow, hangs up and lies about commits."""

from __future__ import annotations

from uuid import uuid4

import pytest
from large_world import T0, said, told_in

from claimx.adapters.credentials import Credentials
from claimx.adapters.lake import Sizes, make_lake
from claimx.domain.errors import Transient
from claimx.domain.tables import EVENTS, TABLES
from claimx.sandbox.faults import Fault
from claimx.sandbox.server import Sandbox
from claimx.sandbox.world import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

DIRECT = Sizes(direct=10_000, piece=20, most_of_piece=40, changes=100)
LOGGED = Sizes(direct=-1, piece=20, most_of_piece=40, changes=100)
KINDS = ("throttle", "unavailable", "error", "reset", "cut", "slow", "done_error", "done_reset")
ROUNDS, ROWS = 3, 12
TRIES = 40


def until_done(what):
    """Do it as the writer does: again, with the same rows, until it passes."""
    for _ in range(TRIES):
        try:
            return what()
        except Transient:
            continue
    return pytest.fail("no try passed")


@pytest.mark.parametrize("sizes", [DIRECT, LOGGED], ids=["direct", "logged"])
def test_whatever_the_endpoint_does_each_row_is_there_once(tmp_path, sizes):
    """Two lakes take turns, as two writers do; each meets the other's commits and its own."""
    with Sandbox(World(3, 100, T0 / 1e6), tmp_path) as onelake:
        endpoint = onelake.onelake_url
        root = f"abfss://{uuid4()}@onelake.dfs.fabric.microsoft.com/{uuid4()}/Tables"
        paths = {name: f"{root}/{name}" for name in TABLES}
        lakes = [make_lake(paths, endpoint, Credentials([endpoint]), sizes=sizes) for _ in range(2)]
        for kind in KINDS:
            fault = {"where": "onelake", "kind": kind, "share": 0.05, "count": 2}
            onelake.plan.add(Fault.parse(fault | {"seconds": 0.2}), 0.0)

        for at in range(ROUNDS):
            for table in TABLES.values():
                changes = [said(table, at * 3 + number, at) for number in range(ROWS)]
                lake = lakes[(at + len(table.name)) % 2]
                until_done(lambda: lake.upsert(table, changes, T0 + at))  # noqa: B023
                if sizes is LOGGED and table is not EVENTS:
                    until_done(lambda: lake.large.fold(table))  # noqa: B023

        hit = onelake.onelake.traffic.faults
        onelake.plan.clear()
        reader = make_lake(paths, endpoint, Credentials([endpoint]), sizes=sizes)
        rows = {table: reader.rows(table) for table in TABLES.values()}

    assert all(hit[kind] for kind in KINDS), hit
    for table, found in rows.items():
        keys = [tuple(row[name] for name in table.key) for row in found]
        assert len(keys) == len(set(keys)) == (ROUNDS - 1) * 3 + ROWS
        if table is not EVENTS:
            newest = {f"asked at {at}" for at in range(ROUNDS)}
            assert {row[told_in(table)] for row in found} == newest
            last = [row for row in found if row[told_in(table)] == f"asked at {ROUNDS - 1}"]
            assert len(last) == ROWS
