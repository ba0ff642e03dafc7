"""Large tables on OneLake, whose answers to commits get lost."""

from __future__ import annotations

from uuid import uuid4

import pytest
from large_world import T0, asked

from claimx.adapters.credentials import Credentials, StorageAccess
from claimx.adapters.lake import DeltaLake, Sizes, make_lake
from claimx.adapters.lake.upkeep import SMALL_FILES
from claimx.domain.errors import TokenRejected, Unavailable
from claimx.domain.tables import MEDIA, TABLES
from claimx.sandbox.faults import Fault
from claimx.sandbox.server import Sandbox
from claimx.sandbox.world import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SIZES = Sizes(direct=-1, piece=20, most_of_piece=40, changes=100)
ROWS = 100


@pytest.fixture(scope="module")
def onelake(tmp_path_factory):
    with Sandbox(World(3, 100, T0 / 1e6), tmp_path_factory.mktemp("sandbox")) as running:
        yield running


def paths_of_a_new_lake():
    root = f"abfss://{uuid4().hex}@onelake.dfs.fabric.microsoft.com/lh/Tables"
    return {name: f"{root}/{name}" for name in TABLES}


@pytest.fixture
def make(onelake):
    onelake.plan.clear()
    paths = paths_of_a_new_lake()
    endpoint = onelake.onelake_url
    yield lambda: make_lake(paths, endpoint, Credentials([endpoint]), sizes=SIZES)
    onelake.plan.clear()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ["done_error", "done_reset"])
def test_a_commit_of_a_fold_whose_answer_is_lost_loses_no_file(onelake, make, kind, count):
    """
    It stands in the log of commits, and its own next try then finds the version taken.

    That looks like another writer's, and whoever takes the files away again that it had written
    breaks the table.
    """
    lake = make()
    lake.upsert(MEDIA, [asked(n, at=1) for n in range(ROWS)], T0)
    assert lake.large.fold(MEDIA).ended
    lake.upsert(MEDIA, [asked(n, at=5) for n in range(ROWS + 10)], T0)
    asked_to_go_on = iter(range(1000))

    def go_on() -> bool:
        # the third time it is at a piece: of the log of commits only the commit itself comes next
        if next(asked_to_go_on) == 2:
            path = rf"{MEDIA.name}/_delta_log/.*json"
            fault = {"where": "onelake", "kind": kind, "count": count, "path": path}
            onelake.plan.add(Fault.parse(fault), 0.0)
        return True

    for _ in range(3):
        try:
            if lake.large.fold(MEDIA, go_on).ended:
                break
        except Unavailable:
            continue

    rows = make().rows(MEDIA)
    assert len(rows) == ROWS + 10
    assert {row["file_name"] for row in rows} == {"asked at 5"}
    assert lake.large.backlog(MEDIA).changes == 0


def test_a_table_from_which_a_file_is_gone_is_no_empty_one(onelake, make):
    """Its 404 was once taken for that of a table that is not there: all its rows were missing."""
    lake = make()
    lake.upsert(MEDIA, [asked(n, at=1) for n in range(ROWS)], T0)
    assert lake.large.fold(MEDIA).ended
    newest = max(
        (path for path in onelake.lake_folder.parents[2].rglob(f"{MEDIA.name}/*.parquet")),
        key=lambda path: path.stat().st_mtime,
    )
    newest.unlink()

    with pytest.raises(Unavailable, match=MEDIA.name):
        make().rows(MEDIA)
    with pytest.raises(Unavailable, match=MEDIA.name):
        make().audit.media_in(MEDIA, [f"m{n:06d}" for n in range(ROWS)])


def test_maintenance_leaves_a_table_that_it_could_not_look_at(onelake):
    """A look that fails says nothing of its size, and a large table is never compacted."""
    paths, endpoint = paths_of_a_new_lake(), onelake.onelake_url
    credentials = Credentials([endpoint])
    small = make_lake(paths, endpoint, credentials, sizes=Sizes(direct=10_000))
    for number in range(SMALL_FILES + 5):
        small.upsert(MEDIA, [asked(number, at=1)], T0)
    refusals: list[Exception] = []

    def storage() -> StorageAccess:
        if refusals:
            raise refusals.pop()
        return credentials.storage_access(endpoint)

    refusals.append(TokenRejected("no token this time"))
    left = DeltaLake(paths, storage, sizes=SIZES).maintain(MEDIA)
    done = DeltaLake(paths, storage, sizes=Sizes(direct=10_000)).maintain(MEDIA)

    assert not refusals
    assert left.compacted_files == 0
    assert done.compacted_files == SMALL_FILES + 5
