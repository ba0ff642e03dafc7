"""
A large table as it is right now, in SQL: what is in it, under what waits in its log.

The text keeps to what DuckDB and Spark have in common (in T-SQL, write 1 for true). It goes by the
newest answer that waits for a row, where a fold goes through all of them, one after the other. The
two differ while two answers wait that speak of different columns or came in another order than
they were asked for, while a link's contact waits, and for the name of a project that an answer
renames, or an MFN event older than the one that is in the table. A fold settles that.
"""

from __future__ import annotations

from collections.abc import Iterator

from claimx.domain.columns import Column, Rule, Table
from claimx.domain.tables import ATTACHMENTS

_ANSWERED = "(b.last_enriched_at IS NULL OR n.enriched_at >= b.last_enriched_at)"
_RESULT = (
    "(b.status IS NULL OR b.status <> 'completed' OR"
    " (n.status = 'completed' AND n.uploaded_at >= b.uploaded_at))"
)
_NEWEST = "enriched_at DESC, event_time DESC, event_id DESC"


def now_view(table: Table, stored: str, changes: str) -> str:
    """Return a SELECT over *stored*, the table, and *changes*, its log; both as FROM takes them."""
    keys = ", ".join(table.key)
    order = _NEWEST
    if table is ATTACHMENTS:
        order = f"CASE WHEN status = 'completed' THEN 0 ELSE 1 END, {order}"
    answers = _first(keys, changes, order, "source IN ('answer', 'result')")
    heads = [
        f"newest AS ({answers})",
        f"facts AS (\n  SELECT {', '.join(_facts(table))}\n  FROM {changes} GROUP BY {keys})",
    ]
    joins = [
        f"FROM {stored} b",
        f"FULL OUTER JOIN facts f ON {_same(table, 'b', 'f')}",
        f"LEFT JOIN newest n ON {_same(table, 'f', 'n')}",
    ]
    for name in _named(table):
        given = f"source = 'event' AND {name} IS NOT NULL"
        names = _first(keys, changes, "event_time DESC, event_id DESC", given)
        heads.append(f"named AS ({names})")
        joins.append(f"LEFT JOIN named m ON {_same(table, 'f', 'm')}")
    for name in _sticky(table):
        first = _first(keys, changes, _NEWEST, f"source = 'answer' AND {name} IS NOT NULL")
        heads.append(f"newest_{name} AS ({first})")
        joins.append(f"LEFT JOIN newest_{name} ON {_same(table, 'f', f'newest_{name}')}")
    columns = ",\n  ".join(f"{_value(table, one)} AS {one.name}" for one in table.columns)
    return "\n".join(["WITH " + ",\n".join(heads), "SELECT", f"  {columns}", *joins])


def _first(keys: str, changes: str, order: str, where: str) -> str:
    """Return a SELECT of the first change of each key."""
    place = f"ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {order}) AS place"
    inner = f"SELECT *, {place}\n    FROM {changes} WHERE {where}"
    return f"\n  SELECT * FROM (\n    {inner}) numbered WHERE place = 1"


def _value(table: Table, column: Column) -> str:
    name = column.name
    wins = f"n.{table.key[0]} IS NOT NULL AND {_RESULT if table is ATTACHMENTS else _ANSWERED}"
    says = f"{wins} AND CONCAT(',', n.said, ',') LIKE '%,{name},%'"
    sticks = f"newest_{name}.enriched_at >= b.last_enriched_at OR b.{name} IS NULL"
    by_rule = {
        Rule.KEY: f"COALESCE(b.{name}, f.{name})",
        Rule.ANSWER: _case(says, f"n.{name}", f"b.{name}"),
        Rule.LATEST: _case(f"b.{name} IS NULL OR f.{name} > b.{name}", f"f.{name}", f"b.{name}"),
        Rule.EVER: _case(f"f.{name} = 1", "true", f"b.{name}"),
        Rule.STICKY: _case(
            f"newest_{name}.{name} IS NOT NULL AND ({sticks} OR b.last_enriched_at IS NULL)",
            f"newest_{name}.{name}",
            f"b.{name}",
        ),
        Rule.NAMED: f"COALESCE(m.{name}, b.{name}, n.{name})",
        Rule.BOOKKEEPING: _bookkeeping(name, wins),
    }
    return by_rule[column.rule]


def _bookkeeping(name: str, wins: str) -> str:
    match name:
        case "last_enriched_at":
            return _case(wins, "n.enriched_at", f"b.{name}")
        case "event_id":
            return _case(wins, "n.event_id", f"COALESCE(b.{name}, f.some_event)")
        case "created_at":
            return "COALESCE(b.created_at, f.first_written)"
        case _:
            return _case(wins, "n.written_at", f"COALESCE(b.{name}, f.first_written)")


def _facts(table: Table) -> Iterator[str]:
    yield from table.key
    yield "MIN(written_at) AS first_written"
    yield "MAX(event_id) AS some_event"
    for column in table.columns:
        if column.rule is Rule.LATEST:
            yield f"MAX({column.name}) AS {column.name}"
        elif column.rule is Rule.EVER:
            yield f"MAX({_case(column.name, '1', '0')}) AS {column.name}"


def _named(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.rule is Rule.NAMED]


def _sticky(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.rule is Rule.STICKY]


def _case(condition: str, then: str, otherwise: str) -> str:
    return f"CASE WHEN {condition} THEN {then} ELSE {otherwise} END"


def _same(table: Table, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in table.key)
