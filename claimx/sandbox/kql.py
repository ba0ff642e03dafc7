"""Brings the KQL of real clients into the form that the embedded engine understands."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

HIDDEN = "_ingestion_time"
REMEMBERED = 256
_TOKENS = re.compile(
    r"""(?P<keep>//[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|@"[^"]*"|@'[^']*')"""
    r"""|(?P<time>\bingestion_time\s*\(\s*\)|\[\s*'\$IngestionTime'\s*\])"""
)
_IF_EXISTS = re.compile(
    r"""\bcolumn_ifexists\s*\(\s*(["'])(?P<name>[^"']+)\1\s*,\s*"""
    r"""(?P<default>(?:[^()"']|"[^"]*"|'[^']*'|\([^()]*\))*)\)"""
)
_DECLARED = re.compile(r"declare\s+query_parameters\s*\((?P<list>.*?)\)\s*;", re.DOTALL)
_LITERAL = re.compile(
    r"^\s*(?:datetime|dynamic|long|int|real|bool|guid|timespan|time|decimal)\s*"
    r"\((?P<inner>.*)\)\s*$",
    re.DOTALL,
)
_MICRO = r"epoch\(INTERVAL '1 ?(?:us|micros?|microseconds?)'\)"
_BIN = re.compile(
    rf"""to_timestamp\(floor\(epoch\(("[^"]+")\) / {_MICRO}\) \* {_MICRO}\) AT TIME ZONE 'UTC'"""
)
_TOSTRING = re.compile(r"""CASE typeof\(("[^"]+")\) WHEN 'JSON'""")
_TICK_LITERAL = re.compile(
    r"TRY_CAST\('(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{7})Z?' AS TIMESTAMPTZ\) AT TIME ZONE 'UTC'"
)
_TAKE = re.compile(r"(?P<operator>\b(?:take|limit|top)\s+)(?P<name>[A-Za-z_]\w*)")
_TICKS = re.compile(r"\.\d{7}")


class KustoError(Exception):
    """A query that cannot be answered; the message is for the client."""


class Translator:
    """
    Turns KQL over *table* of *connection*, whose *columns* are known, into SQL for it.

    Texts are remembered with what they mean: the engine takes as long to parse one as to read
    four thousand rows. For one thread.
    """

    def __init__(self, connection: Any, table: str, columns: Collection[str]) -> None:
        from duckdb_kql.engine import schema

        self._columns = columns
        self._schema = {table: schema(connection)[table]}
        self._translated = lru_cache(REMEMBERED)(self._translate)

    def sql(self, csl: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the SQL and what is bound to it; raises KustoError, and what the engine raises."""
        from duckdb_kql.params import bind

        values = parameters_of(csl, parameters)
        text = self._translated(rewritten(csl, self._columns, values))
        declared = {one.slot for one in text.declarations}
        bound, unbound = bind(list(text.declarations), values)
        if unbound:
            msg = f"query parameters without a value: {', '.join(unbound)}"
            raise KustoError(msg)
        said = {slot: value for slot, value in text.parameters.items() if slot not in declared}
        read = {slot: value for slot, value in bound.items() if slot in text.slots}
        return exact(text.with_parameters({**read, **said}, (), text.declarations), values)

    def _translate(self, text: str) -> Any:
        from duckdb_kql import to_sql

        return to_sql(text, schema=self._schema, allow_write=False)


def rewritten(csl: str, columns: Collection[str], values: Mapping[str, Any]) -> str:
    """
    Resolve what the engine does not have.

    The hidden column stands in for ``ingestion_time()``, a name or the default for
    ``column_ifexists``, and its number for a parameter of take, limit or top.
    """

    def exists(found: re.Match[str]) -> str:
        return found["name"] if found["name"] in columns else f"({found['default']})"

    def number(found: re.Match[str]) -> str:
        value = values.get(found["name"])
        whole = isinstance(value, int) and not isinstance(value, bool)
        return f"{found['operator']}{value}" if whole else found[0]

    csl = _TAKE.sub(number, _IF_EXISTS.sub(exists, csl))
    return _TOKENS.sub(lambda found: found["keep"] or HIDDEN, csl)


def parameters_of(csl: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the declared parameters; raises ValueError for one that is none."""
    found = _DECLARED.search(csl)
    pairs = re.findall(r"(\w+)\s*:\s*(\w+)", found["list"]) if found else []
    types = {name: type_.lower() for name, type_ in pairs}
    return {name: _parameter(value, types.get(name, "")) for name, value in parameters.items()}


def _parameter(value: Any, declared: str) -> Any:
    """Turn a KQL literal, as the client sends parameters, into what the engine wants."""
    if not isinstance(value, str):
        return value
    literal = _LITERAL.match(value)
    if literal is not None and declared != "string":
        value = literal["inner"].strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    if declared in {"string", "datetime", "date", "guid"} and quoted:
        value = orjson.loads(value) if value[0] == '"' else value[1:-1].replace("\\'", "'")
    match declared:
        case "long" | "int":
            return int(value)
        case "real" | "double":
            return float(value)
        case "bool" | "boolean":
            return value.strip().lower() in {"true", "1"}
        case _:
            return value


def exact(translated: Any, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """
    Return the SQL of a translation and what is bound to it, with times kept to the 100 ns tick.

    The engine itself counts in microseconds, and bins by way of floating-point seconds.
    """
    bound = dict(translated.parameters)
    sql = _BIN.sub(r"make_timestamp(epoch_us(\1))", str(translated))
    sql = _TOSTRING.sub(
        r"CASE typeof(\1) WHEN 'TIMESTAMP_NS' THEN replace(CAST(\1 AS VARCHAR), ' ', 'T') || 'Z'"
        r" WHEN 'JSON'",
        sql,
    )
    sql = _TICK_LITERAL.sub(r"TRY_CAST('\1' AS TIMESTAMP_NS)", sql)
    for declaration in translated.declarations:
        value = values.get(declaration.name)
        if declaration.slot in bound and isinstance(value, str) and _TICKS.search(value):
            if not isinstance(bound[declaration.slot], datetime):
                continue
            plain = f"CAST(${declaration.slot} AS TIMESTAMP)"
            sql = sql.replace(plain, f"CAST(${declaration.slot} AS TIMESTAMP_NS)")
            bound[declaration.slot] = value.strip().removesuffix("Z").replace("T", " ")
    return sql, bound
