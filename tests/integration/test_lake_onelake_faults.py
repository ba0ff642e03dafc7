"""All nine tables on an OneLake that throttles, fails, is slow, hangs up and lies about commits."""

from __future__ import annotations

from collections import Counter
from functools import partial

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
SHARE = 0.015  # of the requests, for each kind
# a workspace and a lakehouse by their GUIDs; always the same, as faults are chosen by the path
ROOT = (
    "abfss://6f1c2d3e-0000-4000-8000-5a5a5a5a5a5a@onelake.dfs.fabric.microsoft.com"
    "/7a1c2d3e-0000-4000-8000-5b5b5b5b5b5b/Tables"
)
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
        paths = {name: f"{ROOT}/{name}" for name in TABLES}
        lakes = [make_lake(paths, endpoint, Credentials([endpoint]), sizes=sizes) for _ in range(2)]
        for kind in KINDS:
            fault = {"where": "onelake", "kind": kind, "share": SHARE, "seconds": 0.2}
            onelake.plan.add(Fault.parse(fault), 0.0)
        hit = tables_hit(onelake.plan)

        for at in range(ROUNDS):
            for table in TABLES.values():
                changes = [said(table, at * 3 + number, at) for number in range(ROWS)]
                lake = lakes[(at + len(table.name)) % 2]
                until_done(partial(lake.upsert, table, changes, T0 + at))
                if sizes is LOGGED and table is not EVENTS:
                    until_done(partial(lake.large.fold, table))

        kinds = onelake.onelake.traffic.faults
        onelake.plan.clear()
        reader = make_lake(paths, endpoint, Credentials([endpoint]), sizes=sizes)
        rows = {table: reader.rows(table) for table in TABLES.values()}

    assert all(kinds[kind] for kind in KINDS), kinds
    assert all(hit[name] for name in TABLES), hit
    for table, found in rows.items():
        keys = [tuple(row[name] for name in table.key) for row in found]
        assert len(keys) == len(set(keys)) == (ROUNDS - 1) * 3 + ROWS
        if table is not EVENTS:
            newest = {f"asked at {at}" for at in range(ROUNDS)}
            assert {row[told_in(table)] for row in found} == newest
            last = [row for row in found if row[told_in(table)] == f"asked at {ROUNDS - 1}"]
            assert len(last) == ROWS


def tables_hit(plan) -> Counter[str]:
    """Count, from now on, whose requests meet a fault."""
    hit: Counter[str] = Counter()
    choose = plan.choose

    def noted(where, path, now):
        fault = choose(where, path, now)
        if fault is not None:
            hit.update(part for part in path.split("/") if part in TABLES)
        return fault

    plan.choose = noted
    return hit
