"""What was read of projects' names, for as long as their table stays at one version."""

from __future__ import annotations

from collections.abc import Mapping

from claimx.domain.upsert import NamedBy

MOST_NAMES = 20_000
"""Some 6 MB."""


class KnownNames:
    """
    Names, and None for projects that no MFN event named; not for several threads at once.

    An answer of the API brings its own name again and again, and each time the stored one is to be
    looked up. Whatever another writer commits is a new version, at which nothing is known.
    """

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._names: dict[str, NamedBy | None] = {}
        self._table = ""
        self._version = -1

    def at(self, table: str, version: int) -> Mapping[str, NamedBy | None]:
        """Return what is known at a *version* of the *table* with this id."""
        # a table that was made anew comes by the versions of the old one again
        if (table, version) != (self._table, self._version):
            self._names.clear()
            self._table, self._version = table, version
        return self._names

    def learn(self, names: Mapping[str, NamedBy | None]) -> None:
        """Know what was read at the version asked for last."""
        if len(self._names) + len(names) > self._most:
            self._names.clear()
        if len(names) <= self._most:
            self._names |= names

    def committed(self, version: int, names: Mapping[str, NamedBy]) -> None:
        """Know what a commit of ours that made *version* has left of these projects."""
        if version != self._version + 1:  # others were first
            self._names.clear()
        self._version = version
        self.learn(names)
