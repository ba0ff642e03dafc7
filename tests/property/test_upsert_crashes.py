"""
Whatever order batches, tables, writers, folds and deaths come in, the lake holds what was said.

A death here is an exception that nothing catches: what the code cleans up on its way out is cleaned
up. Real kills are in `tests/crash`, and writers that are at it at the same moment in
`tests/integration/test_large_tables.py`.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import deltalake
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from upsert_model import by_key, wrong

from claimx.adapters.lake import DeltaLake, Sizes, change_log, commit, files
from claimx.domain.changes import Change, Source
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA, PROJECTS, TABLES

T0 = 1_790_000_000_000_000
DAY = 86_400_000_000
USED = (PROJECTS, MEDIA, EVENTS, ATTACHMENTS)
WRITERS = 2
DIRECT = Sizes(direct=10_000)
LOGGED = Sizes(direct=-1, piece=2, most_of_piece=4, changes=3)


class Died(BaseException):
    """The process ends here; another takes its place."""


STEPS = (
    (commit, "write_deltalake"),
    (change_log, "write_deltalake"),
    (deltalake.DeltaTable, "create"),
    (deltalake.DeltaTable, "create_write_transaction"),
    (files.pq, "write_table"),
)


class Mortality:
    """Lets a process die at one of its lasting steps: *left* steps on, before it or behind it."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.behind = False
        self.deaths: Counter[str] = Counter()
        self._stack = ExitStack()
        for place, name in STEPS:
            step = self._step(name, getattr(place, name))
            self._stack.enter_context(patch.object(place, name, step))

    def close(self) -> None:
        """Let all live."""
        self._stack.close()

    def _step(self, name: str, function: Any) -> Any:
        def stepped(*arguments: Any, **options: Any) -> Any:
            dies = self.left == 0
            if self.left is not None:
                self.left -= 1
            if dies and not self.behind:
                self._die(name)
            result = function(*arguments, **options)
            if dies:
                self._die(name)
            return result

        return stepped

    def _die(self, name: str) -> None:
        self.left = None
        self.deaths[name] += 1
        raise Died


words = st.sampled_from(["A", "B", None])
rows = st.integers(0, 4)
deaths = st.none() | st.tuples(st.sampled_from([0, 0, 0, 1, 2, 3]), st.booleans())


