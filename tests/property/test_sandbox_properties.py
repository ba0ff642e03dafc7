"""What the stand-ins do by hand, since a library's way takes a part of the box they share."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, quote_plus

from hypothesis import example, given
from hypothesis import strategies as st

from claimx.sandbox.exchange import query_of

PIECES = st.sampled_from(
    ["a", "B", "=", "&", "+", "%", "%2", "%26", "%3d", "%C3%A9", "%ff", ";", ""]
)
TARGETS = st.lists(PIECES, max_size=12).map("".join)
NAMED = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5)


@given(TARGETS)
@example("a")
@example("&&a=1&a=2&=&")
def test_a_query_is_read_as_the_standard_library_does(target):
    """However odd it is: doubled names, none, blank values, escapes that are cut off."""
    assert query_of(target) == dict(parse_qsl(target, keep_blank_values=True))


@given(NAMED, st.sampled_from([quote, quote_plus]))
def test_what_a_client_asks_is_what_a_stand_in_reads(asked, escape):
    target = "&".join(
        f"{escape(name, safe='')}={escape(value, safe='')}" for name, value in asked.items()
    )

    assert query_of(target) == asked
