"""Merging the changes of one key into its values, column by column (domain page, section 4)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from claimx.domain.changes import Change, Source, Values
from claimx.domain.columns import Rule, Table
from claimx.domain.shape import GUARD, Shape, shape_of
from claimx.domain.times import Micros

PRIMARY = "is_primary_contact"
LINKED_BY = "task_assignment_id"


def order_of(change: Change) -> tuple[Micros, Micros, str]:
    """Return what orders an answer or a result: when it was asked, then its event."""
    asked = change.event_time if change.enriched_at is None else change.enriched_at
    return (asked, change.event_time, change.event_id)


class RowMerge:
    """
    The *values* of one row while changes are applied to it; its bookkeeping stays as it was.

    *guard* is ``last_enriched_at`` to be: an answer at least as new passes and writes its
    columns, an older one is stale and fills at most what sticks. Sorting by the sources' own
    times makes the result free of the order in which the changes came.
    """

    def __init__(self, table: Table, existing: Values | None, changes: Sequence[Change]) -> None:
        self._existing = existing
        self._facts: list[Change] = []
        self._links: list[Change] = []
        self._answers: list[Change] = []
        for change in _in_order(changes):
            if change.source is Source.EVENT:
                self._facts.append(change)
            elif change.source is Source.LINK:
                self._links.append(change)
            else:
                self._answers.append(change)
        if len(self._facts) > 1:
            self._facts.sort(key=lambda c: (c.event_time, c.event_id))
        shape = shape_of(table)
        self._shape = shape
        self._winner: Change | None = None
        base = existing if existing is not None else changes[0].values
        self.values = row_of(shape, existing)
        for name in table.key:
            self.values[name] = base[name]
        self.guard: Micros | None = None if existing is None else existing.get(GUARD)
        # the customer's null may not wipe out what a link has filled
        self._nulls_clear = (
            existing is None or existing.get(LINKED_BY) is None or (PRIMARY not in shape.values)
        )

    def forget_guard_of_link_rows(self) -> None:
        """Let the customer's own data take over a row that only a link has made, however old."""
        claimed = any(change.values.get(PRIMARY) is True for change in self._answers)
        if claimed and not self._nulls_clear and self.values[PRIMARY] is not True:
            self.guard = None

    def apply(self) -> None:
        """Apply everything: facts of events, then answers, then links."""
        untouched = self.guard is None
        passing, stale = self._parted(self._answers)
        said: Values | None = None
        for change in passing:
            if change.values != said:  # events side by side bring one answer many times
                said = change.values
                self._answer(said)
        for change in reversed(stale):  # the newest of the stale fills first
            self._fill(change, only_sticky=True)
        if passing:
            self._winner = passing[-1]
            self.guard = order_of(passing[-1])[0]
        for change in reversed(self._facts):
            self._fill(change, only_sticky=not (untouched and not passing))
        self._apply_links()

    def rename(self, name: str | None) -> None:
        """Give a project the name that an MFN event gave it, if one did."""
        if name is not None:
            self.values["master_file_name"] = name

    def event_id(self) -> str | None:
        """
        Return the newest event whose data the row holds.

        The time of the event that the stored row names is not stored; it is taken to be older
        than what is new now, unless the row holds a fact that is later.
        """
        added = [c for c in (*self._facts, *self._links) if self._contributed(c)]
        if self._winner is not None:
            added.append(self._winner)
        if self._existing is None:
            everything = added or [*self._facts, *self._links, *self._answers]
            return max((c.event_time, c.event_id) for c in everything)[1]
        held = [self._existing.get(name) for name in self._shape.latest]
        newest = max(((c.event_time, c.event_id) for c in added), default=None)
        if newest is None or any(known is not None and newest[0] < known for known in held):
            held_by: str | None = self._existing.get("event_id")  # a row of others' may name none
            return held_by
        return newest[1]

    def _parted(self, changes: list[Change]) -> tuple[list[Change], list[Change]]:
        """Return those that are at least as new as the guard, and those that are older."""
        if self.guard is None:
            return changes, []
        passing: list[Change] = []
        stale: list[Change] = []
        for change in changes:
            newer = order_of(change)[0] >= self.guard
            (passing if newer else stale).append(change)
        return passing, stale

    def _answer(self, said: Values) -> None:
        values, shape, nulls_clear = self.values, self._shape, self._nulls_clear
        for name, value in said.items():
            if name in shape.written:
                if nulls_clear or value is not None:
                    values[name] = value
            elif name in shape.sticky:
                if value is not None:
                    values[name] = value
            elif name in shape.gathered:
                self._accumulate(name, value)

    def _fill(self, change: Change, *, only_sticky: bool) -> None:
        values, shape = self.values, self._shape
        fills = shape.sticky if only_sticky else shape.filled
        for name, value in change.values.items():
            if name in fills:
                if values[name] is None:
                    values[name] = value
            elif name in shape.gathered:
                self._accumulate(name, value)

    def _apply_links(self) -> None:
        """Apply what links say: only what is missing where the customer's own data stand."""
        if not self._links:
            return
        values, shape = self.values, self._shape
        primary = values.get(PRIMARY) is True
        sets = shape.sticky if primary else shape.filled
        passing, stale = self._parted(self._links)
        for change in passing:
            for name, value in change.values.items():
                if value is not None and name in sets:
                    values[name] = value
        for change in (*reversed(passing), *reversed(stale)):
            for name, value in change.values.items():
                if name in shape.data and values[name] is None:
                    values[name] = value
        if passing and not primary:
            self.guard = order_of(passing[-1])[0]

    def _accumulate(self, name: str, value: Any) -> None:
        held = self.values[name]
        if value is None:
            return
        if self._shape.values[name] is Rule.EVER:
            self.values[name] = bool(held) or bool(value)
        else:
            self.values[name] = value if held is None else max(held, value)

    def _contributed(self, change: Change) -> bool:
        before, data = self._existing or {}, self._shape.data
        for name, value in change.values.items():
            if value is None or name not in data:
                continue
            if self.values[name] == value and before.get(name) != value:
                return True
        return False


def row_of(shape: Shape, existing: Values | None) -> Values:
    """Return a row to change: all columns in it, as *existing* has them."""
    if existing is None:
        return shape.blank.copy()
    if len(existing) == len(shape.blank):
        return existing.copy()
    return shape.blank | existing  # the stored row is older than one of the columns


def _in_order(changes: Sequence[Change]) -> Sequence[Change]:
    """Return them by `order_of`; only those that tie in all of it cost their text as well."""
    if len(changes) == 1:
        return changes
    orders = [order_of(change) for change in changes]
    if len(set(orders)) == len(orders):
        return [
            change for _, change in sorted(zip(orders, changes, strict=True), key=itemgetter(0))
        ]
    return sorted(changes, key=_rank)


def _rank(change: Change) -> tuple[Any, ...]:
    # the text makes even changes that tie in every time come in one order
    return (*order_of(change), json.dumps(change.values, sort_keys=True, default=str))
