"""What must hold in every state of a small world, and which of its states are the same."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from claimx.domain.records import Kind, Record, Stage
from protocol.small_ledger import ledger_key
from protocol.small_world import SmallWorld

FINISHED = "A:m", "F:m"


def key_of(world: SmallWorld) -> Hashable:
    """
    What tells two states apart.

    Of a moment, whether it has come; of a lease, whose it is; of counts that change nothing
    (tries, replays, losses below the tenth, totals), nothing.
    """
    now, records = world.clock.now, world.ledger._records
    saved = world.saved
    old = saved.ledger._records.by_id if saved else {}

    def hold(record: Record) -> Hashable:
        kept, before = records.by_id.get(record.id), old.get(record.id)
        return (
            record.id,
            record.stage.value,
            record.attempts,
            kept is not None and kept.lease == record.lease,
            before is not None and before.lease == record.lease,
        )

    def entry_of(entry: str, record_id: str) -> Hashable:
        kept, before = records.by_id.get(record_id), old.get(record_id)
        return kept and kept.entry == entry, before and before.entry == entry

    return (
        ledger_key(world.ledger, now),
        tuple(sorted(hold(one) if one else () for one in world.workers)),
        tuple(sorted((i, entry_of(entry, i)) for entry, i in world.pairs)),
        tuple(sorted((hold(r), entry_of(e, r.id), done) for e, r, done in world.items)),
        world.lake,
        world.forgot,
        world.found,
        saved and (saved.key, now - saved.at < 1.0),
    )


def problems_of(world: SmallWorld) -> Iterator[str]:
    """What is not as it must be."""
    yield from world.wrong
    census = world.ledger.census()
    yield from (f"{kind}: {n} missing" for kind in Kind if (n := census.missing(kind)))
    for one in world.records.values():
        if (one.waits_in is None) != (one.look_at is None):
            yield f"{one.id}: {one.state} at {one.stage}, looked at {one.look_at}"
    for entry, record_id in world.ledger._records.stream._entries.items():
        kept = world.records.get(record_id)
        if kept is None or kept.entry != entry or kept.waits_in is not Stage.WRITE:
            yield f"the entry {entry} names {record_id}, whose entry it is not"
    held = [record for record in world.workers if record] + [record for _, record, _ in world.items]
    owners = [r.id for r in held if r.id in world.records and world.records[r.id].lease == r.lease]
    if len(owners) > len(set(owners)):
        yield f"held twice: {owners}"
    yield from (f"forgotten: {name}" for name in _forgotten(world))
    if not world.forgot:
        yield from (f"finished twice: {i}" for i, n in world.finished.items() if n > 1)


def _forgotten(world: SmallWorld) -> Iterator[str]:
    """What is neither under way, nor a dead letter, nor in the lake, nor still to be read."""
    unread = world.ledger.checkpoint("live") is None
    paged = any(one.kind is Kind.PAGE for one in world.records.values())
    for name in world.bounds.events:
        if not (unread or paged or f"e:{name}" in world.records or f"E:{name}" in world.lake):
            yield f"e:{name}"
    if not world.found or "m:m" in world.records or not world.lake.isdisjoint(FINISHED):
        return
    again = world.forgot and (unread or paged or "e:a" in world.records or "M:m" in world.lake)
    if not again:
        yield "m:m"


def healthy_round(world: SmallWorld) -> bool:
    """Let everybody do once what they should; False when there is nothing to do."""
    if not any(unfinished(world)):
        return False
    world.do(("tick",))
    if world.ledger.checkpoint("live") is None:
        world.do(("poll",))
    world.do(("redrive",))
    for record_id, kept in list(world.records.items()):
        if kept.waits_in not in (None, Stage.WRITE):
            world.do(("claim", 0, record_id))
            if world.workers[0]:
                world.do(("settle", 0, "advance"))
    for step in ("read", "take_rows", "commit", "finish"):
        world.do((step,))
    if world.forgot:
        world.do(("recover",))
    return True


def unfinished(world: SmallWorld) -> Iterator[str]:
    """What is not yet in the lake or a dead letter."""
    if world.ledger.checkpoint("live") is None:
        yield "the source"
    for one in world.records.values():
        if one.waits_in is not None:
            yield one.id
    lost = world.forgot and "M:m" in world.lake and world.lake.isdisjoint(FINISHED)
    if lost and "m:m" not in world.records:
        yield "m:m"
