"""What a flush asks of OneLake, where each request takes tens of milliseconds."""

from __future__ import annotations

from uuid import uuid4

import pytest

from claimx.adapters.credentials import Credentials
from claimx.adapters.lake import make_lake
from claimx.domain.changes import Change, Source
from claimx.domain.tables import EVENTS, PROJECTS, TABLES
from claimx.sandbox.server import Sandbox
from claimx.sandbox.world import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

T0 = 1_790_000_000_000_000


@pytest.fixture
def onelake(tmp_path):
    with Sandbox(World(3, 100, T0 / 1e6), tmp_path) as running:
        yield running


def project(number: int, at: int) -> Change:
    values = {"project_id": f"p{number}", "status": f"{at}"}
    return Change(PROJECTS.name, values, Source.ANSWER, "e1", T0, T0 + at)


def test_a_file_is_read_and_written_in_a_few_requests(onelake):
    """
    Read column by column, the two files would take seventy.

    Of a flush into a young table two requests write the file, one the commit; a few list and read
    the log, in which nothing is of this size.
    """
    root = f"abfss://{uuid4().hex}@onelake.dfs.fabric.microsoft.com/lh/Tables"
    endpoint = onelake.onelake_url
    lake = make_lake({name: f"{root}/{name}" for name in TABLES}, endpoint, Credentials([endpoint]))
    for first in (0, 10):
        lake.upsert(PROJECTS, [project(n, 1) for n in range(first, first + 10)], T0)
    before = onelake.onelake.traffic.requests

    written = lake.upsert(PROJECTS, [project(n, 2) for n in range(5, 25)], T0)

    assert (written.inserted, written.updated) == (5, 15)
    assert onelake.onelake.traffic.requests - before <= 20


def test_files_that_onelake_has_no_more_are_counted(onelake):
    """Asked for side by side: each takes two requests, and a table may have two hundred."""
    root = f"abfss://{uuid4().hex}@onelake.dfs.fabric.microsoft.com/lh/Tables"
    endpoint = onelake.onelake_url
    lake = make_lake({name: f"{root}/{name}" for name in TABLES}, endpoint, Credentials([endpoint]))
    for first in range(3):
        values = {"event_id": f"e{first}"}
        lake.upsert(EVENTS, [Change(EVENTS.name, values, Source.RESULT, f"e{first}", T0)], T0)
    container = onelake.onelake.store.root / root.removeprefix("abfss://").partition("@")[0]
    before = lake.inspection.diagnoses(EVENTS, T0 / 1e6)

    next(container.rglob("*.parquet")).unlink()

    assert before == []
    (found,) = lake.inspection.diagnoses(EVENTS, T0 / 1e6)
    assert found.wrong == "lacks 1 of 3 files that its log names"
