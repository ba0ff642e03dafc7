"""Rows do not depend on the order, the number or the grouping of deliveries."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimx.adapters.lake import DeltaLake
from claimx.adapters.memory.lake import MemoryLake
from claimx.domain.changes import Change, Source
from claimx.domain.columns import Rule
from claimx.domain.tables import ATTACHMENTS, CONTACTS, EVENTS, MEDIA, PROJECTS, TABLES
from claimx.domain.upsert import merge

T0 = 1_790_000_000_000_000
CUSTOMER = {"project_id": "p", "contact_email": "a@b.c", "contact_type": "POLICYHOLDER"}

words = st.none() | st.sampled_from(["A", "B", "C"])
numbers = st.integers(0, 50)


@st.composite
def project_changes(draw, *, keys=("p",)) -> list[Change]:
    """Answers and facts, each time given once: what ties in time is one delivery repeated."""
    times = draw(st.lists(numbers, min_size=1, max_size=6, unique=True))
    changes = []
    for at in times:
        key = {"project_id": draw(st.sampled_from(keys))}
        kind = draw(st.sampled_from(["answer", "invited", "xa", "mfn"]))
        if kind == "answer":
            values = {"status": draw(words), "city": draw(words), "master_file_name": draw(words)}
            changes.append(
                Change("claimx_projects", key | values, Source.ANSWER, f"a{at}", T0, T0 + 100 + at)
            )
            continue
        facts: dict[str, Any] = {
            "invited": {"policyholder_invited_at": T0 + at},
            "xa": {"xa_autolink_fail": True, "xa_autolink_fail_at": T0 + at},
            "mfn": {"master_file_name": f"MFN {at}"},
        }[kind]
        changes.append(Change("claimx_projects", key | facts, Source.EVENT, f"f{at}", T0 + at))
    return changes


@st.composite
def deliveries(draw, changes: st.SearchStrategy[list[Change]]) -> tuple[list[Change], list]:
    """Return changes and a way to deliver them: any order, any batches, some more than once."""
    sent = draw(changes)
    again = draw(st.lists(st.sampled_from(sent), max_size=3))
    order = draw(st.permutations([*sent, *again]))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(order) - 1)), max_size=4)))
    batches = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return sent, [batch for batch in batches if batch]


def deliver(lake, table, batches):
    for number, batch in enumerate(batches):
        lake.upsert(table, batch, T0 + 1000 + number)
    return lake.rows(table)


@given(deliveries(project_changes()))
def test_a_project_is_what_its_newest_answer_and_its_facts_say(sent_and_batches):
    sent, batches = sent_and_batches
    answers = [c for c in sent if c.source is Source.ANSWER]
    facts = [c for c in sent if c.source is Source.EVENT]
    newest = max(answers, key=lambda c: c.enriched_at, default=None)
    names = [c for c in facts if c.values.get("master_file_name")]
    holder = max(names, key=lambda c: c.event_time, default=newest)
    told = newest.values if newest else {}

    def latest(column):
        return max((c.values[column] for c in facts if column in c.values), default=None)

    (row,) = deliver(MemoryLake(), PROJECTS, batches)

    assert (row["status"], row["city"]) == (told.get("status"), told.get("city"))
    assert row["master_file_name"] == (holder.values["master_file_name"] if holder else None)
    assert row["policyholder_invited_at"] == latest("policyholder_invited_at")
    assert row["xa_autolink_fail_at"] == latest("xa_autolink_fail_at")
    assert row["xa_autolink_fail"] == (True if latest("xa_autolink_fail_at") else None)
    assert row["last_enriched_at"] == (newest.enriched_at if newest else None)


@given(project_changes(), st.data())
def test_any_order_of_one_batch_gives_the_same_row(changes, data):
    shuffled = data.draw(st.permutations(changes))

    assert merge(PROJECTS, None, changes, T0) == merge(PROJECTS, None, shuffled, T0)


@given(project_changes(), project_changes())
def test_applying_a_batch_again_returns_the_very_row(before, changes):
    row = merge(PROJECTS, merge(PROJECTS, None, before, T0), changes, T0 + 1)

    assert merge(PROJECTS, row, changes, T0 + 2) is row


@given(project_changes(), st.sampled_from(["status", "city", "policyholder_invited_at"]))
def test_a_row_that_is_older_than_a_column_is_one_where_it_is_null(changes, column):
    """A release adds columns; what was written before it has none of them."""
    row = merge(PROJECTS, None, changes, T0)
    without = {name: value for name, value in row.items() if name != column}

    found = merge(PROJECTS, without, changes, T0 + 1)

    assert {column: None} | found == merge(PROJECTS, without | {column: None}, changes, T0 + 1)


def test_a_row_of_others_that_names_no_event_names_none_until_a_newer_one_comes():
    """It named an event "None" once it was written again."""
    key = {"project_id": "p"}
    fact = Change(PROJECTS.name, key | {"policyholder_joined_at": T0}, Source.EVENT, "f", T0)
    theirs = merge(PROJECTS, None, [fact], T0) | {"event_id": None}
    older, newer = (
        Change(PROJECTS.name, key | {"city": city}, Source.ANSWER, "a", T0 + at, T0 + at)
        for city, at in (("Ulm", -1), ("Bonn", 1))
    )

    row = merge(PROJECTS, theirs, [older], T0 + 1)

    assert (row["city"], row["event_id"]) == ("Ulm", None)
    assert merge(PROJECTS, row, [newer], T0 + 2)["event_id"] == "a"


def test_a_double_that_is_no_number_is_no_news():
    """It differs from itself; a row that holds one would be written with every flush."""
    first, second = (
        Change(MEDIA.name, {"media_id": "1", "latitude": float("nan")}, Source.ANSWER, "a", T0, T0)
        for _ in range(2)
    )
    row = merge(MEDIA, None, [first], T0)

    assert merge(MEDIA, row, [second], T0 + 1) is row


@given(project_changes(), project_changes())
def test_created_at_never_changes_and_updated_at_only_with_a_value(before, changes):
    old = merge(PROJECTS, None, before, T0)
    new = merge(PROJECTS, old, changes, T0 + 1)

    names = [c.name for c in PROJECTS.columns if c.rule is not Rule.BOOKKEEPING]
    changed = any(old[name] != new[name] for name in names)
    assert new["created_at"] == T0
    assert new["updated_at"] == (T0 + 1 if changed else T0)


@st.composite
def two_sources(draw) -> list[Change]:
    """One customer and one link with fixed data, asked for at several times."""
    mine = {"first_name": draw(words), "last_name": draw(words), "phone_number": draw(words)}
    theirs = {"first_name": draw(words), "last_name": draw(words), "phone_number": draw(words)}
    asked = draw(st.lists(numbers, min_size=1, max_size=3, unique=True))
    linked = draw(st.lists(numbers, min_size=1, max_size=3, unique=True))
    customer = CUSTOMER | mine | {"is_primary_contact": True, "master_file_name": None}
    through = CUSTOMER | theirs | {"is_primary_contact": False, "task_assignment_id": "7"}
    return [
        *(Change("claimx_contacts", customer, Source.ANSWER, f"c{t}", T0, T0 + t) for t in asked),
        *(Change("claimx_contacts", through, Source.LINK, f"l{t}", T0, T0 + t) for t in linked),
    ]


@given(deliveries(two_sources()))
def test_one_policyholder_from_two_sources_is_one_row_whoever_comes_first(sent_and_batches):
    sent, batches = sent_and_batches
    customers = [c for c in sent if c.source is Source.ANSWER]
    mine, theirs = customers[0].values, sent[-1].values

    (row,) = deliver(MemoryLake(), CONTACTS, batches)

    for name in ("first_name", "last_name", "phone_number"):
        assert row[name] == (theirs[name] if mine[name] is None else mine[name])
    assert (row["is_primary_contact"], row["task_assignment_id"]) == (True, "7")
    assert row["last_enriched_at"] == max(c.enriched_at for c in customers)


@st.composite
def results(draw) -> list[Change]:
    changes = []
    for at in draw(st.lists(numbers, min_size=1, max_size=5, unique=True)):
        status = draw(st.sampled_from(["completed", "failed"]))
        values = {"media_id": "m", "status": status, "error": None, "bytes": at}
        values |= {"uploaded_at": T0 + at} if status == "completed" else {"error": f"e{at}"}
        changes.append(Change("claimx_attachments", values, Source.RESULT, f"e{at}", T0, T0 + at))
    return changes


@given(deliveries(results()))
def test_an_attachment_is_its_newest_success_if_it_ever_had_one(sent_and_batches):
    sent, batches = sent_and_batches
    done = [c for c in sent if c.values["status"] == "completed"]

    (row,) = deliver(MemoryLake(), ATTACHMENTS, batches)

    if done:
        best = max(done, key=lambda c: c.enriched_at)
        assert (row["status"], row["bytes"], row["error"]) == (
            "completed",
            best.values["bytes"],
            None,
        )
    else:
        assert row["status"] == "failed"
        assert row["error"] == f"e{row['bytes']}"


@st.composite
def events(draw) -> list[Change]:
    changes = []
    for _ in range(draw(st.integers(1, 5))):
        event_id = draw(st.sampled_from(["x", "y", "z"]))
        time = T0 + draw(st.integers(0, 3)) * 86_400_000_000
        values = {"event_id": event_id, "ingested_at": time, "handler": draw(words)}
        changes.append(Change("claimx_events", values, Source.RESULT, event_id, time))
    return changes


any_table = st.one_of(
    st.tuples(st.just(PROJECTS), deliveries(project_changes(keys=("p", "q", "r")))),
    st.tuples(st.just(CONTACTS), deliveries(two_sources())),
    st.tuples(st.just(ATTACHMENTS), deliveries(results())),
    st.tuples(st.just(EVENTS), deliveries(events())),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_table)
def test_delta_tables_hold_what_the_tables_in_memory_hold(case):
    table, (_, batches) = case
    memory = deliver(MemoryLake(), table, batches)

    with tempfile.TemporaryDirectory() as folder:
        lake = DeltaLake({name: str(Path(folder) / name) for name in TABLES})
        stored = deliver(lake, table, batches)

    def order(row):
        return [str(row[name]) for name in table.key]

    assert sorted(stored, key=order) == sorted(memory, key=order)
