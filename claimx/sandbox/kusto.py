"""A Kusto cluster with one database and the world's events, behind the real REST interface."""

from __future__ import annotations

import asyncio
import re
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, ClassVar

import orjson

from claimx.sandbox.faults import Fault, FaultPlan
from claimx.sandbox.http import Answer, Exchange, Service, json_answer
from claimx.sandbox.rows import CAMEL, DYNAMIC_COLUMNS, SourceRow

HIDDEN = "_ingestion_time"
_QUERY_PATHS = frozenset({"/v1/rest/query", "/v2/rest/query"})
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
    r"^\s*(?P<type>datetime|dynamic|long|int|real|bool|guid|timespan|time|decimal)\s*\((?P<inner>.*)\)\s*$",
    re.DOTALL,
)
_BIN = re.compile(
    r"""to_timestamp\(floor\(epoch\(("[^"]+")\) / epoch\(INTERVAL '1 ?(?:us|micros?|microseconds?)'\)\)"""
    r""" \* epoch\(INTERVAL '1 ?(?:us|micros?|microseconds?)'\)\) AT TIME ZONE 'UTC'"""
)
_TOSTRING = re.compile(r"""CASE typeof\(("[^"]+")\) WHEN 'JSON'""")
_TICK_LITERAL = re.compile(
    r"TRY_CAST\('(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{7})Z?' AS TIMESTAMPTZ\) AT TIME ZONE 'UTC'"
)
_TAKE = re.compile(r"(?P<operator>\b(?:take|limit|top)\s+)(?P<name>[A-Za-z_]\w*)")
_TICKS = re.compile(r"\.\d{7}")


class KustoError(Exception):
    """A query that cannot be answered; the message is for the client."""


