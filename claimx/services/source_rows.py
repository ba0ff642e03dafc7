"""
Rows of the source: read once, by whoever polls, and carried by page records as what they are.

A page's *events* are as their records hold them. Its *rows* are none: they are kept as they were,
and `ingest` looks at them again, so that a dead letter's requeue does the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from claimx.domain.errors import Malformed
from claimx.domain.event_rows import KNOWN_COLUMNS, parse
from claimx.domain.events import Event
from claimx.domain.polling import SIMPLE, TIME, plain_row
from claimx.domain.ports.source import SourceRow
from claimx.domain.records import event_record_id
from claimx.domain.times import EARLIEST, LATEST

Told: TypeAlias = Event | dict[str, Any]
"""What a row says: an event, or a row that is none, as it is stored."""

_EVENTS, _ROWS = "events", "rows"
_UNSTORABLE = "_unstorable"  # why a row could not be kept as it was


def read_row(row: SourceRow) -> tuple[str, Event | Exception]:
    """
    Return the id of the record that a row becomes, and the event or why there is none.

    A row that is no event has an id by its content, so that reading it again is no second dead
    letter. Never raises: a parser's own fault is a reason like any other, and stops no page.
    """
    try:
        event = _parsed(row)
    except Exception as error:  # noqa: BLE001 - one bad row never stops a page
        text = json.dumps(row, sort_keys=True, ensure_ascii=True, default=repr)
        return event_record_id(f"malformed-{hashlib.sha256(text.encode()).hexdigest()}"), error
    return event_record_id(event.event_id), event


def read_source_row(row: SourceRow) -> tuple[str, Told, int]:
    """Return the id of the record that a row just read becomes, what it says, and its size."""
    plain, size = _storable(row)
    record_id, read = read_row(plain)
    return record_id, read if isinstance(read, Event) else plain, size


def is_copy(row: SourceRow, of: SourceRow, event: Event) -> bool:
    """
    Say whether *row* says what a row *of* the source has said, an *event*, but came another time.

    Then `read_source_row` need not look at it, which takes four times as long.
    """
    if row.get("event_id") != event.event_id:  # made of other columns, the row's time among them
        return False
    time = row.get(TIME)
    if type(time) is not int or not EARLIEST <= time <= LATEST:
        return False
    types = list(map(type, row.values()))  # 1 and True are equal, and not the same
    if not SIMPLE.issuperset(types) or types != list(map(type, of.values())):
        return False
    return {**row, TIME: of[TIME]} == of


def page_of(told: Iterable[Told]) -> dict[str, Any]:
    """Return the data of a page record."""
    events: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for one in told:
        if isinstance(one, Event):
            events.append(one.to_json())
        else:
            rows.append(one)
    return {_EVENTS: events, _ROWS: rows}


def is_page(data: Mapping[str, Any]) -> bool:
    """Say whether a record's data can be read by `read_page`."""
    return isinstance(data.get(_EVENTS, []), list) and isinstance(data.get(_ROWS), list)


def read_page(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], Exception | None]]:
    """Yield ids and data of the records that a page becomes, and why one is no event if so."""
    rows = list(data[_ROWS])
    for event in data.get(_EVENTS, ()):
        event_id = event.get("event_id") if isinstance(event, dict) else None
        if event_id and isinstance(event_id, str):
            yield event_record_id(event_id), event, None
        else:
            rows.append(event)  # nobody stores such, and it must not be lost
    for row in rows:
        kept = row if isinstance(row, dict) else {"_row": row}
        record_id, read = read_row(kept)
        if isinstance(read, Event):
            yield record_id, read.to_json(), None
        else:
            yield record_id, kept, read


def _parsed(row: SourceRow) -> Event:
    if _UNSTORABLE in row:
        raise Malformed(str(row[_UNSTORABLE]))
    return parse(row)


def _storable(row: SourceRow) -> tuple[dict[str, Any], int]:
    """
    Return the row as JSON, what no store takes of its unknown columns as text.

    A row whose known columns cannot be stored is told in words, and so becomes a dead letter.
    """
    try:
        return plain_row(row)
    except Malformed:
        kept = {n: value if n in KNOWN_COLUMNS else _kept(value) for n, value in row.items()}
    try:
        return plain_row(kept)
    except Malformed as error:
        return plain_row({_UNSTORABLE: error.message, "_row": _shown(row), TIME: row[TIME]})


def _kept(value: Any) -> Any:
    """Return a value of an unknown column as it is, or as its JSON text: nested ever deeper."""
    try:
        plain_row({"": value})
    except Malformed:
        try:
            return json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            return _shown(value)
    return value


def _shown(value: Any) -> str:
    try:
        return repr(value)[:4000]
    except Exception as error:  # noqa: BLE001 - a value whose own repr fails is still only one bad row
        return f"not printable: {type(error).__name__}"
