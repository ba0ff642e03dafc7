"""A request as the sandbox's services see it, and what they answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from tornado.httputil import HTTPHeaders, HTTPServerRequest

LOG_IN_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>"
    b'<form action="/login" method="post"><input name="username">'
    b'<input type="password" name="password"><button>Sign in</button></form></body></html>\n'
)


@dataclass(slots=True)
class Answer:
    """What a service answers; *headers* beside length and type, *body* None for an empty one."""

    status: int = 200
    body: bytes = b""
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


class LowerCaseHeaders(HTTPHeaders):
    """Headers sent in lower case: tornado's own spelling would change the names of metadata."""

    def get_all(self) -> Iterable[tuple[str, str]]:
        """Return name and value of each header."""
        return [(name.lower(), value) for name, value in super().get_all()]


class Exchange:
    """One request: its parts decoded, and the raw connection for answers that go wrong."""

    __slots__ = ("body", "headers", "method", "path", "query", "raw", "raw_path")

    def __init__(self, raw: HTTPServerRequest) -> None:
        self.raw = raw
        self.method = raw.method or "GET"
        self.raw_path = raw.path
        self.path = unquote(raw.path)
        self.query = dict(parse_qsl(raw.query, keep_blank_values=True))
        self.headers = raw.headers
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
