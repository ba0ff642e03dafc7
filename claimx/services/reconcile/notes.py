"""What was found and not mended, kept for the status and the metrics until a look finds it well."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from claimx.domain.times import Micros, to_iso
from claimx.services.reconcile.report import TABLES, Ending, Finding, ReconcileReport
from claimx.services.runtime import Runtime

TOPIC = "reconcile"
KEPT_SECONDS = 7 * 86_400.0
MOST_NOTES = 50  # stretches of time; the oldest go
IDS = 5  # of each finding
_SHOWN_ID = 64
_SHOWN = 3

_SEEN_WHOLE = frozenset({Ending.COMPLETE, Ending.TIME})


@dataclass(frozen=True, slots=True)
class Note:
    """
    What is off in a stretch of ingestion time (ISO 8601): how many by table and finding.

    *unseen* says instead why nobody has looked at it; *told_at* is in epoch seconds.
    """

    since: str
    until: str
    counts: dict[str, dict[str, int]]
    ids: dict[str, list[str]]
    unseen: str = ""
    told_at: float | None = None  # None of an earlier release

    @property
    def command(self) -> str:
        """What to run about it."""
        mendable = any(Finding.MISSING in found for found in self.counts.values())
        fix = " --fix" if mendable else ""
        return f"claimx reconcile --from {self.since} --to {self.until}{fix}"

    def __str__(self) -> str:
        """Say it in a sentence."""
        if self.unseen:
            stretch = f"{self.since} to {self.until}"
            return f"reconcile has not looked at {stretch} ({self.unseen}): {self.command}"
        parts = [
            f"{count} {finding} in {table} ({', '.join(self.ids.get(table, []))})"
            for table, found in self.counts.items()
            for finding, count in found.items()
        ]
        return f"reconcile found {'; '.join(parts)}: {self.command}"


def keep(runtime: Runtime, report: ReconcileReport) -> Note | None:
    """
    Keep what a report leaves off, and drop the notes of every stretch that it has seen whole.

    A note's stretch is no longer than where its findings lie, so that a later look, which begins
    and ends elsewhere, sees it whole all the same. Two that do so at once keep both: a note is one
    field of its own. Returns the new note.
    """
    found = _note_of(report)
    kept = _read(runtime)
    gone = [name for name, note in kept.items() if _covers(report, note)]
    gone += [name for name, note in kept.items() if found is not None and _tells(found, note)]
    _change(runtime, kept, gone, found)
    return found


def leave_out(runtime: Runtime, since: Micros, until: Micros, why: str) -> Note:
    """Keep that nobody has looked at a stretch, until somebody does; returns the note."""
    note = Note(to_iso(since), to_iso(until), {}, {}, why)
    _change(runtime, _read(runtime), [], note)
    return note


def _change(runtime: Runtime, kept: dict[str, Note], gone: list[str], found: Note | None) -> None:
    """Drop notes, those that are over and those that are too many, and keep one more."""
    now = runtime.now()
    over = [name for name, note in kept.items() if _is_over(note, now)]
    new = f"{found.since}..{found.until}" if found else ""
    left = sorted(kept.keys() - {*gone, *over, new}, key=lambda name: kept[name].until)
    too_many = left[: max(0, len(left) + bool(new) - MOST_NOTES)]
    runtime.gates.drop_notes(TOPIC, [*gone, *over, *too_many])
    if found is not None:
        said = {"counts": found.counts, "ids": found.ids, "unseen": found.unseen, "told_at": now}
        runtime.gates.put_note(TOPIC, new, json.dumps(said), KEPT_SECONDS)


def open_notes(runtime: Runtime) -> list[Note]:
    """Return what is off, the oldest stretch first."""
    now = runtime.now()
    there = (note for note in _read(runtime).values() if not _is_over(note, now))
    return sorted(there, key=lambda note: note.since)


def problems(runtime: Runtime) -> list[str]:
    """Return sentences for the status; many stretches end in a count."""
    notes = open_notes(runtime)
    more = len(notes) - _SHOWN
    rest = [f"reconcile found something in {more} more stretches of time"] if more > 0 else []
    return [*(str(note) for note in notes[:_SHOWN]), *rest]


def export(runtime: Runtime) -> None:
    """Set the gauges, those of what is well again too."""
    totals: Counter[tuple[str, str]] = Counter()
    for note in open_notes(runtime):
        for table, found in note.counts.items():
            for finding, count in found.items():
                totals[table, finding] += count
    for table in TABLES:
        runtime.metrics.set("reconcile_missing", totals[table, Finding.MISSING], table=table)
        runtime.metrics.set("reconcile_extra", totals[table, Finding.EXTRA], table=table)
        runtime.metrics.set("reconcile_doubled", totals[table, Finding.DOUBLED], table=table)


def _note_of(report: ReconcileReport) -> Note | None:
    counts: dict[str, dict[str, int]] = {}
    ids: dict[str, list[str]] = {}
    for table, finding in report.findings():
        left = report.counts[table, finding] - report.mended[table, finding]
        if left:
            counts.setdefault(table, {})[finding.value] = left
            shown = [one[:_SHOWN_ID] for one in report.ids_left(table, finding)[:IDS]]
            ids.setdefault(table, []).extend(shown)
    if not counts:
        return None
    since, until = map(to_iso, report.stretch)
    return Note(since, until, counts, ids)


def _covers(report: ReconcileReport, note: Note) -> bool:
    if report.ending not in _SEEN_WHOLE:
        return False
    return to_iso(report.since) <= note.since and note.until <= to_iso(report.until)


def _tells(found: Note, earlier: Note) -> bool:
    """Say whether a note names all that an *earlier* one does, by which that is of no use."""
    counted = {table: sum(there.values()) for table, there in earlier.counts.items()}
    return not earlier.unseen and all(
        count == len(earlier.ids.get(table, ()))
        and set(earlier.ids[table]) <= set(found.ids.get(table, ()))
        for table, count in counted.items()
    )


def _is_over(note: Note, now: float) -> bool:
    return note.told_at is not None and now - note.told_at > KEPT_SECONDS


def _read(runtime: Runtime) -> dict[str, Note]:
    """Return the notes by name; one that another release wrote in another form is left out."""
    found = {}
    for name, text in runtime.gates.notes(TOPIC).items():
        since, _, until = name.partition("..")
        try:
            document = json.loads(text)
            counts = {
                table: {finding: int(n) for finding, n in found_there.items()}
                for table, found_there in document["counts"].items()
            }
            ids = {table: list(map(str, some)) for table, some in document["ids"].items()}
            told_at = document.get("told_at")
            told_at = None if told_at is None else float(told_at)
            unseen = str(document.get("unseen", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        found[name] = Note(since, until, counts, ids, unseen, told_at)
    return found
