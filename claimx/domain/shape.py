"""What merging needs to know of a table, worked out once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from claimx.domain.changes import Values
from claimx.domain.columns import Rule, Table
from claimx.domain.tables import TABLES

GUARD = "last_enriched_at"


@dataclass(frozen=True, slots=True)
class Shape:
    """
    A table's columns by how they merge.

    *blank* is a row of nulls, all columns in order: copy it. *values* are those that changes speak
    of with their rules, which *pick* takes out of a row (KeyError without one of them), *kept* the
    bookkeeping, *latest* the facts that are event times. *written* are those that an answer simply
    replaces, *sticky* those that nothing clears, *filled* those that facts and links may fill,
    *gathered* those that sum up what was said, *data* all that changes speak of but the key.
    *guarded* tables have the guard column.
    """

    blank: Values
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    values: Mapping[str, Rule]
    kept: frozenset[str]
    latest: tuple[str, ...]
    written: frozenset[str]
    sticky: frozenset[str]
    filled: frozenset[str]
    gathered: frozenset[str]
    data: frozenset[str]
    guarded: bool


def _shape(table: Table) -> Shape:
    rules = {column.name: column.rule for column in table.columns}

    def having(*wanted: Rule) -> frozenset[str]:
        return frozenset(name for name, rule in rules.items() if rule in wanted)

    return Shape(
        blank=dict.fromkeys(table.column_names),
        pick=itemgetter(*(n for n, rule in rules.items() if rule is not Rule.BOOKKEEPING)),
        values={name: rule for name, rule in rules.items() if rule is not Rule.BOOKKEEPING},
        kept=having(Rule.BOOKKEEPING),
        latest=tuple(name for name, rule in rules.items() if rule is Rule.LATEST),
        written=having(Rule.ANSWER, Rule.NAMED),
        sticky=having(Rule.STICKY),
        filled=having(Rule.STICKY, Rule.ANSWER),
        gathered=having(Rule.LATEST, Rule.EVER),
        data=frozenset(rules) - having(Rule.BOOKKEEPING, Rule.KEY),
        guarded=GUARD in rules,
    )


_SHAPES = {name: _shape(table) for name, table in TABLES.items()}


def shape_of(table: Table) -> Shape:
    """Return the table's shape; declared tables' are at hand."""
    if TABLES.get(table.name) is table:
        return _SHAPES[table.name]
    return _shape(table)
