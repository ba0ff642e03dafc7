"""Which rows of the source a query is about, by their own id, as KQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ID_COLUMNS = ("event_id", "eventId")


@dataclass(frozen=True, slots=True)
class Choice:
    """
    Rows without the own ids in *exclude*; of these alone, with *only*; or *nameless* ones.

    Ids travel as a declared parameter, never in the text.
    """

    exclude: Sequence[str] = ()
    only: Sequence[str] = ()
    nameless: bool = False

    def declared(self, own_id: str) -> str:
        """Return what the query must declare beside its bounds."""
        return "".join(f", {name}:dynamic" for name in self.values(own_id))

    def values(self, own_id: str) -> dict[str, str]:
        """Return the values of what is declared."""
        lists = {"_exclude": self.exclude, "_only": self.only} if own_id else {}
        return {name: f"dynamic({json.dumps(list(ids))})" for name, ids in lists.items() if ids}

    def condition(self, own_id: str) -> str:
        """Return the line that filters; *own_id* is the KQL of a row's own id, empty for none."""
        if self.only:
            return f"| where {own_id} in (_only)\n" if own_id else "| where false\n"
        if self.nameless and own_id:
            return f"| where isempty({own_id})\n"
        if self.exclude and own_id:
            # an empty id is no id; and in some engines null is neither in a list nor out of it
            return f"| where isempty({own_id}) or {own_id} !in (_exclude)\n"
        return ""


ALL = Choice()


def own_id_of(known: Mapping[str, str]) -> str:
    """Return the KQL of a row's own id, of the id columns that the table has; empty for none."""
    names = [f"tostring(['{name}'])" for name in ID_COLUMNS if name in known]
    if len(names) < len(ID_COLUMNS):
        return "".join(names)
    return f"iff(isempty({names[0]}), {names[1]}, {names[0]})"
