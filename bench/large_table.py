"""
A large ``claimx_media`` that somebody else has made: rows in no order, in files that overlap.

The keys are spread evenly, the worst case of an upsert: any few thousand of them lie everywhere.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from claimx.adapters.lake.schema import arrow_schema, properties
from claimx.domain.changes import Change, Source
from claimx.domain.columns import ColumnType
from claimx.domain.tables import MEDIA
from claimx.domain.times import Micros

T0: Micros = 1_790_000_000_000_000
STEP = 1_000_000  # rows a file
_SPREAD = 0x9E3779B97F4A7C15  # odd, so that no two numbers give one key
_WORDS = {
    "file_type": ["PHOTO", "VIDEO", "DOCUMENT"],
    "gps_source": ["EXIF", "DEVICE"],
    "media_comment": [None, "roof", "kitchen"],
    "task_assignment_id": [None],
}


def key_of(number: int) -> str:
    """Return the media id of a number below 2**64."""
    return f"{number * _SPREAD % 2**64:020d}"


def generate(path: str, rows: int) -> None:
    """Append *rows* to the table at *path*, file by file."""
    for low in range(0, rows, STEP):
        write_deltalake(
            path,
            media(low, min(rows, low + STEP)),
            mode="append",
            name=MEDIA.name,
            configuration=properties(MEDIA),
        )


def media(low: int, high: int) -> pa.Table:
    """Return the rows of these numbers."""
    call: Any = pc
    numbers = pa.array(range(low, high), pa.uint64())
    spread = call.multiply(numbers, pa.scalar(_SPREAD, pa.uint64()))
    small = call.bit_wise_and(spread, pa.scalar(0xFFFF, pa.uint64()))
    text = numbers.cast(pa.string())
    columns = []
    for field, column in zip(arrow_schema(MEDIA), MEDIA.columns, strict=True):
        if field.name == "media_id":
            array = call.utf8_lpad(spread.cast(pa.string()), 20, "0")
        elif field.name in _WORDS:
            words = pa.array(_WORDS[field.name], pa.string())
            at = call.bit_wise_and(small, pa.scalar(1, pa.uint64())) if len(words) > 1 else None
            array = words.take(at) if at is not None else pa.nulls(high - low, pa.string())
        elif column.type is ColumnType.TIME:
            array = call.add(small.cast(pa.int64()), pa.scalar(T0)).cast(field.type)
        elif column.type is ColumnType.DOUBLE:
            array = call.divide(small.cast(pa.float64()), 365.0)
        elif column.type is ColumnType.BOOLEAN:
            array = call.greater(small, pa.scalar(6000, pa.uint64()))
        elif field.name == "project_id":
            array = call.divide(numbers, pa.scalar(20, pa.uint64())).cast(pa.string())
        else:
            array = call.binary_join_element_wise(field.name, text, "-")
        columns.append(array)
    return pa.Table.from_arrays(columns, schema=arrow_schema(MEDIA))


def answer(number: int, at: Micros) -> Change:
    """Return what an answer of the API says of a media item."""
    values = {
        "media_id": key_of(number),
        "project_id": str(number // 20),
        "task_assignment_id": None,
        "file_type": "PHOTO",
        "file_name": f"IMG_{number}.jpg",
        "media_description": f"asked at {at}",
        "media_comment": None,
        "latitude": 41.5,
        "longitude": -93.6,
        "gps_source": "EXIF",
        "taken_date": at,
        "expires_at": None,
        "downloadable": True,
    }
    return Change(MEDIA.name, values, Source.ANSWER, f"ev-{at}-{number}", at, at)
