"""A Kusto cluster with one database and the world's events, behind the real REST interface."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import orjson

from claimx.sandbox.backlog import Backlog
from claimx.sandbox.exchange import Answer, Exchange, json_answer
from claimx.sandbox.faults import Fault, FaultPlan
from claimx.sandbox.http import Service
from claimx.sandbox.kql import HIDDEN, KustoError, Translator
from claimx.sandbox.kusto_wire import (
    cut_short,
    error_body,
    metadata,
    shown_as,
    v1_tables,
    v2_frames,
    wired,
)
from claimx.sandbox.rows import CAMEL, DYNAMIC_COLUMNS, HELD, SourceRow

_QUERY_PATHS = frozenset({"/v1/rest/query", "/v2/rest/query"})


class KustoCluster(Service):
    """
    Serves *table* of *database* with snake_case and camelCase columns side by side.

    Queries run in one thread beside the event loop. A row exists from its `visible_at` on, with
    the ingestion time that it was given, kept to the 100 ns tick. Rows of a *backlog* lie in the
    table beside *rows* from the start.
    """

    name: ClassVar[str] = "kusto"

    def __init__(
        self,
        rows: list[SourceRow],
        database: str = "claimx",
        table: str = "ClaimXEvents",
        faults: FaultPlan | None = None,
        latency: tuple[float, float] = (0.0, 0.0),
        backlog: Backlog | None = None,
    ) -> None:
        super().__init__(faults, latency)
        self.database = database
        self.table = table
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sandbox-kusto")
        self._connection, columns = self._fill(rows)
        self._translator = Translator(self._connection, self.table, columns)
        if backlog is not None:
            backlog.add_to(self._connection)

    def _fill(self, rows: list[SourceRow]) -> tuple[Any, list[str]]:
        from duckdb_kql.engine import connect

        types: dict[str, str] = {}
        for snake, camel in CAMEL.items():
            type_ = "TIMESTAMP" if snake == "ingested_at" else "VARCHAR"
            types[snake] = types[camel] = "JSON" if snake in DYNAMIC_COLUMNS else type_
        types |= {"tenant": "VARCHAR", "payload": "JSON"}
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
                f"CREATE TABLE _rows AS SELECT {plain}, CAST({HIDDEN} AS TIMESTAMP_NS) AS {HIDDEN},"  # noqa: S608 - the columns are our own
                f" _visible_at FROM read_json('{file.name}', format='newline_delimited',"
                f" columns={{{columns}}})"
            )
        connection.execute(
            f'CREATE VIEW "{self.table}" AS SELECT * EXCLUDE (_visible_at) FROM _rows'  # noqa: S608 - as above
            " WHERE _visible_at <= epoch_us(now())"
        )
        return connection, list(types)

    async def release(self) -> None:
        """Let the rows be seen that a world with a head holds back."""
        text = f"UPDATE _rows SET _visible_at = 0 WHERE _visible_at >= {round(HELD * 1e6)}"  # noqa: S608 - a number of ours
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._connection.execute, text)

    async def close(self) -> None:
        """Stop, and end the query thread."""
        await super().close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

    async def answer(self, exchange: Exchange) -> Answer | None:
        """Route the REST interface."""
        if exchange.path == "/v1/rest/auth/metadata":
            return json_answer(metadata(self.url))
        if exchange.method != "POST" or exchange.path not in _QUERY_PATHS | {"/v1/rest/mgmt"}:
            return Answer(404, b"{}")
        try:
            frames = await self._frames(exchange)
        except KustoError as error:
            return json_answer(error_body(str(error)), 400)
        return json_answer(frames)

    async def spoil(self, exchange: Exchange, fault: Fault) -> Answer | bool | None:
        """Carry out the failures that stand inside a 200."""
        if fault.kind not in {"completion", "rows", "frame"}:
            return False
        try:
            frames = await self._frames(exchange)
        except KustoError as error:
            return json_answer(error_body(str(error)), 400)
        if isinstance(frames, list):
            cut_short(frames, fault.kind)
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
        if exchange.path == "/v2/rest/query":
            request_id = exchange.headers.get("x-ms-client-request-id", str(uuid.uuid4()))
            return v2_frames(result, request_id)
        return v1_tables(result)

    def _run(self, csl: str, parameters: dict[str, Any]) -> Any:
        """Answer one query in the query thread; whatever the engine refuses is the client's."""
        cursor = self._connection.cursor()
        try:
            return self._result(cursor, csl, parameters)
        except KustoError:
            raise
        except Exception as error:
            msg = f"Semantic error: {error}"
            raise KustoError(msg) from error
        finally:
            cursor.close()

    def _result(self, cursor: Any, csl: str, parameters: dict[str, Any]) -> Any:
        from duckdb_kql.server import RestColumn, Result
        from duckdb_kql.types import kusto_type

        cursor.execute("SET TimeZone='UTC'")
        sql, bound = self._translator.sql(csl, parameters)
        relation = cursor.sql(sql, params=bound) if bound else cursor.sql(sql)
        described = zip(relation.columns, map(str, relation.types), strict=True)
        shown = [(name, type_) for name, type_ in described if name != HIDDEN]
        if not shown:
            return Result([], [])
        relation = relation.project(", ".join(shown_as(name, type_) for name, type_ in shown))
        columns = [RestColumn.derived(name, kusto_type(type_)) for name, type_ in shown]
        return Result(columns, wired(relation, columns))


def _source_json(row: SourceRow) -> dict[str, Any]:
    values = {name: value for name, value in row.values.items() if value is not None}
    for name in ("ingested_at", "ingestedAt"):
        if name in values:
            values[name] = values[name].strftime("%Y-%m-%d %H:%M:%S.%f")
    values[HIDDEN] = row.ingestion_text.replace("T", " ").removesuffix("Z")
    values["_visible_at"] = round(row.visible_at * 1_000_000)
    return values
