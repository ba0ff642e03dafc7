"""A request as the sandbox's services see it, and what they answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import responses
from typing import Any
from urllib.parse import unquote, unquote_plus

import orjson

from claimx.sandbox.connection import Request

BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body."""
LOG_IN_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>"
    b'<form action="/login" method="post"><input name="username">'
    b'<input type="password" name="password"><button>Sign in</button></form></body></html>\n'
)


@dataclass(slots=True)
class Answer:
    """What a service answers; *headers* beside length and type, *body* None for an empty one."""

    status: int = 200
    body: bytes | memoryview = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    """The Content-Length to tell where it is not the body's (an answer to HEAD)."""


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Encode *value* as JSON."""
    return Answer(status, orjson.dumps(value), headers=headers or {})


def log_in_page(status: int = 200) -> Answer:
    """Return the page that an expired session gets."""
    return Answer(status, LOG_IN_PAGE, "text/html; charset=utf-8")


def head_of(answer: Answer, request: Request) -> bytes:
    """Return the status line and headers; raises ValueError for what no header can carry."""
    status = answer.status
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Status')}"]
    if status not in BODILESS:
        length = len(answer.body) if answer.length is None else answer.length
        lines.append(f"content-length: {length}\r\ncontent-type: {answer.content_type}")
    for name, value in answer.headers.items():
        if "\r" in value or "\n" in value:
            msg = f"{name}: a header is one line"
            raise ValueError(msg)
        lines.append(f"{name.lower()}: {value}")
    if not request.keep_alive:
        lines.append("connection: close")
    elif b"connection" in request.headers:  # HTTP/1.0 asks for it and waits to be told
        lines.append("connection: keep-alive")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


def query_of(text: str) -> dict[str, str]:
    """Return what `urllib.parse.parse_qsl` does with blank values kept, at half of its cost."""
    pairs = (pair.partition("=") for pair in text.split("&") if pair)
    return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}


class Headers(Mapping[str, str]):
    """A request's headers, in whichever case they are asked for; told in lower case."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return self._raw[name.lower().encode("latin-1")].decode("latin-1").rstrip()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower().encode("latin-1") in self._raw

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def body_of(answer: Answer, exchange: Exchange) -> bytes | memoryview:
    """Return the body that is sent: of an answer to HEAD, and of some statuses, there is none."""
    return b"" if exchange.method == "HEAD" or answer.status in BODILESS else answer.body


class Exchange:
    """One request: its parts decoded, and the raw one for answers that go wrong."""

    __slots__ = ("body", "headers", "method", "path", "query", "raw")

    def __init__(self, raw: Request) -> None:
        self.raw = raw
        self.method = raw.method
        path, _, query = raw.target.decode("latin-1").partition("?")
        self.path = unquote(path)
        self.query = query_of(query) if query else {}
        self.headers = Headers(raw.headers)
        self.body = raw.body

    def json(self) -> Any:
        """Return the body's JSON; raises ValueError."""
        return orjson.loads(self.body)


@dataclass(slots=True)
class Traffic:
    """What a service has seen; *paths* by pattern, *highest* the most requests at one time."""

    requests: int = 0
    in_flight: int = 0
    highest: int = 0
    bytes_out: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    errors: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return plain values for the statistics."""
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.highest,
            "bytes_out": self.bytes_out,
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "paths": dict(self.paths.most_common(100)),
            "faults": dict(self.faults),
            "errors": self.errors,
        }
