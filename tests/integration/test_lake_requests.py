"""What a flush asks of OneLake, where each request takes tens of milliseconds."""

from __future__ import annotations

import os
import subprocess
import sys
from uuid import uuid4

import pytest
from deltalake import DeltaTable, TableFeatures

from claimx.adapters.credentials import Credentials
from claimx.adapters.lake import make_lake
from claimx.cli.stack import ROOT, free_port
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


def test_a_table_with_vectors_that_delete_nothing_is_written_and_read_as_in_a_folder(onelake):
    """Who enables them for the events' table would else stop the poller, and the doctor as well."""
    root = f"abfss://{uuid4().hex}@onelake.dfs.fabric.microsoft.com/lh/Tables"
    credentials = Credentials([onelake.onelake_url])
    paths = {name: f"{root}/{name}" for name in TABLES}
    lake = make_lake(paths, onelake.onelake_url, credentials)
    event = Change(EVENTS.name, {"event_id": "e1", "ingested_at": T0}, Source.RESULT, "e1", T0)
    for table, said in ((PROJECTS, project(1, 1)), (EVENTS, event)):
        lake.upsert(table, [said], T0)
        options = dict(credentials.storage_access(onelake.onelake_url).options)
        theirs = DeltaTable(paths[table.name], storage_options=options)
        theirs.alter.add_feature(
            TableFeatures.DeletionVectors, allow_protocol_versions_increase=True
        )

    written = lake.upsert(PROJECTS, [project(1, 2), project(2, 2)], T0)

    assert (written.inserted, written.updated) == (1, 1)
    assert lake.upsert(EVENTS, [event], T0).unchanged == 1
    assert lake.known_events(["e1"], T0, T0) == {"e1"}
    assert "deletionVectors" in lake.inspection.diagnoses(PROJECTS, T0 / 1e6)[0].wrong


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


_THROUGH_STARTUP = """
from claimx import bootstrap, startup
from claimx.domain.tables import PROJECTS
bootstrap.lake_of(startup.load_settings()).ensure(PROJECTS)
"""


@pytest.mark.parametrize("named", ["http_proxy", "ALL_PROXY"])
def test_an_onelake_of_this_machine_is_asked_without_a_proxy_of_the_environment(onelake, named):
    """It would say that nothing is there; of all clients only deltalake's asked it."""
    done = subprocess.run(
        [sys.executable, "-c", _THROUGH_STARTUP],
        cwd=ROOT,
        env={
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            named: f"http://127.0.0.1:{free_port()}",
            "ENV_FILE": os.devnull,
            "CLAIMX_ALLOW_LOOPBACK": "true",
            "ONELAKE_ENDPOINT": onelake.onelake_url,
            "CLAIMX_LAKE_PATH": f"abfss://{uuid4().hex}@onelake.dfs.fabric.microsoft.com/lh/Tables",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
