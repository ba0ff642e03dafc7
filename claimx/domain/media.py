"""Which media files are taken in, and what their bytes say (domain page, sections 3 and 6)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from claimx.domain.errors import LinkExpired, NotAllowed
from claimx.domain.file_text import Head, is_page
from claimx.domain.kinds import (
    BY_CONTENT_TYPE,
    BY_EXTENSION,
    HEAD_BYTES,
    HTML,
    JSON,
    OLE,
    TXT,
    UNKNOWN,
    XML,
    ZIP,
    Kind,
    may_lie_in,
    refined,
    sniff,
)

_ENDING = re.compile(r"\.([A-Za-z0-9]{1,8})\s*\Z")
_EXTENSION = re.compile(r"(?!\d+\Z)[a-z0-9]{1,8}", re.ASCII)  # what a name's ending can be
_NAME_PARAMETERS = ("filename", "file", "name")
# endings of what runs on the server: they say nothing about the file it hands out
_SCRIPTS = frozenset("php asp aspx ashx axd jsp jspx do action cgi pl py rb svc".split())
_INPUT = re.compile(r"<input\b[^>]*", re.IGNORECASE)
_PASSWORD = re.compile(r"\btype\s*=\s*[\"']?password\b", re.IGNORECASE)
_FORM = re.compile(r"<form\b[^>]*>", re.IGNORECASE)
_ASKS = re.compile(r"<(?:input|form)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^>]*>([^<]*)", re.IGNORECASE)
_LOG_IN = re.compile(
    r"login|logon|signin|\b(log|sign)[\s_-][io]n\b|\bsso\b|\bsaml|authenticat"
    r"|session (has )?expired",
    re.IGNORECASE,
)
# each match of it holds one of these
_LOG_IN_WORDS = ("log", "sign", "sso", "saml", "authenticat", "session")


# what bytes are that another kind may lie in
_OPEN = frozenset((UNKNOWN, ZIP, OLE, TXT, XML, JSON))


@dataclass(frozen=True, slots=True)
class Content:
    """What arrived: its true content type and the extension it should have, without dot."""

    content_type: str
    extension: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The kinds that are taken in, by extension (lower case, without dot)."""

    extensions: frozenset[str]

    @classmethod
    def of(cls, extensions: Iterable[str]) -> Rules:
        """Build the rules from extensions as the setting lists them; ValueError names a bad one."""
        known = set()
        for listed in extensions:
            extension = listed.strip().lower().removeprefix(".")
            if not _EXTENSION.fullmatch(extension):
                msg = f"{listed!r} is no extension of a file; list them as in jpg,pdf"
                raise ValueError(msg)
            known.add(extension)
        return cls(frozenset(known))

    def declared(self, file_name: str | None, url: str) -> str:
        """
        Return the extension that name, URL path or URL query declare; empty when none does.

        Raises NotAllowed when it is not among those taken in, before anything is fetched.
        """
        extension = declared_extension(file_name, url)
        if extension and extension not in self.extensions:
            raise NotAllowed(f"files of type .{extension} are not taken in")
        return extension

    def check(self, head: Head, declared: str, header: str | None) -> Content:
        """
        Return what the bytes are, by their first 256 KiB.

        *declared* is what `declared` returned, *header* the answer's Content-Type. Raises
        LinkExpired for HTML under a name of another kind and for a log-in form, NotAllowed for
        a kind that is not taken in.
        """
        announced = _kind_of_header(header)
        if not head:
            kind = BY_EXTENSION.get(declared) or announced or UNKNOWN
            if not declared and kind is not UNKNOWN:
                self._refuse_unless_taken(kind)
            return Content(kind.content_type, declared or kind.extension)
        if len(head) > HEAD_BYTES:
            head = head[:HEAD_BYTES]
        found, text = sniff(head)
        if text is not None and _is_web_page(text, found, declared, announced):
            return _page(text, declared, self)
        if found is HTML:
            found = XML  # tags that HTML has too, in a file that is called .xml
        kind = refined(found, declared or (announced.extension if announced else ""), head)
        of_the_setting = declared in self.extensions and declared not in BY_EXTENSION
        if of_the_setting and kind in _OPEN:
            return Content(kind.content_type, declared)  # a kind that only the setting knows
        self._refuse_unless_taken(kind)
        extension = declared if declared in kind.extensions else self._usual(kind)
        return Content(kind.content_type, extension)

    def _refuse_unless_taken(self, kind: Kind) -> None:
        if not any(extension in self.extensions for extension in kind.extensions):
            what = "of no known kind" if kind is UNKNOWN else kind.content_type
            raise NotAllowed(f"the file is {what}, which is not taken in")

    def _usual(self, kind: Kind) -> str:
        return next(e for e in kind.extensions if e in self.extensions)


