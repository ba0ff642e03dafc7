"""Tables for which somebody has set a feature that deltalake does not write."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable, TableFeatures
from lakes import paths_below
from large_world import T0, asked

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.domain.changes import Change, Source
from claimx.domain.errors import NotAllowed
from claimx.domain.tables import EVENTS, MEDIA

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

LARGE = Sizes(direct=-1, piece=20, most_of_piece=40, changes=100)


def event(number: int) -> Change:
    values = {"event_id": f"e{number}", "ingested_at": T0}
    return Change(EVENTS.name, values, Source.RESULT, f"e{number}", T0)


@pytest.mark.parametrize(
    ("table", "said", "sizes"),
    [(MEDIA, asked, None), (MEDIA, asked, LARGE), (EVENTS, lambda n, _: event(n), None)],
    ids=["flush", "fold", "append"],
)
def test_a_feature_that_cannot_be_written_is_told_and_is_no_race_that_was_lost(
    tmp_path, table, said, sizes
):
    """Each of twelve tries to win it would write the files anew, and leave them."""
    DeltaLake(paths_below(tmp_path)).upsert(table, [said(1, 1)], T0)
    folder = tmp_path / table.name
    DeltaTable(folder).alter.add_feature(
        TableFeatures.DomainMetadata, allow_protocol_versions_increase=True
    )
    pauses: list[float] = []
    lake = DeltaLake(paths_below(tmp_path), sizes=sizes, sleep=pauses.append)

    def write() -> None:
        lake.upsert(table, [said(1, 2), said(2, 2)], T0)
        lake.large.fold(table)

    with pytest.raises(NotAllowed, match=rf"{table.name}: asks its .* not know \(DomainMetadata\)"):
        write()

    assert not pauses
    assert table is EVENTS or len(list(folder.glob("*.parquet"))) == 1  # an append is deltalake's
    assert DeltaTable(folder).to_pyarrow_table().num_rows == 1