class KustoCluster(Service):
    """
    Serves *table* of *database* with snake_case and camelCase columns side by side.

    Queries run in one thread beside the event loop. A row exists from its `visible_at` on, with
    the ingestion time that it was given, kept to the 100 ns tick.
    """

    name: ClassVar[str] = "kusto"

    def __init__(
        self,
        rows: list[SourceRow],
        database: str = "claimx",
        table: str = "ClaimXEvents",
        faults: FaultPlan | None = None,
        latency: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(faults, latency)
        self.database = database
        self.table = table
        self._columns: list[str] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sandbox-kusto")
        self._connection = self._fill(rows)

    def _fill(self, rows: list[SourceRow]) -> Any:
        from duckdb_kql.engine import connect

        types: dict[str, str] = {}
        for snake, camel in CAMEL.items():
            type_ = "TIMESTAMP" if snake == "ingested_at" else "VARCHAR"
            types[snake] = types[camel] = "JSON" if snake in DYNAMIC_COLUMNS else type_
        types |= {"tenant": "VARCHAR", "payload": "JSON"}
        self._columns = list(types)
        read = {**types, HIDDEN: "VARCHAR", "_visible_at": "BIGINT"}
        connection = connect(":memory:", config={"threads": 1})
        with tempfile.NamedTemporaryFile(suffix=".ndjson") as file:
            for row in rows:
                file.write(orjson.dumps(_source_json(row)) + b"\n")
            file.flush()
            columns = ", ".join(f"'{name}': '{type_}'" for name, type_ in read.items())
            plain = ", ".join(f'"{name}"' for name in types)
            # Every value is ours: column names from a constant, the path from tempfile.
            connection.execute(
                f"CREATE TABLE _rows AS SELECT {plain}, CAST({HIDDEN} AS TIMESTAMP_NS) AS {HIDDEN},"  # noqa: S608
                f" _visible_at FROM read_json('{file.name}', format='newline_delimited',"
                f" columns={{{columns}}})"
            )
        connection.execute(
            f'CREATE VIEW "{self.table}" AS SELECT * EXCLUDE (_visible_at) FROM _rows'  # noqa: S608 - as above
            " WHERE _visible_at <= epoch_us(now())"
        )
        return connection

    async def close(self) -> None:
        """Stop, and end the query thread."""
        await super().close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

    async def answer(self, exchange: Exchange) -> Answer | None:
        """Route the REST interface."""
        if exchange.path == "/v1/rest/auth/metadata":
            return json_answer(_metadata(self.url))
        if exchange.method != "POST" or exchange.path not in _QUERY_PATHS | {"/v1/rest/mgmt"}:
            return Answer(404, b"{}")
        try:
            frames = await self._frames(exchange)
        except KustoError as error:
            return json_answer(_error_body(str(error)), 400)
        return json_answer(frames)

    async def spoil(self, exchange: Exchange, fault: Fault) -> Answer | bool | None:
        """Carry out the failures that stand inside a 200."""
        if fault.kind not in {"completion", "rows", "frame"}:
            return False
        try:
            frames = await self._frames(exchange)
        except KustoError as error:
            return json_answer(_error_body(str(error)), 400)
        if isinstance(frames, list):
            _break(frames, fault.kind)
        return json_answer(frames)

    async def _frames(self, exchange: Exchange) -> Any:
        try:
            request = exchange.json()
            csl, database = str(request["csl"]), request.get("db") or self.database
            properties = request.get("properties") or {}
            if isinstance(properties, str):
                properties = orjson.loads(properties)
            parameters = properties.get("Parameters") or {}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            msg = f"malformed request: {error!r}"
            raise KustoError(msg) from None
        if database != self.database:
            msg = f"Database {database!r} could not be found; this cluster has {self.database!r}"
            raise KustoError(msg)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._executor, self._run, csl, parameters)
        from duckdb_kql.server import v1_response, v2_response

        if exchange.path == "/v2/rest/query":
            request_id = exchange.headers.get("x-ms-client-request-id", str(uuid.uuid4()))
            return v2_response(result, request_id)
        return v1_response(result)

    def _run(self, csl: str, parameters: dict[str, Any]) -> Any:
        from duckdb_kql import to_sql
        from duckdb_kql.engine import schema
        from duckdb_kql.errors import KqlError
        from duckdb_kql.server import RestColumn, Result
        from duckdb_kql.types import kusto_type

        csl = self._rewrite(csl)
        declared = _declared(csl)
        values = {
            name: _parameter(value, declared.get(name, "")) for name, value in parameters.items()
        }
        csl = _TAKE.sub(lambda found: _inlined(found, values), csl)
        cursor = self._connection.cursor()
        try:
            cursor.execute("SET TimeZone='UTC'")
            known = {
                name: cols for name, cols in schema(self._connection).items() if name == self.table
            }
            translated = to_sql(csl, schema=known, parameters=values, allow_write=False)
            if translated.unbound:
                msg = f"query parameters without a value: {', '.join(translated.unbound)}"
                raise KustoError(msg)
            sql, bound = _exact(str(translated), dict(translated.parameters), values, translated)
            relation = cursor.sql(sql, params=bound) if bound else cursor.sql(sql)
            names, types = list(relation.columns), [str(one) for one in relation.types]
            shown = [
                (name, type_) for name, type_ in zip(names, types, strict=True) if name != HIDDEN
            ]
            if not shown:
                return Result([], [])
            relation = relation.project(", ".join(_shown(name, type_) for name, type_ in shown))
            columns = [RestColumn.derived(name, kusto_type(type_)) for name, type_ in shown]
            return Result(columns, relation.fetchall())
        except KqlError as error:
            raise KustoError(str(error)) from error
        except KustoError:
            raise
        except Exception as error:
            msg = f"Semantic error: {error}"
            raise KustoError(msg) from error
        finally:
            cursor.close()

    def _rewrite(self, csl: str) -> str:
        """Put the hidden column for ``ingestion_time()`` and resolve ``column_ifexists``."""

        def exists(found: re.Match[str]) -> str:
            return found["name"] if found["name"] in self._columns else f"({found['default']})"

        csl = _IF_EXISTS.sub(exists, csl)
        return _TOKENS.sub(lambda found: found["keep"] or HIDDEN, csl)


