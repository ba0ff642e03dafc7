"""What reaches a table is told apart by the same rule that names what is wrong with the rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claimx.domain.changes import Change, Source
from claimx.domain.refusal import ill_formed, sorted_out
from claimx.domain.tables import CONTACTS
from claimx.domain.upsert import by_key

columns = st.sampled_from(["first_name", "created_at", "event_id", "nonsense"])
parts = st.sampled_from([*"ab" * 8, "", None, 1])  # most of them whole keys


@st.composite
def changes(draw) -> Change:
    others = st.dictionaries(columns, parts, max_size=2)
    values = {name: draw(parts) for name in CONTACTS.key} | draw(others)
    table = draw(st.sampled_from([CONTACTS.name, "claimx_tasks"]))
    return Change(table, values, Source.ANSWER, "e", 1, 2)


@given(st.lists(changes(), max_size=8))
def test_each_change_has_a_key_or_the_reason_why_it_can_be_no_row(said):
    groups, refused = sorted_out(CONTACTS, said)

    reasons = [(change, ill_formed(CONTACTS, change)) for change in said]
    assert refused == [(change, reason) for change, reason in reasons if reason is not None]
    assert groups == by_key(CONTACTS, [change for change, reason in reasons if reason is None])
