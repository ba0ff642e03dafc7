"""
What a ledger keeps of a record as text: its data, its failure, its history.

Both ledgers use it, so that they keep the same and give copies.
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import orjson

from claimx.domain.errors import ErrorCategory, Malformed
from claimx.domain.records import Failure, Kind, Stage

History: TypeAlias = tuple[dict[str, Any], ...]

FRESH_FILE = 1
FRESH_LINK = 2
_MAX_TEXT = 2000  # of an error's message, which may quote what it complains about


def encoded(record_id: str, data: dict[str, Any]) -> bytes:
    """
    Return *data* as JSON; raises Malformed when it is none.

    What orjson refuses (great integers, lone surrogates) goes through the standard library; the
    leading blank says that it must come back the same way.
    """
    try:
        return orjson.dumps(data)
    except TypeError:
        try:
            return b" " + json.dumps(data).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Malformed(f"the data of {record_id} are no JSON: {error}") from error


def decoded(raw: bytes, fresh: int = 0) -> dict[str, Any]:
    """Return the data; *fresh* says that a requeue asks for a new file, or only a new link."""
    data: dict[str, Any] = json.loads(raw) if raw[:1] == b" " else orjson.loads(raw)
    return renewed(data, fresh) if fresh else data


def renewed(data: dict[str, Any], fresh: int) -> dict[str, Any]:
    """Return the data of a requeued media file: a new link is asked for, and nothing has failed."""
    dropped = {"error", "status", "free"} | ({"cached"} if fresh == FRESH_FILE else set())
    kept = {name: value for name, value in data.items() if name not in dropped}
    return kept | {"refresh": True, "refreshes": 0}


def failure_to_json(failure: Failure) -> bytes:
    """Return a failure as JSON."""
    return orjson.dumps(
        {
            "category": failure.category.value,
            "error": failure.error,
            "message": _cut(failure.message),
            "stage": failure.stage.value,
            "at": failure.at,
            "status": failure.status,
            "host": failure.host,
            "reason": _cut(failure.reason),
        }
    )


def failure_from_json(raw: bytes) -> Failure:
    """Return the failure; the inverse of `failure_to_json`."""
    found = orjson.loads(raw)
    found["category"] = ErrorCategory(found["category"])
    found["stage"] = Stage(found["stage"])
    return Failure(**found)


def note_of(failure: Failure, delay: float | None = None) -> dict[str, Any]:
    """Return what the history keeps of a failure: compact, since twenty of them are kept."""
    note: dict[str, Any] = {"category": failure.category.value, "error": _cut(failure.error)}
    if failure.status is not None:
        note["status"] = failure.status
    if delay is not None:
        note["delay"] = round(delay, 3)
    return note


def admission_of(kind: Kind, admitted_at: float) -> dict[str, Any]:
    """Return the first entry of every history, which is not stored."""
    first = {Kind.PAGE: Stage.INGEST, Kind.EVENT: Stage.ENRICH, Kind.MEDIA: Stage.DOWNLOAD}
    return {"at": round(admitted_at, 3), "stage": first[kind].value, "what": "admitted"}


def plain(text: str) -> str:
    """Return a text as a record's facts can hold it: there a zero byte ends it."""
    return text.replace("\0", "")


def _cut(text: str) -> str:
    """Bound a text, and make it one that every store takes."""
    return text[:_MAX_TEXT].encode("utf-8", "replace").decode()


def history_from(kind: Kind, admitted_at: float, lines: bytes) -> History:
    """Return the history, the admission first."""
    stored = [orjson.loads(line) for line in lines.split(b"\n") if line]
    return (admission_of(kind, admitted_at), *stored)
