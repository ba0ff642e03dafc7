"""What may not grow: memory, open files and threads of processes, looked at while they run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

KINDS = ("rss_mb", "files", "threads")
PARTS = ((0.25, 0.45), (0.75, 0.95))  # of the work done: after the warm-up, and before the end


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look at one process."""

    rss_mb: float
    files: int
    threads: int


@dataclass(frozen=True, slots=True)
class Sample:
    """All processes by what they are, when *done* (0 to 1) of the work was done."""

    done: float
    seen: Mapping[str, Sequence[Vitals]]


def vitals_of(pid: int) -> Vitals | None:
    """Look at a process; None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" not in facts:  # it has ended, and nobody has taken note
        return None
    return Vitals(int(facts["VmRSS"].split()[0]) / 1024, files, int(facts["Threads"]))


def sampled(done: float, names: Mapping[int, str]) -> Sample:
    """Look at processes that have a name."""
    seen: dict[str, list[Vitals]] = defaultdict(list)
    for pid, name in names.items():
        found = vitals_of(pid) if name else None
        if found is not None:
            seen[name].append(found)
    return Sample(done, dict(seen))


def growth(samples: Sequence[Sample]) -> dict[str, dict[str, tuple[float, float]]]:
    """
    Return, for each name and kind, what the largest such process had early and late.

    Both are medians over a part of the work (`PARTS`), so one great flush is no growth.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name in sorted({name for sample in samples for name in sample.seen}):
        parts = [
            [s.seen[name] for s in samples if low <= s.done < high and s.seen.get(name)]
            for low, high in PARTS
        ]
        if not all(parts):
            continue
        found[name] = {
            kind: tuple(
                round(median(max(getattr(one, kind) for one in look) for look in part), 1)
                for part in parts
            )
            for kind in KINDS
        }  # type: ignore[assignment]  # a mapping of two types
    return found
