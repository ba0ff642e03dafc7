"""Kusto's answers as they go on the wire, whole or cut short."""

from __future__ import annotations

from typing import Any

import orjson

_AS_THEY_ARE = frozenset({"VARCHAR", "BIGINT", "INTEGER", "BOOLEAN"})
"""Types of the engine whose values go on the wire unchanged."""


def wired(relation: Any, columns: list[Any]) -> list[list[Any]]:
    """Return the rows as they go on the wire; the engine's own way asks at each single value."""
    from duckdb_kql.kusto._models import to_wire

    rows = [list(row) for row in relation.fetchall()]
    for at, (column, type_) in enumerate(zip(columns, map(str, relation.types), strict=True)):
        if type_ in _AS_THEY_ARE:
            continue
        for row in rows:
            if row[at] is not None:
                row[at] = to_wire(row[at], column.kql)
    return rows


def v2_frames(result: Any, request_id: str) -> list[dict[str, Any]]:
    """Return a result whose rows are wired as the frames of ``/v2/rest/query``."""
    from duckdb_kql.server import v2_response

    frames: list[dict[str, Any]] = v2_response(result._replace(rows=[]), request_id)
    _primary(frames)["Rows"] = result.rows
    return frames


def v1_tables(result: Any) -> dict[str, Any]:
    """Return a result whose rows are wired as the tables of ``/v1/rest/query``."""
    from duckdb_kql.server import v1_response

    body: dict[str, Any] = v1_response(result._replace(rows=[]))
    body["Tables"][0]["Rows"] = result.rows
    return body


def _primary(frames: list[dict[str, Any]]) -> dict[str, Any]:
    return next(frame for frame in frames if frame.get("TableKind") == "PrimaryResult")


def shown_as(name: str, type_: str) -> str:
    """Return the SQL that selects a column as the wire wants it: ticks of 100 ns as text."""
    quoted = '"' + name.replace('"', '""') + '"'
    if type_ == "TIMESTAMP_NS":
        return f"CAST(replace(CAST({quoted} AS VARCHAR), ' ', 'T') || 'Z' AS VARCHAR) AS {quoted}"
    return quoted


def cut_short(frames: list[dict[str, Any]], kind: str) -> None:
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
    primary = _primary(frames)
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


def metadata(url: str) -> dict[str, Any]:
    """Return what a client asks first: where tokens for the cluster come from."""
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


def error_body(message: str) -> dict[str, Any]:
    """Return the body of a refusal."""
    return {
        "error": {
            "code": "General_BadRequest",
            "message": "Request is invalid and cannot be executed.",
            "@type": "Kusto.Data.Exceptions.KustoBadRequestException",
            "@message": message,
            "@permanent": True,
        }
    }
