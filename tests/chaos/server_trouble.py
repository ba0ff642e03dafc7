"""Servers that fail, stall, lie or cut their answers short, and a cache without room."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from ends import End
from pipeline_rig import Rig
from plan import fault

from claimx.adapters.cache import DiskCache
from claimx.adapters.cache_names import new_part

CACHE_QUOTA = 400 * 1024 * 1024


class ServerTrouble:
    """
    Trouble for the sandbox's servers and for *caches*.

    *hits* counts the requests that it met, and the files that a full cache had no room for.
    """

    def __init__(self, rig: Rig, caches: list[Path]) -> None:
        self._rig = rig
        self._caches = caches
        self._faults: dict[int, list[dict[str, Any]]] = {}
        self._kinds: dict[int, str] = {}
        self._owners: list[str] = []  # whose the rules in force are
        self._numbers = 0
        self.hits: Counter[str] = Counter()

    def begin(self, kind: str, rng: Random) -> End | None:
        """Do *kind*."""
        if kind == "cache full":
            return self._fill(rng.choice(self._caches))
        self._numbers += 1
        number = self._numbers
        self._faults[number] = fault(kind, rng.random())
        self._kinds[number] = kind
        self._tell()

        def end() -> None:
            self._faults.pop(number, None)
            self._tell()

        return end

    def _tell(self) -> None:
        """Count what the rules in force have hit so far, and put the others in their place."""
        rules, owners = [], []
        for number, faults in self._faults.items():
            rules += faults
            owners += [self._kinds[number]] * len(faults)
        before = self._rig.control("GET", "faults")
        self._rig.control("POST", "faults", {"replace": True, "faults": rules})
        for rule, kind in zip(before, self._owners, strict=False):
            self.hits[kind] += rule["hits"]
        self._owners = owners

    def _fill(self, cache: Path) -> End:
        """Fill the quota: with a file that counts, which those of strangers do not."""
        before = self._refused()
        filler = DiskCache(cache, CACHE_QUOTA).folder / new_part()
        with filler.open("wb") as file:
            file.truncate(CACHE_QUOTA)

        def end() -> None:
            refused = self._refused() - before
            filler.unlink(missing_ok=True)
            self.hits["cache full"] += len(refused)

        return end

    def _refused(self) -> set[bytes]:
        """Return the media under way that had no room in a cache: their histories say so."""
        histories: dict[bytes, bytes] = self._rig.client.hgetall("{claimx:0}:record:history")
        return {record_id for record_id, lines in histories.items() if b"DiskFull" in lines}
