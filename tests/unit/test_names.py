"""Stored names (domain page, sections 3 and 6)."""

import random
import time
import unicodedata

import pytest

from claimx.domain.names import MAX_NAME_BYTES, blob_path, nfc, safe_name, segment


def test_a_plain_name_stays_as_it_is():
    assert blob_path("4711", "99", "Roof north.JPG", "jpg") == "4711/media/99_Roof north.JPG"


@pytest.mark.parametrize("name", [None, "", "  ", ".", " . "])
def test_without_a_name_the_id_and_the_extension_of_the_content_stand(name):
    assert blob_path("4711", "99", name, "jpg") == "4711/media/99.jpg"


def test_a_file_of_no_known_kind_and_no_name_is_called_by_its_id():
    assert blob_path("4711", "99", None, "") == "4711/media/99"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ('a\\b/c:d*e?f"g<h>i|j%k.pdf', "a_b_c_d_e_f_g_h_i_j_k.pdf"),
        ("../../etc/passwd", "_.__._etc_passwd"),
        ("a..jpg", "a_.jpg"),
        ("line\nbreak\x00\x7f.txt", "line_break__.txt"),
        ("photo\u202egpj.exe.jpg", "photo_gpj.exe.jpg"),
        ("one\u2028two\u2029.jpg", "one_two_.jpg"),
        ("half\ud800.jpg", "half_.jpg"),
        ("CON", "_CON"),
        ("aux.txt", "_aux.txt"),
        ("com\u00b9.log", "_com\u00b9.log"),
        ("console.txt", "console.txt"),
        ("trailing. . .", "trailing"),
        (" \u00a0leading.jpg", "leading.jpg"),
        ("con .txt", "_con .txt"),
        ("x" * 140 + ".not an extension", "x" * 140 + ".not an ex"),
        ("Sta\u0308rke.jpg", "St\u00e4rke.jpg"),
    ],
)
def test_what_no_store_takes_is_replaced(name, safe):
    assert safe_name(name) == safe


def test_a_long_name_keeps_its_extension_and_whole_characters():
    found = safe_name("ä" * 200 + ".jpeg")

    assert found == "ä" * 72 + ".jpeg"
    assert len(found.encode()) <= MAX_NAME_BYTES


def test_a_long_extension_is_not_worth_keeping():
    assert safe_name("a." + "b" * 300) == ("a." + "b" * 300)[:150]


@pytest.mark.parametrize(
    "identifier", ["1", "900123", "m-7", "media_17", "a1b2-c3", "0", "x" * 63 + "1"]
)
def test_ordinary_ids_stay_as_they_are(identifier):
    assert segment(identifier) == identifier


@pytest.mark.parametrize(
    "identifier", ["..", "a/b", "1_2", "", "x" * 65 + "1", "ä1", "con", "1.jpg", "com1"]
)
def test_odd_ids_are_hashed(identifier):
    found = segment(identifier)

    assert "~" in found
    assert not set(found) & set("/\\.%_ ")


def test_an_id_with_a_name_behind_it_is_no_other_id():
    assert blob_path("p1", "1", "2_x.jpg", "jpg") != blob_path("p1", "1_2", "x.jpg", "jpg")


@pytest.mark.parametrize("project", ["proj", "P-1", "a_1_b", "7001", "North-Roof"])
def test_a_projects_id_of_ordinary_characters_is_its_folders_name(project):
    """A separator follows at once, so nothing behind it can make it look like another's."""
    assert blob_path(project, "1", "x.jpg", "jpg") == f"{project}/media/1_x.jpg"


@pytest.mark.parametrize("project", ["a/b", "..", "con", "x" * 65, "-", "a b", "a~b"])
def test_any_other_projects_id_is_hashed(project):
    folder, _, rest = blob_path(project, "1", "x.jpg", "jpg").partition("/")

    assert "~" in folder
    assert folder != project
    assert rest == "media/1_x.jpg"


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_long_name_in_nfc_is_what_unicode_says(seed):
    """All that decomposes or is put in order, as it stands in Unicode and in any other order."""
    hangul = {*range(0x1100, 0x1200), *range(0xAC00, 0xD7A4)}
    chars = [
        char
        for char in map(chr, range(0x110000))
        if unicodedata.combining(char) or unicodedata.decomposition(char) or ord(char) in hangul
    ]
    if seed is not None:
        random.Random(seed).shuffle(chars)

    assert nfc("".join(chars)) == unicodedata.normalize("NFC", "".join(chars))


def test_a_name_of_very_many_marks_holds_up_nobody():
    """It took the square of its length: a minute, in which a worker lost all its leases."""
    begun = time.monotonic()

    found = nfc("a" + "\u0315\u0300" * 100_000)

    assert time.monotonic() - begun < 10
    assert found == "\xe0" + "\u0300" * 99_999 + "\u0315" * 100_000
    assert safe_name(found).startswith("\xe0")
