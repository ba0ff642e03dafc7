"""Kinds of files, extensions, and pages that are no files (domain page, sections 3 and 6)."""

import io
import random
import zipfile

import pytest

from claimx.domain.errors import LinkExpired, NotAllowed
from claimx.domain.kinds import HEAD_BYTES
from claimx.domain.media import Rules, declared_extension
from claimx.settings import DEFAULT_EXTENSIONS

RULES = Rules.of(DEFAULT_EXTENSIONS)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
LOG_IN = (
    b"\xef\xbb\xbf \n<!-- gate --><!DOCTYPE html><html><head><title>Sign in</title></head>"
    b'<body><form action="/x"><input name="u"><input type="password" name="p"></form></body></html>'
)
REPORT = b"<!doctype html><html><body><h1>Report</h1><p>Log in the hallway.</p></body></html>"


def ftyp(brand: bytes, *compatible: bytes) -> bytes:
    body = brand + bytes(4) + b"".join(compatible)
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body + bytes(8) + b"mdat"


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "url", "extension"),
    [
        ("Roof.JPG", "https://h/x.png?file=y.pdf", "jpg"),
        ("Roof.jpg ", "https://h/x", "jpg"),
        ("Roof", "https://h/a/x.png?file=y.pdf", "png"),
        (None, "https://h/a/x%2Epng", "png"),
        (None, "https://h/get.php?file=y.pdf", "pdf"),
        (None, "https://h/get?name=n.txt&filename=f.csv&file=y.pdf", "csv"),
        (None, "https://h/get?FileName=f.csv", "csv"),
        (None, "https://h/get?name=n.txt", "txt"),
        (None, "https://h/get?expires=3.pdf", ""),
        ("Scan 12.03", "https://h/x", ""),
        ("Taken at St. Mary's church", "https://h/x", ""),
        ("", "https://h.com", ""),
    ],
)
def test_the_extension_is_looked_for_in_order(name, url, extension):
    assert declared_extension(name, url) == extension


@pytest.mark.parametrize(
    ("name", "url"),
    [("setup.exe", "https://h/x.jpg"), (None, "https://h/x.svg"), (None, "https://h/?file=a.zip")],
)
def test_a_declared_kind_that_is_not_taken_in_is_refused_before_the_download(name, url):
    with pytest.raises(NotAllowed):
        RULES.declared(name, url)


def test_a_declared_kind_that_is_taken_in_is_what_its_bytes_are_compared_with():
    assert RULES.declared("Roof.JPG", "https://h/x") == "jpg"
    assert RULES.declared("Roof", "https://h/x") == ""
    assert Rules.of([" .PNG "]).declared(None, "https://h/x.png") == "png"


