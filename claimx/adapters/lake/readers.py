"""
Whether other readers can read a table: above all the SQL endpoint of Fabric, and Power BI.

What they need stands in ``docs/tables.md``. Looked for is what another writer, or an older version
of ours, can have done to a table: the protocol, the mapping and the types of its columns, its
partitions, and its files: whether they are there, and not too many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

import pyarrow as pa
from deltalake import DeltaTable

from claimx.adapters.lake.differences import Difference, Kind, differences
from claimx.adapters.lake.exchangeable import mapping_of
from claimx.adapters.lake.handles import folder_of
from claimx.adapters.lake.scan import actions_of, filesystem_of
from claimx.adapters.lake.upkeep import SMALL_BYTES, SMALL_FILES
from claimx.domain.columns import Table
from claimx.domain.diagnosis import Diagnosis

MANY_SMALL = 10 * SMALL_FILES  # in one partition: maintenance has not come by for long
MOST_LOOKED_FOR = 200  # where each file takes two requests: the newest
_SIDE_BY_SIDE = 16  # one after the other, nine tables at 50 ms a request would take minutes
_APART = "move the table away, or set another path; the writer then makes it anew"


def diagnoses(snapshot: DeltaTable, table: Table, most_rows: int) -> list[Diagnosis]:
    """
    Return what keeps other readers from the table, or makes it slow for them.

    With more than *most_rows* a table that is folded lies in pieces, which are small on purpose.
    """
    found = [*_columns(differences(snapshot, table)), *_mapping(snapshot)]
    found += [*_missing(snapshot), *_files(snapshot, table, most_rows)]
    return [Diagnosis(table.name, *said) for said in found]


def _columns(found: Sequence[Difference]) -> Iterator[tuple[str, str, str]]:
    for one in found:
        match one.kind:
            case Kind.READER:
                why = "the SQL endpoint of Fabric, Power BI and older readers cannot read the table"
                yield one.text, why, f"drop the features with the tool that set them, or {_APART}"
            case Kind.TYPE if one.type is not None and _without_zone(one.type):
                why = "the SQL endpoint leaves such a column out in silence"
                yield f"{one.text}, a time without a zone", why, _APART
            case Kind.TYPE:
                why = "the writer cannot write it, and the rows of this table wait"
                yield one.text, why, _APART
            case Kind.RULES:
                why = "the writer cannot hold its rows to that, and the rows of this table wait"
                yield one.text, why, f"take it out with the tool that set it, or {_APART}"
            case Kind.PARTITIONS:
                yield one.text, "the writer does not write it, and its rows wait", _APART


def _without_zone(found: pa.DataType) -> bool:
    return pa.types.is_timestamp(found) and found.tz is None


def _mapping(snapshot: DeltaTable) -> Iterator[tuple[str, str, str]]:
    if mapping_of(snapshot) == "id":
        why = "the SQL endpoint reads them as empty"
        yield "has columns that are mapped by id", why, _APART


def _missing(snapshot: DeltaTable) -> Iterator[tuple[str, str, str]]:
    actions = actions_of(snapshot)
    look = filesystem_of(snapshot).get_file_info
    if folder_of(snapshot.table_uri):
        there = look([one["path"] for one in actions])
    else:
        newest = sorted(actions, key=itemgetter("modification_time"))[-MOST_LOOKED_FOR:]
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            there = list(pool.map(look, [one["path"] for one in newest]))
    gone = sum(not one.is_file for one in there)
    if gone:
        wrong = f"lacks {gone:,} of {len(there):,} files that its log names"
        why = "whoever needs one fails, the writer as well, and the rows of this table wait"
        repair = "DeltaTable.repair() or FSCK REPAIR TABLE forgets them with their rows"
        yield wrong, why, f"put them back; or {repair}: then claimx reconcile"


def _files(snapshot: DeltaTable, table: Table, most_rows: int) -> Iterator[tuple[str, str, str]]:
    actions = actions_of(snapshot)
    rows = sum(int(one["num_records"] or 0) for one in actions)
    if not table.insert_only and rows > most_rows:
        return
    column = f"partition.{table.partition_by[0]}" if table.partition_by else ""
    small = Counter(one.get(column) for one in actions if one["size_bytes"] < SMALL_BYTES)
    many = max(small.values(), default=0)
    if many > MANY_SMALL:
        yield (
            f"has {many:,} small files" + (" in one partition" if column else ""),
            "each costs every query a request",
            "see in a worker's log whether maintenance fails; claimx tables compact does it now",
        )
