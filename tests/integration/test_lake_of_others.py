"""Tables in which somebody else has worked: what an exchange of files must not break."""

from __future__ import annotations

import base64
import errno
import json
import os
import struct
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, Schema, write_deltalake

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.lake.schema import arrow_schema
from claimx.domain.changes import Change, Source
from claimx.domain.errors import NotAllowed, Unavailable
from claimx.domain.tables import EVENTS, MEDIA, TABLES

pytestmark = pytest.mark.integration

T0 = 1_790_000_000_000_000


def lake_in(folder) -> DeltaLake:
    paths = {name: str(folder / name) for name in TABLES}
    return DeltaLake(paths, sleep=lambda _: None, chance=lambda: 0.0)


def media(name: str, at: int = 5, **values) -> Change:
    values = {"media_id": name, "file_name": f"{at}"} | values
    return Change(MEDIA.name, values, Source.ANSWER, "e1", T0, T0 + at)


def with_a_deleted_row(folder: Path) -> None:
    """Hide the first row of the table's file by a vector, as Spark does where that is enabled."""
    log = folder / "_delta_log"
    (add,) = [
        line["add"]
        for line in map(json.loads, (log / f"{1:020}.json").read_text().splitlines())
        if "add" in line
    ]
    # one bitmap of 64-bit numbers, in it one of 32 bits, in it one array with the number 0
    bitmap = struct.pack("<IQI", 1_681_511_377, 1, 0) + struct.pack(
        "<IIHHIH", 12_346, 1, 0, 0, 16, 0
    )
    python = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    text = base64.b85encode(bitmap + bytes(2)).decode().translate(str.maketrans(python, z85))
    vector = {
        "storageType": "i",
        "pathOrInlineDv": text,
        "sizeInBytes": len(bitmap),
        "cardinality": 1,
    }
    removed = {"path": add["path"], "dataChange": True, "deletionTimestamp": 1}
    lines = [{"remove": removed}, {"add": add | {"deletionVector": vector}}]
    (log / f"{2:020}.json").write_text("\n".join(map(json.dumps, lines)))


def test_a_row_that_a_vector_hides_does_not_come_back(tmp_path):
    """Read from its file, it would be written anew with the others: such a table is left alone."""
    schema = Schema.from_arrow(arrow_schema(MEDIA))
    vectors = {"delta.enableDeletionVectors": "true"}
    DeltaTable.create(tmp_path / MEDIA.name, schema, configuration=vectors)
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m1"), media("m2")], T0)  # none is hidden yet
    with_a_deleted_row(tmp_path / MEDIA.name)

    with pytest.raises(NotAllowed, match="claimx_media: has deletionVectors"):
        lake.upsert(MEDIA, [media("m2", 9)], T0)

    assert DeltaTable(tmp_path / MEDIA.name).version() == 2


def constrained(table: DeltaTable) -> None:
    table.alter.add_constraint({"short": "file_name <> '9'"})


def append_only(table: DeltaTable) -> None:
    table.alter.set_table_properties({"delta.appendOnly": "true"})


def row_tracking(table: DeltaTable) -> None:
    features = ["rowTracking", "domainMetadata"]
    protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features}
    log = Path(url2pathname(urlsplit(table.table_uri).path)) / "_delta_log"
    (log / f"{table.version() + 1:020}.json").write_text(json.dumps({"protocol": protocol}))


