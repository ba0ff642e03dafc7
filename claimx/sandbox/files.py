"""Media files with right first bytes, made from their id alone."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: usual extension, what the bytes are, and the API's coarse word for it."""

    name: str
    extension: str
    content_types: tuple[str, ...]
    word: str


KINDS: dict[str, FileKind] = {
    kind.name: kind
    for kind in (
        FileKind("jpg", "jpg", ("image/jpeg",), "IMAGE"),
        FileKind("png", "png", ("image/png",), "IMAGE"),
        FileKind("gif", "gif", ("image/gif",), "IMAGE"),
        FileKind("webp", "webp", ("image/webp",), "IMAGE"),
        FileKind("bmp", "bmp", ("image/bmp", "image/x-ms-bmp"), "IMAGE"),
        FileKind("heic", "heic", ("image/heic", "image/heif"), "IMAGE"),
        FileKind("pdf", "pdf", ("application/pdf",), "DOCUMENT"),
        FileKind("mp4", "mp4", ("video/mp4",), "VIDEO"),
        FileKind("mov", "mov", ("video/quicktime",), "VIDEO"),
        FileKind("txt", "txt", ("text/plain",), "DOCUMENT"),
        FileKind("csv", "csv", ("text/csv", "text/plain"), "DOCUMENT"),
        FileKind("xml", "xml", ("application/xml", "text/xml"), "DOCUMENT"),
        FileKind("json", "json", ("application/json", "text/plain"), "DOCUMENT"),
        FileKind("html", "html", ("text/html",), "DOCUMENT"),
        FileKind(
            "docx",
            "docx",
            (
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "application/zip",
            ),
            "DOCUMENT",
        ),
        FileKind("exe", "exe", ("application/x-msdownload",), "DOCUMENT"),
        FileKind("empty", "txt", (), "DOCUMENT"),
    )
}


def make(kind: str, media_id: str, size: int) -> bytes:  # noqa: C901, PLR0911 - one case a kind
    """Return the file of about *size* bytes; the same for the same arguments."""
    filler = Random(f"{kind}:{media_id}").randbytes(max(16, size - 200))
    match kind:
        case "empty":
            return b""
        case "jpg":
            return _jpeg(filler)
        case "png":
            return _png(filler)
        case "gif":
            head = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
            image = b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00"
            return head + b"!\xfe" + _blocks(filler) + image + b";"
        case "webp":
            chunk = b"VP8 " + struct.pack("<I", len(filler)) + filler
            return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk
        case "bmp":
            info = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, len(filler), 0, 0, 0, 0)
            return b"BM" + struct.pack("<IHHI", 54 + len(filler), 0, 0, 54) + info + filler
        case "heic" | "mp4" | "mov":
            brand = {"heic": b"heic", "mp4": b"isom", "mov": b"qt  "}[kind]
            compatible = {"heic": b"mif1heic", "mp4": b"isommp42", "mov": b"qt  "}[kind]
            body = brand + b"\x00\x00\x02\x00" + compatible
            head = struct.pack(">I", len(body) + 8) + b"ftyp" + body
            return head + struct.pack(">I", len(filler) + 8) + b"mdat" + filler
        case "pdf":
            return _pdf(filler)
        case "exe":
            return b"MZ\x90\x00" + filler
        case "docx":
            return _docx(filler)
        case _:
            return _words(kind, media_id, filler)


def digest(content: bytes) -> str:
    """Return the SHA-256 in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def _jpeg(filler: bytes) -> bytes:
    comments = b"".join(
        b"\xff\xfe" + struct.pack(">H", len(part) + 2) + part
        for part in (filler[i : i + 60_000] for i in range(0, len(filler), 60_000))
    )
    return (
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        + comments
        + b"\xff\xd9"
    )


def _png(filler: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00", 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"prVt", filler)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def _blocks(data: bytes) -> bytes:
    parts = (data[i : i + 255] for i in range(0, len(data), 255))
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\x00"


def _pdf(filler: bytes) -> bytes:
    stream = filler.hex().encode()[: len(filler)]
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
        b"3 0 obj<</Length "
        + str(len(stream)).encode()
        + b">>stream\n"
        + stream
        + b"\nendstream endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF\n"
    )


def _docx(filler: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (
            ("[Content_Types].xml", b"<?xml version='1.0'?><Types/>"),
            ("word/document.xml", b"<?xml version='1.0'?><document/>"),
            ("word/media/image1.bin", filler),
        ):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def _words(kind: str, media_id: str, filler: bytes) -> bytes:
    lines = filler.hex()
    rows = [lines[i : i + 60] for i in range(0, len(filler), 60)]
    match kind:
        case "csv":
            body = "id,reading,note\n" + "".join(
                f"{n},{n * 7},{row}\n" for n, row in enumerate(rows)
            )
        case "xml":
            body = f'<?xml version="1.0" encoding="UTF-8"?>\n<estimate id="{media_id}">\n'
            body += "".join(f"  <line>{row}</line>\n" for row in rows) + "</estimate>\n"
        case "json":
            body = f'{{"media": "{media_id}", "lines": ["' + '", "'.join(rows) + '"]}\n'
        case "html":
            body = "<!DOCTYPE html>\n<html><head><title>Report</title></head><body>\n"
            body += "".join(f"<p>{row}</p>\n" for row in rows) + "</body></html>\n"
        case _:
            body = f"Notes for {media_id}\n" + "".join(f"{row}\n" for row in rows)
    return body.encode()
