"""Rows of the source out of an answer of Kusto."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from claimx.adapters.kusto_queries import Answer
from claimx.domain.polling import TIME
from claimx.domain.ports.source import SourceRow
from claimx.domain.times import from_datetime

_JSON = ("[", "{", '"')  # what JSON of a dynamic value may begin with, where it comes as text
AT = "claimx_source_time"  # a column's name that no table has


def rows_of(answer: Answer) -> list[SourceRow]:
    """Return the rows as JSON values, ingestion times cut to whole microseconds."""
    names = [name for name, _ in answer.columns]
    at = names.index(AT)
    dynamic = [(n, name) for n, (name, kind) in enumerate(answer.columns) if kind == "dynamic"]
    left_out = [name for name in names if name == AT or name.startswith("$")]
    rows: list[SourceRow] = []
    for values in answer.rows:
        row: SourceRow = dict(zip(names, values, strict=True))
        for n, name in dynamic:
            value = values[n]
            if type(value) is str and value[:1] in _JSON:
                row[name] = _parsed(value)
        for name in left_out:
            del row[name]
        row[TIME] = from_datetime(datetime.fromisoformat(values[at]))
        rows.append(row)
    return rows


def _parsed(value: str) -> Any:
    """Return a dynamic value as JSON; some answers carry it as text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def count_of(answer: Answer) -> int:
    """Return the number that a query for a count was answered with."""
    return int(answer.rows[0][0])