@pytest.mark.parametrize(
    ("rule", "configuration", "change"),
    [
        ("columnMapping", {"delta.columnMapping.mode": "name"}, None),
        ("delta.constraints.short", {}, constrained),
        ("delta.appendOnly", {}, append_only),
        ("rowTracking", {}, row_tracking),
        ("extra NOT NULL", {}, None),
        ("extra delta.invariants", {}, None),
        ("extra delta.generationExpression", {}, None),
    ],
)
def test_a_table_with_rules_that_an_exchange_of_files_breaks_is_left_alone(
    tmp_path, rule, configuration, change
):
    """Nobody looks at rows then: mapped columns would be lost, and constraints mean nothing."""
    fields = Schema.from_arrow(arrow_schema(MEDIA)).fields
    _, extra, kept = rule.partition("extra ")
    if extra:
        expression = {"delta.invariants": '{"expression": {"expression": "extra <> 1"}}'}
        metadata = {kept: expression.get(kept, "file_name")} if "delta." in kept else {}
        fields.append(Field("extra", "string", nullable=bool(metadata), metadata=metadata))
    folder = tmp_path / MEDIA.name
    DeltaTable.create(folder, Schema(fields), configuration=configuration)
    if change:
        change(DeltaTable(folder))
    version = DeltaTable(folder).version()

    with pytest.raises(NotAllowed, match=f"claimx_media: has {rule}"):
        lake_in(tmp_path).upsert(MEDIA, [media("m1")], T0)

    assert (DeltaTable(folder).version(), list(folder.glob("*.parquet"))) == (version, [])