class Upserts(RuleBasedStateMachine):
    """Two writers, some tables, and a book of what was said."""

    sizes = DIRECT

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="upserts-"))
        self.mortality = Mortality()
        self.lakes = [self._lake() for _ in range(WRITERS)]
        self.batches: list[tuple[Any, list[Change]]] = []
        self.unfinished: list[int] = []
        self.created: dict[tuple[str, ...], int] = {}
        self.number = 0

    def _lake(self) -> DeltaLake:
        paths = {name: str(self.folder / name) for name in TABLES}
        return DeltaLake(paths, spill_folder=self.folder / "spill", sizes=self.sizes)

    def _tick(self) -> int:
        self.number += 1
        return T0 + self.number

    def _do(self, who: int, death: tuple[int, bool] | None, what: Any) -> bool:
        """Do it as a writer; False when it died, and another stands in its place."""
        self.mortality.left, self.mortality.behind = death or (None, False)
        try:
            what(self.lakes[who])
        except Died:
            self.lakes[who] = self._lake()
            return False
        finally:
            self.mortality.left = None
        return True

    def _deliver(self, index: int, who: int, death: tuple[int, bool] | None) -> None:
        table, changes = self.batches[index]
        now = self._tick()
        if self._do(who, death, lambda lake: lake.upsert(table, changes, now)):
            self.unfinished = [one for one in self.unfinished if one != index]

    @rule(
        table=st.sampled_from(USED),
        told=st.lists(st.tuples(rows, words, st.booleans()), min_size=1, max_size=4),
        late=st.integers(0, 5),
        who=st.integers(0, WRITERS - 1),
        death=deaths,
    )
    def flush(self, table, told, late, who, death) -> None:
        """Write a batch of new changes, of which some are older than what is there."""
        changes = [self._said(table, *one, late) for one in told]
        self.batches.append((table, changes))
        self.unfinished.append(len(self.batches) - 1)
        self._deliver(len(self.batches) - 1, who, death)

    @rule(which=st.integers(0, 50), who=st.integers(0, WRITERS - 1), death=deaths)
    def again(self, which, who, death) -> None:
        """Deliver a batch once more, finished or not."""
        if self.batches:
            self._deliver(which % len(self.batches), who, death)

    @rule(table=st.sampled_from(USED), who=st.integers(0, WRITERS - 1), death=deaths)
    def fold(self, table, who, death) -> None:
        """Take in what waits."""
        if not table.insert_only and (self.folder / table.name).exists():
            self._do(who, death, lambda lake: lake.large.fold(table))

    def _said(self, table, row, word, answers, late) -> Change:
        """Return a change whose moments are its own; a late one is older than those before."""
        self.number += 10
        at = T0 + 1000 * (self.number - 37 * late)
        at += self.number  # no two have the same
        if table is EVENTS:
            time = T0 + (row + answers) * DAY  # an id may come with two contents
            values = {"event_id": f"e{row}", "ingested_at": time, "handler": word}
            return Change(table.name, values, Source.RESULT, f"e{row}", time)
        if table is ATTACHMENTS:
            values = {"media_id": f"m{row}", "bytes": self.number, "error": None}
            values |= {"status": "completed", "uploaded_at": at} if answers else {}
            values |= {} if answers else {"status": "failed", "error": f"error {word}"}
            return Change(table.name, values, Source.RESULT, "e", at, at)
        if table is MEDIA or answers:
            names = ("media_id", "file_name", "media_comment")
            names = names if table is MEDIA else ("project_id", "status", "master_file_name")
            values = dict(zip(names, (f"k{row}", f"{at}", word), strict=True))
            return Change(table.name, values, Source.ANSWER, f"a{at}", at, at)
        fact = {"A": "policyholder_invited_at", "B": "xa_autolink_fail_at"}.get(word)
        values = {"project_id": f"k{row}"}
        values |= {fact: at} if fact else {"master_file_name": f"named at {at}"}
        values |= {"xa_autolink_fail": True} if word == "B" else {}
        return Change(table.name, values, Source.EVENT, f"f{at}", at)

    @invariant()
    def each_row_is_there_once_and_keeps_its_creation(self) -> None:
        """At every moment, for whoever reads."""
        for table in {table.name: table for table, _ in self.batches}.values():
            keys = set()
            for row in self.lakes[0].rows(table):
                key = (table.name, *(row[name] for name in table.key))
                assert key not in keys, f"{key} is there twice"
                keys.add(key)
                assert self.created.setdefault(key, row["created_at"]) == row["created_at"]
            seen = {key for key in self.created if key[0] == table.name}
            assert keys >= seen, f"{seen - keys} went away"

    def teardown(self) -> None:
        """Deliver what is unfinished, as the ledger does, and compare with what was said."""
        try:
            for index in list(self.unfinished):
                self._deliver(index, 0, None)
            for table in USED:
                said = [c for one, changes in self.batches if one is table for c in changes]
                if said:
                    self._compare(table, by_key(table, said))
        finally:
            self.mortality.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _compare(self, table, said) -> None:
        for folded in (False, True):
            if folded and not table.insert_only:
                self.lakes[1].large.fold(table)
            rows = {
                tuple(row[name] for name in table.key): row for row in self.lakes[0].rows(table)
            }
            assert rows.keys() == said.keys()
            found = {key: wrong(table, row, said[key]) for key, row in rows.items()}
            assert not any(found.values()), found


class LoggedUpserts(Upserts):
    """The same by way of a log and its folds."""

    sizes = LOGGED


KEPT = settings(
    max_examples=20,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestUpserts = Upserts.TestCase
TestUpserts.settings = KEPT
TestLoggedUpserts = LoggedUpserts.TestCase
TestLoggedUpserts.settings = KEPT


def test_every_lasting_step_is_one_to_die_at():
    """A call that goes round the list would never kill anybody, and nothing would show it."""
    deaths: Counter[str] = Counter()
    for kind, left, behind in itertools.product((Upserts, LoggedUpserts), range(4), (False, True)):
        machine = kind()
        try:
            for table, word in itertools.product(USED, ("A", "B")):
                for death in ((left, behind), None, (left, behind)):
                    machine.flush(table, [(1, word, True), (2, word, True)], 0, 0, death)
                machine.fold(table, 1, (left, behind))
        finally:
            machine.teardown()
        deaths += machine.mortality.deaths

    assert {name for _, name in STEPS} == deaths.keys()
