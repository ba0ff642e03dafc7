"""What is to be written of some keys of a table, as the parts of the write path hand it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from claimx.domain.changes import Values
from claimx.domain.upsert import Key


@dataclass(slots=True)
class Plan:
    """
    The rows to write: new ones and full replacements.

    *unchanged* and *logged* only count: rows that stay, and changes that go to a log.
    """

    inserted: list[Values] = field(default_factory=list)
    updated: list[Values] = field(default_factory=list)
    unchanged: int = 0
    logged: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.inserted and not self.updated


Decide: TypeAlias = Callable[[Mapping[Key, Values]], Plan]
"""Plans, given the stored rows by key; those that are not there are new."""
