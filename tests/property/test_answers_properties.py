"""What the API says is read the same by the quick decoder and by the one that reads everything."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.claimx_answers import WrittenFloat, parsed
from claimx.domain.errors import Unreadable
from claimx.domain.reader import Reader, Unconverted, fields
from claimx.domain.tables import MEDIA

SLOW = "utf8"  # a charset that the quick decoder is not asked for
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=25,
)
WRITTEN = st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?\Z")


def read(body: bytes, charset: str | None) -> object:
    """Return what was read in a form that tells 1 from 1.0 and 1.0 from 1.00."""
    try:
        return written(parsed(body, "application/json", charset))
    except Unreadable:
        return Unreadable


def written(value: object) -> object:
    if isinstance(value, dict):
        return {name: written(one) for name, one in value.items()}
    if isinstance(value, list):
        return [written(one) for one in value]
    return type(value).__name__, str(value).encode("utf-8", "surrogatepass")


@given(VALUES, st.booleans(), st.sampled_from((None, 1)))
def test_an_answer_is_read_the_same_by_both_decoders(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert read(body, "utf-8") == read(body, None) == read(body, SLOW)


@given(st.lists(WRITTEN, max_size=5))
def test_numbers_keep_how_they_were_written_in_both_decoders(numbers: list[str]) -> None:
    """12.50 stays ``12.50``, and what no float holds is text (domain page, section 2)."""
    body = f"[{','.join(numbers)}]".encode()
    assert read(body, None) == read(body, SLOW)
    for number, found in zip(numbers, parsed(body, "", None), strict=True):
        assert str(found) == (number if not isinstance(found, int) else str(int(number)))
        if isinstance(found, WrittenFloat):
            assert math.isfinite(found)


@given(VALUES, st.data())
def test_a_spoilt_answer_is_refused_or_read_the_same(value: object, data: st.DataObject) -> None:
    """A quick decoder that reads what the other refuses, or otherwise, would change rows."""
    body = bytearray(json.dumps(value, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        spoilt = data.draw(st.binary(max_size=2) | st.sampled_from((b"NaN", b"\\ud800", b"\x00")))
        body[at : at + data.draw(st.integers(0, 2))] = spoilt
    assert read(bytes(body), None) == read(bytes(body), SLOW)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        ("[1]".encode("utf-16"), [1]),
        (b'"\\ud800"', "\ud800"),
        (b"9" * 5000, "9" * 5000),
    ],
    ids=["byte order mark", "UTF-16", "half a pair", "a great integer"],
)
def test_what_the_quick_decoder_refuses_is_still_read(body: bytes, found: object) -> None:
    assert parsed(body, "application/json") == found


@pytest.mark.parametrize("digits", ["1", "9" * 5000], ids=["few", "more than Python reads"])
def test_a_number_that_json_lacks_is_null_and_counted(digits: str) -> None:
    """It was read as a null, which nobody counts."""
    names = "latitude longitude taken_date file_name downloadable"
    said = "{'latitude':NaN,'longitude':-Infinity,'takenDate':Infinity,'fileName':NaN,"
    said += f"'downloadable':NaN,'more':{digits}}}"
    counts: Unconverted = Counter()

    answer = parsed(said.replace("'", '"').encode(), "application/json")
    row = Reader(MEDIA, counts).row(fields(MEDIA, names), answer)

    assert row == dict.fromkeys(names.split())
    assert counts == {(MEDIA.name, name): 1 for name in names.split()}


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1252"])
def test_an_answer_is_read_in_the_charset_that_it_declares(charset: str) -> None:
    assert parsed('["größe"]'.encode(charset), "application/json", charset) == ["größe"]


@pytest.mark.parametrize("charset", [None, "UTF-8", "utf-16"])
def test_of_unicode_the_bytes_tell_which(charset: str | None) -> None:
    for encoding in ("utf-8", "utf-16", "utf-32-le"):
        assert parsed('["größe"]'.encode(encoding), "", charset) == ["größe"]


def test_a_charset_that_nobody_knows_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        parsed(b"[1]", "application/json", "x-none")


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"<html>", b"[" * 5000], ids=["empty", "blank", "a page", "too deep"]
)
def test_what_is_no_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable, match="empty" if not body.strip() else "not JSON"):
        parsed(body, "text/html")
