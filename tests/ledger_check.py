"""
Whether all that the ledger keeps in a Redis agrees with itself.

It knows the keys from ``lua/common.lua`` and nothing of the scripts. The whole is read in one
script, so it is exact on a Redis that is in use as well, and for that long nobody else is served:
about a second for 200,000 keys. So call it on a Redis that is at rest, or when that second may be
spent. What lies outside of the ledger's root (gates, queues) is not looked at.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import redis
from ledger_raw import FACTS, Raw, RawRecord, read_raw

from claimx.domain.retry import LONGEST_DELAY_SECONDS

STAGES = {
    "page": {"ingest"},
    "event": {"ingest", "enrich", "write"},
    "media": {"download", "upload", "record", "write"},
}
UNREAD_SECONDS = 60.0  # the longest that the redriver puts off what is due
GRACE_SECONDS = 5.0
MOST_LOSSES = 10
MOST_LINES = 19
NEAR = 0.01  # of two moments that are one

_KNOWN_KEYS = ("ping", "unreadable", "gaps:", "fence:", "readmitted:", "requeued:")
"""Below its root."""
_WALK = {"walk", "walked", "walk_readers"}


def problems(client: redis.Redis, prefix: str = "claimx", now: float | None = None) -> list[str]:
    """
    Return what is wrong with the ledger below *prefix*, each in a line; empty when all is well.

    *now* is the ledger's time when it is not the server's.
    """
    if now is None:
        seconds, micros = client.time()  # type: ignore[misc]  # the client answers at once
        now = seconds + micros / 1e6
    return problems_in(read_raw(client, prefix), now)


def problems_in(raw: Raw, now: float) -> list[str]:
    """Return what is wrong with what was read at *now*."""
    found = [f"{key}: nobody knows this key" for key in raw.other if not _known(key)]
    for record_id, record in sorted(raw.records.items()):
        wrong = list(_malformed(record))
        wrong += [] if wrong else [*_misplaced(record_id, record, raw, now), *_unlike(record)]
        found += [f"{record_id}: {one}" for one in wrong]
    found += _indices(raw)
    if not found:  # nobody can count what cannot be read
        found += _counts(raw)
    found += _cursors(raw)
    found += _seen(raw)
    return found


def _known(key: str) -> bool:
    return key.partition("}:")[2].startswith(_KNOWN_KEYS)


def _malformed(record: RawRecord) -> Iterator[str]:
    """What is no record at all."""
    yield from record.odd
    missing = [name for name in FACTS if name not in record.facts]
    if missing:
        yield f"lacks {', '.join(missing)}"
        return
    if "data" not in record.lengths:
        yield "has no data"
    if record.stage not in STAGES.get(record.kind, ()):
        yield f"a {record.kind} at {record.stage}"
    if record.state not in {"ready", "leased", "retrying", "waiting", "dead"}:
        yield f"in the state {record.state!r}"
    if record.lines != record.notes or record.notes > MOST_LINES:
        yield f"{record.lines} lines of history, {record.notes:g} counted"


def _misplaced(record_id: str, record: RawRecord, raw: Raw, now: float) -> Iterator[str]:
    """What contradicts the indices and the stream: lost, or found in two places."""
    dead = record.state == "dead"
    owed = dead and record.pending == 1
    place = ("write" if owed else None) if dead else record.stage
    listed = {stage for stage, ids in raw.look.items() if record_id in ids}
    if listed != ({place} if place else set()):
        yield f"{record.state} at {record.stage}, but looked at in {sorted(listed)}"
    elif place:
        score = raw.look[place][record_id]
        # what lies further ahead has come: the clock was set back
        ahead = now + LONGEST_DELAY_SECONDS + 1
        first = max((one for one in (record.due, record.until) if one < ahead), default=0.0)
        last = max(record.due + GRACE_SECONDS, record.until, now + UNREAD_SECONDS)
        if not first - NEAR <= score <= last + NEAR:
            yield f"looked at in {score - now:.3f} s, not {first - now:.3f} to {last - now:.3f}"
    if dead != (record_id in raw.dead):
        yield f"{record.state}, and {'not ' * dead}among the dead letters"
    if record.entry:
        if place != "write":
            yield f"has the entry {record.entry}, with nothing to write"
        name = raw.entries.get(record.entry, ("i", record_id))  # one that was forgotten is redriven
        if name != ("i", record_id):
            yield f"its entry {record.entry} names {name[1]}"


def _unlike(record: RawRecord) -> Iterator[str]:
    """What contradicts itself within one record."""
    leased = record.state == "leased" or (record.pending == 1 and record.lease != "")
    if leased != (record.lease != "") or leased != (record.until > 0):
        yield f"{record.state} with the lease {record.lease!r} until {record.until:g}"
    yield from _unlike_dead(record) if record.state == "dead" else _unlike_alive(record)


def _unlike_alive(record: RawRecord) -> Iterator[str]:
    waits, spent = record.since > 0, record.attempts > 0
    idle = {"ready": not waits and not spent, "retrying": not waits and spent, "waiting": waits}
    if not idle.get(record.state, True):
        yield f"{record.state}, {record.attempts:g} attempts, waiting since {record.since:g}"
    if record.losses >= MOST_LOSSES:
        yield f"lost {record.losses:g} times"
    if record.pending:
        yield "owes rows and is not dead"
    has_rows = "rows" in record.lengths
    if has_rows != (record.stage == "write"):
        yield f"at {record.stage} {'with' if has_rows else 'without'} rows"
    if "failure" in record.lengths or record.category or record.error:
        yield f"{record.state}, and died of {record.category} {record.error} {record.failure}"


def _unlike_dead(record: RawRecord) -> Iterator[str]:
    has_rows, owed = "rows" in record.lengths, record.pending == 1
    if not owed <= has_rows <= (owed or record.stage == "write"):
        yield f"at {record.stage} {'with' if has_rows else 'without'} rows, owed: {owed}"
    if record.since:
        yield f"waiting since {record.since:g}"
    if "failure" not in record.lengths:
        yield "without a failure"
        return
    failure = json.loads(record.failure)
    if (failure["category"], failure["error"]) != (record.category, record.error):
        yield f"indexed as {record.category} {record.error}, and died of {record.failure}"


def _indices(raw: Raw) -> Iterator[str]:
    """What is listed and is not there."""
    for stage, ids in raw.look.items():
        yield from (f"{one}: listed at {stage}, and no record" for one in ids.keys() - raw.records)
    yield from (f"{one}: a dead letter, and no record" for one in raw.dead.keys() - raw.records)
    for entry, (name, record_id) in raw.entries.items():
        record = raw.records.get(record_id)
        if name != "i" or record is None or record.facts.get("entry") != entry:
            yield f"the stream's entry {entry} names {record_id}, whose entry it is not"
    gone = raw.pending.keys() - raw.entries.keys()
    yield from (f"{entry}: {raw.pending[entry]} has read it, and it is gone" for entry in gone)


def _counts(raw: Raw) -> Iterator[str]:
    """Where counters and a recount of all records differ."""
    counted: Counter[str] = Counter()
    for record in raw.records.values():
        if record.state == "dead":
            counted[f"d:{record.kind}"] += 1
            continue
        counted[f"k:{record.kind}"] += 1
        counted[f"s:{record.stage}:{record.state}"] += 1
        counted[f"a:{record.stage}:{record.attempts:g}"] += 1
    told = {name: int(value) for name, value in raw.counters.items() if name not in _WALK}
    for name in sorted(counted.keys() | {name for name in told if ":" in name}):
        if counted[name] != told.get(name, 0):
            yield f"the counter {name} says {told.get(name, 0)}, there are {counted[name]}"
    for kind in STAGES:
        came, went = told.get(f"{kind}.admitted", 0), told.get(f"{kind}.recorded", 0)
        unhandled = told.get(f"{kind}.unhandled", 0)
        here = counted[f"k:{kind}"] + counted[f"d:{kind}"]
        if came != went + unhandled + here:
            yield f"{kind}: {came} admitted; {went} recorded, {unhandled} unhandled, {here} here"
    yield from (f"the counter {name} says {n}" for name, n in told.items() if n < 0)


def _seen(raw: Raw) -> Iterator[str]:
    for name, (life, _) in raw.seen.items():
        if life < 0:
            yield f"seen {name}: never forgotten"
        if name.rpartition(":")[0] not in raw.slices:
            yield f"seen {name}: of no slice"


def _cursors(raw: Raw) -> Iterator[str]:
    for name, fields in raw.cursors.items():
        if (
            set(fields) - {"note"} != {"time", "version", "fence"}
            or int(fields.get("version", 0)) < 1
        ):
            yield f"the cursor {name} holds {fields}"