def test_columns_that_are_mapped_are_told_also_where_there_are_rows(tmp_path):
    """Not that a key is in none of its files: what to do about it stands in the words."""
    lake_in(tmp_path).upsert(MEDIA, [media("m1")], T0)
    log = tmp_path / MEDIA.name / "_delta_log"
    lines = [json.loads(line) for one in sorted(log.iterdir()) for line in one.open()]
    (meta,) = (line for line in lines if "metaData" in line)
    (path,) = (log.parent / line["add"]["path"] for line in lines if "add" in line)
    schema = json.loads(meta["metaData"]["schemaString"])
    for number, field in enumerate(schema["fields"]):
        mapping = {"id": number, "physicalName": f"col-{number}"}
        field["metadata"] = {f"delta.columnMapping.{name}": one for name, one in mapping.items()}
    meta["metaData"]["schemaString"] = json.dumps(schema)
    meta["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
    protocol = {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}
    (log / f"{2:020}.json").write_text(f"{json.dumps(protocol)}\n{json.dumps(meta)}")
    stored = pq.read_table(path)
    pq.write_table(stored.rename_columns([f"col-{n}" for n in range(stored.num_columns)]), path)

    with pytest.raises(NotAllowed, match="claimx_media: has columnMapping"):
        lake_in(tmp_path).upsert(MEDIA, [media("m1", 9)], T0)


def test_a_fold_leaves_such_a_table_alone_too_and_what_waits_stays(tmp_path):
    """It exchanges files as a flush does; the rows go in once the rule is out again."""
    paths = {name: str(tmp_path / name) for name in TABLES}
    lake = DeltaLake(paths, sizes=Sizes(direct=-1, piece=20, most_of_piece=40, changes=100))
    lake.upsert(MEDIA, [media("m1")], T0)
    append_only(DeltaTable(tmp_path / MEDIA.name))

    with pytest.raises(NotAllowed, match=r"claimx_media: has delta\.appendOnly"):
        lake.large.fold(MEDIA)
    waits = lake.large.backlog(MEDIA).changes
    DeltaTable(tmp_path / MEDIA.name).alter.set_table_properties({"delta.appendOnly": "false"})
    folded = lake.large.fold(MEDIA)

    assert (waits, folded.inserted, len(lake.rows(MEDIA))) == (1, 1, 1)


def test_a_declared_column_that_somebody_took_out_is_made_again(tmp_path):
    """Else what is said of it would be lost without a word until the process ends."""
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m1")], T0)
    rest = DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table().drop_columns(["media_comment"])
    write_deltalake(tmp_path / MEDIA.name, rest, mode="overwrite", schema_mode="overwrite")

    lake.upsert(MEDIA, [media("m2", media_comment="roof")], T0)

    rows = {row["media_id"]: row["media_comment"] for row in lake.rows(MEDIA)}
    assert rows == {"m1": None, "m2": "roof"}


def of_another_type(stored: pa.Table) -> pa.Table:
    at = stored.column_names.index("latitude")
    return stored.set_column(at, "latitude", stored.column("latitude").cast(pa.string()))


@pytest.mark.parametrize(
    ("change", "partitions", "why"),
    [
        (of_another_type, None, r"latitude is string in the lake but declared double: move"),
        (lambda stored: stored, ["file_name"], r"is partitioned by \('file_name',\) in the lake"),
    ],
)
def test_a_table_that_somebody_wrote_anew_in_another_shape_is_left_alone(
    tmp_path, change, partitions, why
):
    """
    Said in the words of the next start, and at once: it is open for as long as the writer runs.

    A partition's column is in no file. Rows exchanged there would lose what it holds.
    """
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m1", 7), media("m2", 8)], T0)
    folder = tmp_path / MEDIA.name
    rows = change(DeltaTable(folder).to_pyarrow_table())
    write_deltalake(
        folder, rows, mode="overwrite", schema_mode="overwrite", partition_by=partitions
    )

    with pytest.raises(NotAllowed, match=why):
        lake.upsert(MEDIA, [media("m1", 9)], T0)

    stored = DeltaTable(folder).to_pyarrow_table()
    assert sorted(stored.column("file_name").to_pylist()) == ["7", "8"]


def test_events_are_not_appended_to_a_table_of_another_shape(tmp_path):
    lake = lake_in(tmp_path)
    event = Change(EVENTS.name, {"event_id": "e", "ingested_at": T0}, Source.RESULT, "e", T0)
    lake.upsert(EVENTS, [event], T0)
    rows = DeltaTable(tmp_path / EVENTS.name).to_pyarrow_table()
    write_deltalake(
        tmp_path / EVENTS.name, rows, mode="overwrite", schema_mode="overwrite", partition_by=[]
    )

    with pytest.raises(NotAllowed, match="claimx_events is partitioned by nothing in the lake"):
        lake.upsert(EVENTS, [event], T0)


def test_others_times_of_any_year_stand_beside_rows_that_change(tmp_path):
    """Old-fashioned files count nanoseconds, to 2262; the log's bounds are cut to milliseconds."""
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m1"), media("m2")], T0)
    stored = DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table()
    zone = pa.timestamp("us", tz="UTC")
    for name, text in (("taken_date", "0001-01-01"), ("updated_at", "9999-12-31T23:59:59.999999")):
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        at = stored.column_names.index(name)
        stored = stored.set_column(at, pa.field(name, zone), pa.array([moment, None], zone))
    write_deltalake(tmp_path / MEDIA.name, stored, mode="overwrite")
    (path,) = map(Path, DeltaTable(tmp_path / MEDIA.name).file_uris())
    pq.write_table(pq.read_table(path), path, use_deprecated_int96_timestamps=True)

    other = str(stored.column("media_id")[1])
    lake_in(tmp_path).upsert(MEDIA, [media(other, 9)], T0)

    assert len(lake_in(tmp_path).rows(MEDIA)) == 2


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.list_(pa.string()), ["roof"]),
        (pa.map_(pa.string(), pa.int64()), [("roof", 1)]),
        (pa.struct([("roof", pa.string())]), {"roof": "red"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("rows", [2, 20_001], ids=["few rows", "many rows"])
def test_lists_and_the_like_that_others_add_stay(tmp_path, rows, type_, value):
    """Of many rows it is found out which columns repeat themselves: of these nobody can say."""
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media(f"m{number}") for number in range(rows)], T0)
    stored = DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table()
    stored = stored.append_column("extra", pa.array([value] * rows, type_))
    write_deltalake(tmp_path / MEDIA.name, stored, mode="overwrite", schema_mode="merge")

    lake.upsert(MEDIA, [media("m1", 9), media("new")], T0)

    found = DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table().to_pylist()
    extra = {row["media_id"]: (row["file_name"], row["extra"]) for row in found}
    assert len(found) == rows + 1
    assert (extra["m0"], extra["m1"], extra["new"]) == (("5", value), ("9", value), ("5", None))


def test_a_file_that_cannot_be_written_to_its_end_does_not_stay(tmp_path, monkeypatch):
    """A disk that is full would get fuller with each try."""
    lake = lake_in(tmp_path)
    lake.upsert(MEDIA, [media("m1")], T0)

    def full(_, stream, **__):
        stream.write(b"PAR1")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(Unavailable):
        lake.upsert(MEDIA, [media("m2")], T0)

    assert len(list((tmp_path / MEDIA.name).glob("*.parquet"))) == 1
