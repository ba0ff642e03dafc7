"""Stored names hold their promises for every name and id."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from claimx.domain.names import MAX_NAME_BYTES, blob_path, safe_name, segment

_NASTY = st.sampled_from(
    [*'\\/:*?"<>|%. _', "..", "con", "AUX", "nul", "\u202e", "\u2066", "\0", "\n", "é", "e\u0301"]
)
names = st.one_of(st.text(max_size=300), st.lists(_NASTY, max_size=40).map("".join))
ids = st.one_of(
    st.text(min_size=1, max_size=80),
    st.lists(st.sampled_from([*"0123_-.~aZ/", "con"]), min_size=1, max_size=8).map("".join),
)
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(10)}


@given(names)
def test_a_safe_name_is_safe(name):
    found = safe_name(name)

    assert not set(found) & set('\\/:*?"<>|%')
    assert ".." not in found
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in found)
    assert found.split(".")[0].rstrip().lower() not in _RESERVED
    assert found == found.rstrip(". ")
    assert len(found.encode()) <= MAX_NAME_BYTES
    assert unicodedata.is_normalized("NFC", found)


@given(names)
def test_a_safe_name_is_its_own_safe_name(name):
    assert safe_name(safe_name(name)) == safe_name(name)


@given(ids, ids, names, names)
def test_two_media_never_share_a_path(one, other, name, other_name):
    if one == other:
        return

    paths = {blob_path("p1", one, name, "jpg"), blob_path("p1", other, other_name, "jpg")}

    assert len(paths) == 2


@given(ids, ids, names)
def test_two_projects_never_share_a_folder(one, other, name):
    if one == other:
        return

    assert (
        blob_path(one, "1", name, "").split("/")[0] != blob_path(other, "1", name, "").split("/")[0]
    )


@given(ids, ids, names)
def test_a_path_has_three_parts(project, media, name):
    path = blob_path(project, media, name, "jpg")

    assert path.count("/") == 2
    assert all(part.strip(". ") for part in path.split("/"))


@given(ids)
def test_a_segment_is_short_and_plain(identifier):
    found = segment(identifier)

    assert found.isascii()
    assert 0 < len(found) <= 64