def _inlined(found: re.Match[str], values: dict[str, Any]) -> str:
    """Write a whole-number parameter of take, limit or top into the text; the engine wants that."""
    value = values.get(found["name"])
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{found['operator']}{value}"
    return found[0]


def _source_json(row: SourceRow) -> dict[str, Any]:
    values = {name: value for name, value in row.values.items() if value is not None}
    for name in ("ingested_at", "ingestedAt"):
        if name in values:
            values[name] = values[name].strftime("%Y-%m-%d %H:%M:%S.%f")
    values[HIDDEN] = row.ingestion_text.replace("T", " ").removesuffix("Z")
    values["_visible_at"] = round(row.visible_at * 1_000_000)
    return values


def _declared(csl: str) -> dict[str, str]:
    found = _DECLARED.search(csl)
    if found is None:
        return {}
    pairs = re.findall(r"(\w+)\s*:\s*(\w+)", found["list"])
    return {name: type_.lower() for name, type_ in pairs}


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


def _exact(
    sql: str, bound: dict[str, Any], values: dict[str, Any], translated: Any
) -> tuple[str, dict[str, Any]]:
    """Keep 100 ns ticks and whole microseconds where the engine works in seconds and microseconds."""
    sql = _BIN.sub(r"make_timestamp(epoch_us(\1))", sql)
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


def _shown(name: str, type_: str) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    if type_ == "TIMESTAMP_NS":
        return f"CAST(replace(CAST({quoted} AS VARCHAR), ' ', 'T') || 'Z' AS VARCHAR) AS {quoted}"
    return quoted


def _break(frames: list[dict[str, Any]], kind: str) -> None:
    """Cut the result and put the error where the real service may put it."""
    error = {
        "error": {
            "code": "LimitsExceeded",
            "message": "Request is invalid and cannot be executed.",
            "@type": "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLimitsExceededException",
            "@message": "Query execution has exceeded the allowed limits (80DA0003).",
            "@permanent": False,
        }
    }
    primary = next(frame for frame in frames if frame.get("TableKind") == "PrimaryResult")
    primary["Rows"] = primary["Rows"][: len(primary["Rows"]) // 2]
    if kind == "rows":
        primary["Rows"].append({"OneApiErrors": [error]})
    if kind == "completion":
        status = next(f for f in frames if f.get("TableKind") == "QueryCompletionInformation")
        names = [column["ColumnName"] for column in status["Columns"]]
        row = status["Rows"][0]
        row[names.index("Level")] = 2
        row[names.index("LevelName")] = "Error"
        row[names.index("StatusCode")] = -2133196797
        row[names.index("StatusCodeName")] = "E_QUERY_RESULT_SET_TOO_LARGE"
        row[names.index("Payload")] = orjson.dumps(error["error"]).decode()
    frames[-1].update({"HasErrors": True, "OneApiErrors": [error]})


def _metadata(url: str) -> dict[str, Any]:
    return {
        "AzureAD": {
            "LoginEndpoint": "https://login.microsoftonline.com",
            "LoginMfaRequired": False,
            "KustoClientAppId": "db662dc1-0cfe-4e1c-a843-19a68e65be58",
            "KustoClientRedirectUri": "https://microsoft/kustoclient",
            "KustoServiceResourceId": url,
            "FirstPartyAuthorityUrl": "https://login.microsoftonline.com/common",
        }
    }


def _error_body(message: str) -> dict[str, Any]:
    return {
        "error": {
            "code": "General_BadRequest",
            "message": "Request is invalid and cannot be executed.",
            "@type": "Kusto.Data.Exceptions.KustoBadRequestException",
            "@message": message,
            "@permanent": True,
        }
    }