def declared_extension(file_name: str | None, url: str) -> str:
    """Return the extension, lower case without dot, from the name, else the URL; else empty."""
    if found := _ending(file_name or ""):
        return found
    parts = urlsplit(url)
    found = _ending(unquote(parts.path))
    if found and found not in _SCRIPTS:
        return found
    query = parse_qsl(parts.query, keep_blank_values=False)
    for wanted in _NAME_PARAMETERS:
        for name, value in query:
            if name.lower() == wanted and (found := _ending(value)):
                return found
    return ""


def is_log_in(text: str) -> bool:
    """Say whether an HTML page asks for a log-in: a password field, or a form called so."""
    if not _ASKS.search(text):
        return False
    if any(map(_PASSWORD.search, _INPUT.findall(text))):
        return True
    # up to the last end of a tag: one that never ends would be read again from each "<" in it
    closed = text[: text.rfind(">") + 1]
    forms = _FORM.findall(closed)
    if not forms:
        return False
    title = _TITLE.search(closed)
    return any(_LOG_IN.search(tag) for tag in forms) or bool(title and _LOG_IN.search(title[1]))


def _speaks_of_log_in(text: str) -> bool:
    # the pattern takes 30 ms for a page in which it finds nothing; letters beyond ASCII match, too
    plain = text.lower() if text.isascii() else None
    if plain is not None and not any(word in plain for word in _LOG_IN_WORDS):
        return False
    return _LOG_IN.search(text) is not None


def _is_web_page(text: str, found: Kind, declared: str, announced: Kind | None) -> bool:
    if declared in HTML.extensions and found in (HTML, XML, TXT):
        return True
    if found is HTML:
        return declared != "xml" or is_page(text)
    if found not in (XML, TXT):
        return False
    opening = text.lstrip()[:5]
    named = BY_EXTENSION.get(declared)
    if named is XML or may_lie_in(named, found):
        return announced is HTML and found is TXT and opening[:1] == "<"
    # it is not what it is called: then markup of any kind that is announced as a page is one
    if announced is HTML and opening[:1] == "<" and opening != "<?xml":
        return True
    return is_log_in(text)


def _page(text: str, declared: str, rules: Rules) -> Content:
    if declared and declared not in HTML.extensions:
        raise LinkExpired("a web page came instead of the file: the link is over")
    # a page that nobody named is believed only if it says nothing of a log-in anywhere
    if is_log_in(text) or (not declared and _speaks_of_log_in(text)):
        raise LinkExpired("a log-in page came instead of the file: the link is over")
    # without a name its content decides what it is called, and a page without a log-in is one
    extension = declared or next((e for e in HTML.extensions if e in rules.extensions), "html")
    if extension not in rules.extensions:
        raise NotAllowed(f"files of type .{extension} are not taken in")
    return Content(HTML.content_type, extension)


def _ending(name: str) -> str:
    """Return a name's ending when it can be an extension: short, and not a mere number."""
    found = _ENDING.search(name)
    if found is None or found[1].isdigit():
        return ""
    return found[1].lower()


def _kind_of_header(header: str | None) -> Kind | None:
    return BY_CONTENT_TYPE.get((header or "").split(";", 1)[0].strip().lower())
