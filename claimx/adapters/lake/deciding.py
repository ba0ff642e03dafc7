"""What is to be written of some keys of a table, given what is stored of them."""

from __future__ import annotations

from collections.abc import Mapping

from claimx.adapters.lake.names import Names
from claimx.adapters.lake.plan import Decide, Plan
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.upsert import NAME, NAMED, Key, NamedBy, Said, merge_all, named_by, renames


class Deciding:
    """The rules of the upsert, with *names* as the guard of projects' names, if there is one."""

    def __init__(self, names: Names | None) -> None:
        self._names = names

    def of(self, table: Table, groups: Mapping[Key, Said]) -> Decide:
        """
        Return what decides about these keys, as often as it is asked.

        What names projects is recorded first: see `Names`. Raises as `Committer.commit` does.
        """
        given: dict[str, NamedBy] = {}
        before: dict[str, NamedBy] = {}
        if table in NAMED and self._names:
            flushes = (flush for said in groups.values() for flush in said.values())
            given = named_by(change for flush in flushes for change in flush)
            before = self._names.record(given) if given else {}

        def decide(stored: Mapping[Key, Values]) -> Plan:
            merged = {
                key: merge_all(table, stored.get(key), said, before) for key, said in groups.items()
            }
            merged |= self._renamed(table, groups, stored, merged, given)
            return _plan(stored, merged)

        return decide

    def now(self, table: Table, said: Mapping[Key, Said], rows: list[Values]) -> list[Values]:
        """Return *rows* as they are when all that is *said* of them is taken in, and new ones."""
        if not said:
            return rows
        known = self._names if table in NAMED else None
        names = known.of([key[0] for key in said]) if known else {}
        found = {tuple(row[name] for name in table.key): row for row in rows}
        for key, flushes in said.items():
            found[key] = merge_all(table, found.get(key), flushes, names)
        return list(found.values())

    def _renamed(
        self,
        table: Table,
        groups: Mapping[Key, Said],
        stored: Mapping[Key, Values],
        merged: Mapping[Key, Values],
        given: Mapping[str, NamedBy],
    ) -> dict[Key, Values]:
        """Return rows that would lose a name which an MFN event gave, maybe a moment ago."""
        if self._names is None or table not in NAMED:
            return {}
        keys = [key for key, row in merged.items() if renames(table, stored.get(key), row)]
        if not keys:
            return {}
        newest = self._names.of([key[0] for key in keys])
        return {
            key: merge_all(table, stored.get(key), groups[key], {key[0]: newest[key[0]]})
            for key in keys
            if (name := newest.get(key[0])) and name != given.get(key[0])
            if merged[key][NAME] != name.name
        }


def _plan(stored: Mapping[Key, Values], merged: Mapping[Key, Values]) -> Plan:
    plan = Plan()
    for key, row in merged.items():
        before = stored.get(key)
        if before is None:
            plan.inserted.append(row)
        elif row is before:
            plan.unchanged += 1
        else:
            plan.updated.append(row)
    return plan
