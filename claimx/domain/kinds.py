"""What kind of file some bytes are, by their first bytes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from claimx.domain.file_text import FRAGMENT, PAGE, Head, as_text, may_be_text, opening_of

HEAD_BYTES = 256 * 1024  # how much of a file anything here looks at
_BEGIN_BYTES = 256  # in which every signature lies, and the brands of a film


@dataclass(frozen=True, slots=True)
class Kind:
    """
    A kind of file: its content type and the extensions it goes by, the usual one first.

    *certain* kinds always begin with their signature, so bytes without it are something else.
    """

    content_type: str
    extensions: tuple[str, ...]
    certain: bool = True

    @property
    def extension(self) -> str:
        """The usual extension, empty for what has none."""
        return self.extensions[0] if self.extensions else ""


_OFFICE = "application/vnd.openxmlformats-officedocument"

PDF = Kind("application/pdf", ("pdf",))
JPEG = Kind("image/jpeg", ("jpg", "jpeg"))
PNG = Kind("image/png", ("png",))
GIF = Kind("image/gif", ("gif",))
BMP = Kind("image/bmp", ("bmp",))
TIFF = Kind("image/tiff", ("tif", "tiff"))
WEBP = Kind("image/webp", ("webp",))
HEIC = Kind("image/heic", ("heic", "heif"))
MP4 = Kind("video/mp4", ("mp4", "m4v"))
MOV = Kind("video/quicktime", ("mov", "qt"), certain=False)
XLSX = Kind(f"{_OFFICE}.spreadsheetml.sheet", ("xlsx",))
DOCX = Kind(f"{_OFFICE}.wordprocessingml.document", ("docx",))
ESX = Kind("application/x-esx", ("esx",), certain=False)
XLS = Kind("application/vnd.ms-excel", ("xls",), certain=False)
DOC = Kind("application/msword", ("doc",), certain=False)
HTML = Kind("text/html", ("html", "htm", "xhtml"))
XML = Kind("application/xml", ("xml",), certain=False)
JSON = Kind("application/json", ("json",), certain=False)
CSV = Kind("text/csv", ("csv",), certain=False)
TXT = Kind("text/plain", ("txt",), certain=False)
ZIP = Kind("application/zip", ("zip",))
OLE = Kind("application/x-ole-storage", ())
RTF = Kind("application/rtf", ("rtf",))
UNKNOWN = Kind("application/octet-stream", (), certain=False)

_KNOWN = (
    *(PDF, JPEG, PNG, GIF, BMP, TIFF, WEBP, HEIC, MP4, MOV, XLSX, DOCX, ESX, XLS, DOC),
    *(HTML, XML, JSON, CSV, TXT, ZIP, RTF),
)
BY_EXTENSION: Mapping[str, Kind] = {ext: kind for kind in _KNOWN for ext in kind.extensions}
BY_CONTENT_TYPE: Mapping[str, Kind] = {
    **{kind.content_type: kind for kind in _KNOWN},
    "image/jpg": JPEG,
    "image/pjpeg": JPEG,
    "image/heif": HEIC,
    "image/x-ms-bmp": BMP,
    "application/x-pdf": PDF,
    "text/xml": XML,
    "application/xhtml+xml": HTML,
}

_TEXTS = (XML, JSON, CSV, TXT)

# containers whose inside only the name tells for sure
_CONTAINERS: Mapping[Kind, tuple[Kind, ...]] = {
    ZIP: (DOCX, XLSX, ESX),
    OLE: (DOC, XLS),
    RTF: (DOC,),
    TXT: (CSV, JSON, XML, XLS, DOC, ESX),
    XML: (TXT, XLS, DOC, ESX),
    JSON: (TXT, CSV),
    MP4: (MOV,),
    MOV: (MP4,),
}

_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00", TIFF),
    (b"MM\x00+", TIFF),
    (b"%PDF-", PDF),
    (b"{\\rtf", RTF),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    # never media, whatever they are called
    (b"\x7fELF", Kind("application/x-elf", ())),
    (b"\x1f\x8b", Kind("application/gzip", ("gz",))),
    (b"7z\xbc\xaf\x27\x1c", Kind("application/x-7z-compressed", ("7z",))),
    (b"Rar!\x1a\x07", Kind("application/vnd.rar", ("rar",))),
)
_PROGRAM = Kind("application/x-msdownload", ("exe", "dll"))
_SCRIPT = Kind("text/x-script", ("sh",))
_AVIF = Kind("image/avif", ("avif",))
# two letters prove nothing where the rest is text
_SHORT_SIGNATURES: Mapping[bytes, Kind] = {b"BM": BMP, b"MZ": _PROGRAM}
_HEIC_BRANDS = frozenset(
    b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 heif".split(),
)
_MOV_ATOMS = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
_XML_OPENING = re.compile(r"<(\?xml|!--|!DOCTYPE|[A-Za-z_])", re.IGNORECASE)


def sniff(head: Head) -> tuple[Kind, str | None]:
    """
    Return what *head*, the first bytes of a file that is not empty, shows it to be.

    And *head* as text, which is None when it has a signature or is binary.
    """
    begin = bytes(head[:_BEGIN_BYTES])
    if kind := _signed(begin, head):
        return kind, None
    text = as_text(head)
    return (_unsigned(begin, head) if text is None else _text_kind(text)), text


def _signed(begin: bytes, head: Head) -> Kind | None:
    """Return the kind whose signature a file has, None without one."""
    for signature, kind in _SIGNATURES:
        if begin.startswith(signature):
            return kind
    if begin[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_kind(head)
    if begin[:4] == b"RIFF":
        return WEBP if begin[8:12] == b"WEBP" else UNKNOWN
    return None


def _unsigned(begin: bytes, head: Head) -> Kind:
    # the atoms of films are words of English as well, so of text they say nothing
    if begin[4:8] == b"ftyp":
        return _ftyp_kind(begin)
    if begin[4:8] in _MOV_ATOMS:
        return MOV
    if begin[:2] in _SHORT_SIGNATURES:
        return _SHORT_SIGNATURES[begin[:2]]
    # readers of PDF allow rubbish before it
    return PDF if b"%PDF-" in head[:1024] else UNKNOWN


def refined(found: Kind, extension: str, head: Head) -> Kind:
    """
    Return the kind that the name's *extension* makes of *found*, where bytes alone cannot tell.

    A plain zip named docx is a docx, text named csv is CSV, also in an encoding that *head* does
    not show; nothing else is believed.
    """
    named = BY_EXTENSION.get(extension)
    if named is None or named is found:
        return found
    if found is UNKNOWN:
        if named.certain or (named in _TEXTS and not may_be_text(head)):
            return UNKNOWN
        return named
    return named if may_lie_in(named, found) else found


def may_lie_in(named: Kind | None, found: Kind) -> bool:
    """Say whether bytes that look like *found* may be of the kind that they are *named*."""
    return named is found or named in _CONTAINERS.get(found, ())


def _text_kind(text: str) -> Kind:
    opening = opening_of(text)
    if PAGE.match(opening) or FRAGMENT.match(opening):
        return HTML
    if _XML_OPENING.match(text.lstrip()):
        return XML
    if text.startswith("#!"):
        return _SCRIPT
    if opening.startswith("%PDF-"):  # one that holds no picture may be all text
        return PDF
    return JSON if opening[:1] in ("{", "[") else TXT


def _zip_kind(head: Head) -> Kind:
    # entry names stand uncompressed in the local headers
    for part, kind in ((b"word/", DOCX), (b"xl/", XLSX), (b"XACTDOC", ESX)):
        if part in head:
            return kind
    return ZIP


def _ftyp_kind(head: bytes) -> Kind:
    size = min(int.from_bytes(head[:4], "big"), _BEGIN_BYTES)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    if brands[0] == b"qt  ":
        return MOV
    if brands[0] in _HEIC_BRANDS:
        return _AVIF if b"avif" in brands else HEIC
    if brands[0] in (b"avif", b"avis"):
        return _AVIF
    return MP4