@pytest.mark.parametrize(
    ("head", "declared", "content_type", "extension"),
    [
        (JPEG, "jpg", "image/jpeg", "jpg"),
        (JPEG, "jpeg", "image/jpeg", "jpeg"),
        (JPEG, "", "image/jpeg", "jpg"),
        (PNG, "jpg", "image/png", "png"),
        (b"GIF89a", "gif", "image/gif", "gif"),
        (b"II*\x00", "tiff", "image/tiff", "tiff"),
        (b"MM\x00*", "tif", "image/tiff", "tif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "webp", "image/webp", "webp"),
        (b"BM" + bytes(30), "bmp", "image/bmp", "bmp"),
        (ftyp(b"heic", b"mif1"), "heic", "image/heic", "heic"),
        (ftyp(b"isom", b"mp42"), "mp4", "video/mp4", "mp4"),
        (ftyp(b"mif1", b"heic") + b"avif", "", "image/heic", "heic"),
        (ftyp(b"qt  "), "mov", "video/quicktime", "mov"),
        (ftyp(b"qt  "), "", "video/quicktime", "mov"),
        (ftyp(b"qt  "), "mp4", "video/mp4", "mp4"),
        (bytes(4) + b"moov" + bytes(20), "mov", "video/quicktime", "mov"),
        (b"%PDF-1.7\n", "pdf", "application/pdf", "pdf"),
        (b"\x00rubbish\x00%PDF-1.4", "pdf", "application/pdf", "pdf"),
        (OLE, "doc", "application/msword", "doc"),
        (OLE, "xls", "application/vnd.ms-excel", "xls"),
        (b"{\\rtf1 x}", "doc", "application/msword", "doc"),
        (archive("[Content_Types].xml", "word/document.xml"), "docx", None, "docx"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "docx", None, "xlsx"),
        (archive("XACTDOC.ZIPXML"), "esx", "application/x-esx", "esx"),
        (archive("any.bin"), "esx", "application/x-esx", "esx"),
        (b"plain words", "txt", "text/plain", "txt"),
        (b"a,b\n1,2", "csv", "text/csv", "csv"),
        ("größe".encode("latin-1"), "txt", "text/plain", "txt"),
        ("größe".encode("utf-16"), "txt", "text/plain", "txt"),
        ("größe".encode()[:-2], "txt", "text/plain", "txt"),
        (b'{"a": 1}', "json", "application/json", "json"),
        (b"[draft] words", "txt", "text/plain", "txt"),
        (b'<?xml version="1.0"?><estimate/>', "xml", "application/xml", "xml"),
        (b"\n<!-- roof --><estimate/>", "", "application/xml", "xml"),
        (b"<estimate/>", "txt", "text/plain", "txt"),
        ("größe".encode("latin-1"), "", "text/plain", "txt"),
        (b"<table><tr/></table>", "xml", "application/xml", "xml"),
        (b"MZ,a csv that begins so", "csv", "text/csv", "csv"),
        (b"just words", "jpg", "text/plain", "txt"),
        (REPORT, "html", "text/html", "html"),
        (b"<p>a fragment</p>", "htm", "text/html", "htm"),
        (b"The skip hire, 3 days", "txt", "text/plain", "txt"),
        (b"Was free,yes\n", "csv", "text/csv", "csv"),
        (b"The ftyp of a film", "txt", "text/plain", "txt"),
        (b"BM\x00\x00mdat" + bytes(20), "", "video/quicktime", "mov"),
        (bytes(4) + b"moov" + bytes(20), "mp4", "video/mp4", "mp4"),
        (bytes(range(256)), "mov", "video/quicktime", "mov"),
        (bytes(range(256)), "esx", "application/x-esx", "esx"),
        (bytes(range(256)), "doc", "application/msword", "doc"),
        ('{"ä": 1}'.encode("utf-16-le"), "json", "application/json", "json"),
        (b"\n%PDF-1.4\n%%EOF", "pdf", "application/pdf", "pdf"),
        (b"\xef\xbb\xbf%PDF-1.4\n%%EOF", "", "application/pdf", "pdf"),
        (b'{"a": 1}', "html", "application/json", "json"),
        (b"just words", "html", "text/html", "html"),
        (b"<note>x</note>", "html", "text/html", "html"),
        (b"w" * HEAD_BYTES + bytes(9), "txt", "text/plain", "txt"),
    ],
)
def test_bytes_say_what_a_file_is(head, declared, content_type, extension):
    found = RULES.check(head, declared, None)

    assert found.extension == extension
    if content_type is not None:
        assert found.content_type == content_type


@pytest.mark.parametrize(
    ("declared", "header", "content_type", "extension"),
    [
        ("txt", None, "text/plain", "txt"),
        ("jpeg", "x/y", "image/jpeg", "jpeg"),
        ("", " Image/PNG ; q=1", "image/png", "png"),
        ("", None, "application/octet-stream", ""),
        ("", "application/octet-stream", "application/octet-stream", ""),
        ("log", "application/zip", "application/zip", "log"),
    ],
)
def test_a_file_of_no_bytes_is_what_it_is_called(declared, header, content_type, extension):
    found = Rules.of([*DEFAULT_EXTENSIONS, "log"]).check(b"", declared, header)

    assert (found.content_type, found.extension) == (content_type, extension)


@pytest.mark.parametrize("declared", ["jpg", "", "pdf", "json", "txt"])
@pytest.mark.parametrize("page", [REPORT, LOG_IN, b"<script>location='/login'</script>"])
def test_a_page_instead_of_a_file_means_that_the_link_is_over(declared, page):
    with pytest.raises(LinkExpired):
        RULES.check(page, declared, "image/jpeg")


@pytest.mark.parametrize("word", ["skip", "free", "wide"])
def test_a_page_that_begins_with_the_name_of_an_atom_is_no_film(word):
    """It was taken for a photo that is a film, and stored."""
    for page in (f"<!--{word} to content-->".encode() + LOG_IN[3:], f"<h1>{word}</h1>".encode()):
        with pytest.raises(LinkExpired):
            RULES.check(page, "jpg", "image/jpeg")


@pytest.mark.parametrize(
    "page",
    [
        b"<h2>Please sign in</h2><form action='/login'><input type=password></form>",
        b"<main><form id=login>",
        b"Please sign in: <form action='/x'><input type=password></form>",
    ],
)
@pytest.mark.parametrize("header", ["text/html", "image/jpeg", None])
@pytest.mark.parametrize("declared", ["jpg", "pdf", "mp4", ""])
def test_a_log_in_form_without_a_page_around_it_is_no_file(page, header, declared):
    """Such were stored as XML or text: a form that a script puts into a page begins as it likes."""
    with pytest.raises(LinkExpired):
        RULES.check(page, declared, header)


@pytest.mark.parametrize("tag", ["h2", "ul", "img", "input", "noscript", "nav", "fieldset"])
def test_a_page_may_begin_with_any_tag_that_only_pages_have(tag):
    page = f"<{tag} class='x'>The link is over".encode()

    for declared in ("jpg", "txt", "csv"):
        with pytest.raises(LinkExpired):
            RULES.check(page, declared, None)
    assert RULES.check(page, "xml", None).content_type == "application/xml"


def test_markup_that_is_announced_as_a_page_is_no_photo():
    with pytest.raises(LinkExpired):
        RULES.check(b"<main>The link is over</main>", "jpg", "text/html")
    assert RULES.check(b"<main>Roof</main>", "", "text/html").content_type == "text/html"


@pytest.mark.parametrize(
    ("head", "declared", "header", "content_type"),
    [
        (b"<estimate/>", "jpg", "image/jpeg", "application/xml"),
        (b"<?xml version='1.0'?><estimate/>", "jpg", "text/html", "application/xml"),
        (b"<?xml version='1.0'?><estimate/>", "xls", "text/html", "application/vnd.ms-excel"),
        (b"<estimate/>", "txt", "text/html", "text/plain"),
        (b"just words", "jpg", "text/html", "text/plain"),
        (b"see <form name=login>, line 3", "txt", "text/plain", "text/plain"),
        (b"<guide><form name='login'/></guide>", "xml", "application/xml", "application/xml"),
    ],
)
def test_what_is_no_page_is_stored_as_what_it_is(head, declared, header, content_type):
    assert RULES.check(head, declared, header).content_type == content_type


def test_a_whole_page_that_is_called_xml_is_one():
    with pytest.raises(LinkExpired):
        RULES.check(REPORT, "xml", None)


def test_xml_that_is_announced_as_a_page_is_xml():
    assert RULES.check(b"<?xml?><estimate/>", "xml", "text/html").content_type == "application/xml"


def test_a_page_that_nobody_named_is_one_unless_it_speaks_of_a_log_in():
    page = b"<html><body><p>Roof</p></body></html>"

    assert RULES.check(page, "", None).extension == "html"
    assert Rules.of(["htm", "jpg"]).check(page, "", None).extension == "htm"
    with pytest.raises(NotAllowed, match="html"):
        Rules.of(["jpg"]).check(page, "", None)


@pytest.mark.parametrize(
    ("head", "header", "content_type", "extension"),
    [
        (archive("any.bin"), "application/x-esx", "application/x-esx", "esx"),
        (b"a,b", "text/csv", "text/csv", "csv"),
        (b"a,b", None, "text/plain", "txt"),
    ],
)
def test_without_a_name_the_content_type_says_what_bytes_cannot(
    head, header, content_type, extension
):
    found = RULES.check(head, "", header)

    assert (found.content_type, found.extension) == (content_type, extension)


def test_the_extension_of_bytes_is_one_that_is_taken_in():
    assert Rules.of(["jpeg"]).check(JPEG, "png", None).extension == "jpeg"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_log_in_form_is_refused_under_any_name(encoding):
    with pytest.raises(LinkExpired):
        RULES.check(LOG_IN.decode("utf-8-sig").encode(encoding), "html", "text/html")


@pytest.mark.parametrize(
    "page",
    [
        b'<html><body><form method="post" action="/auth/login"><input name="user"></form>',
        b"<html><title>Sign in</title><body><form action='/x'><input name='user'></form>",
        b"<html><body><form action='/x'><input type = password></form>",
        b"<html><body><input type=password>",
        b"<html><body><form id=logon>",
    ],
)
def test_a_log_in_form_is_known_by_itself_its_page_or_its_password(page):
    with pytest.raises(LinkExpired):
        RULES.check(page, "html", None)


@pytest.mark.parametrize(
    "page",
    [
        b"<html><title>Log-ins of May</title><body><input name='q'></body></html>",
        b"<html><title>Survey</title><body><form action='/x'><input name='q'></form></html>",
        b"<html><body><p>The password was changed; log in again.</p></html>",
    ],
)
def test_a_report_that_asks_for_no_log_in_is_none(page):
    assert RULES.check(page, "html", None).extension == "html"


@pytest.mark.parametrize(
    "part", ["<input ", "<form ", "<title ", "<form >", "<input type ", "log "]
)
@pytest.mark.timeout(60)
def test_a_page_of_tags_that_never_end_is_read_once(part):
    """
    It stood still for ten seconds at 32 KiB, and 512 times as long at what is looked at.

    So one file from an odd host held up a worker until it was killed, and the next one.
    """
    page = b"<html><form>" + part.encode() * (256 * 1024 // len(part))

    assert RULES.check(page, "html", "text/html").extension == "html"


def test_html_that_only_its_content_type_announces_is_no_file():
    with pytest.raises(LinkExpired):
        RULES.check(REPORT, "", "text/html; charset=utf-8")


@pytest.mark.parametrize("declared", ["jpg", "txt", ""])
def test_markup_of_no_known_kind_that_is_announced_as_a_page_is_one(declared):
    with pytest.raises(LinkExpired):
        RULES.check(b"<% include login %>", declared, "text/html")
    assert RULES.check(b"<% include roof %>", "txt", "text/plain").content_type == "text/plain"


@pytest.mark.parametrize(
    "head",
    [
        *(b"MZ\x90\x00\x03", b"\x7fELF\x02", b"\x1f\x8b\x08\x00", b"#!/bin/sh\n"),
        *(bytes(range(256)), bytes(range(0xA0, 0x100)), b"ten, 10" + bytes([0x80])),
        *(ftyp(b"avif"), ftyp(b"avis"), ftyp(b"mif1", b"miaf", b"avif")),
    ],
)
@pytest.mark.parametrize("declared", ["jpg", "heic", ""])
def test_a_kind_that_is_not_taken_in_is_refused_whatever_its_name(head, declared):
    with pytest.raises(NotAllowed):
        RULES.check(head, declared, "image/jpeg")


def test_an_allowed_kind_is_one_that_the_setting_lists():
    with pytest.raises(NotAllowed, match="image/png"):
        Rules.of(["jpg"]).check(PNG, "jpg", None)


def test_a_page_of_many_comments_is_judged_at_once():
    """A pattern that backtracks would take minutes for this."""
    found = RULES.check(b"<!-- x -->" * 20_000 + b"<estimate/>", "xml", None)

    assert found.content_type == "application/xml"


@pytest.mark.parametrize(
    ("head", "declared", "content_type"),
    [
        (b"RIFF\x00\x10\x00\x00AVI LIST", "avi", "application/octet-stream"),
        (archive("ppt/slide1.xml"), "pptx", "application/zip"),
        (b"2026-01-01 started\n", "log", "text/plain"),
    ],
)
def test_a_kind_that_only_the_setting_knows_is_taken_in_by_its_name(head, declared, content_type):
    """Nothing here could tell its bytes; who lists it wants it."""
    found = Rules.of([*DEFAULT_EXTENSIONS, declared]).check(head, declared, None)

    assert (found.content_type, found.extension) == (content_type, declared)


@pytest.mark.parametrize("declared", ["avi", "log"])
def test_a_page_or_a_program_under_such_a_name_is_refused(declared):
    rules = Rules.of([*DEFAULT_EXTENSIONS, declared])

    with pytest.raises(LinkExpired):
        rules.check(LOG_IN, declared, None)
    with pytest.raises(NotAllowed):
        rules.check(b"#!/bin/sh\nrm -r x\n", declared, None)


@pytest.mark.parametrize("declared", ["txt", "csv", "json", "xml"])
def test_bytes_that_no_encoding_makes_text_are_no_text_whatever_their_name(declared):
    with pytest.raises(NotAllowed, match="no known kind"):
        RULES.check(random.Random(3).randbytes(4096), declared, None)


@pytest.mark.parametrize(
    "text", ["north roof\r\n".encode("utf-16-le"), "крыша, север".encode("cp1251"), b"a\x07b" * 40]
)
def test_text_in_an_encoding_that_does_not_show_is_what_it_is_called(text):
    padded = text if b"\x07" not in text else text + b"c" * 5000

    assert RULES.check(padded, "csv", None).content_type == "text/csv"


def test_an_empty_file_of_a_kind_that_is_not_taken_in_is_refused_by_its_content_type():
    with pytest.raises(NotAllowed):
        RULES.check(b"", "", "application/zip")
