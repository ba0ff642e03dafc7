"""Which request fails, and how: rules with a share or a count, the same for the same seed."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SERVICES = frozenset({"api", "media", "kusto", "onelake", "identity"})
STATUS_KINDS: Mapping[str, int] = {
    "throttle": 429,
    "error": 500,
    "unavailable": 503,
    "gateway": 502,
    "timeout": 408,
    "unauthorized": 401,
    "forbidden": 403,
    "missing": 404,
    "gone": 410,
    "full": 507,
}
BODY_KINDS = frozenset({"reset", "slow", "trickle", "cut", "login", "html", "empty"})
# the request is carried out and its client never learns it: an error, or no answer at all
DONE_KINDS: Mapping[str, int] = {"done_error": 500, "done_reset": 200}
KUSTO_KINDS = frozenset({"completion", "rows", "frame"})
KINDS = frozenset(STATUS_KINDS) | BODY_KINDS | frozenset(DONE_KINDS) | KUSTO_KINDS
_MAX_KEYS = 500_000


class BadFault(ValueError):
    """A fault that cannot be carried out; the message names the field and what it may be."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One rule.

    It hits requests to *where* whose path matches *path* (a regular expression, searched).
    *share* in [0, 1] of them, chosen by the seed, the path and how often that path was asked, so
    that the order in which requests come does not matter; *count* bounds the hits in all
    (0: no bound), *each* the hits for one path (0: no bound). With *every* it only acts for the
    first *during* seconds of each *every* seconds since the rule was set: a burst.
    *seconds* is the delay of ``slow``/``trickle`` and the Retry-After of ``throttle``; *status*
    replaces the kind's own.
    """

    where: str
    kind: str
    share: float = 1.0
    count: int = 0
    each: int = 0
    path: str = ""
    seconds: float = 1.0
    status: int = 0
    every: float = 0.0
    during: float = 0.0

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Fault:
        """Check and build; raises `BadFault`."""
        unknown = set(value) - set(cls.__dataclass_fields__)
        if unknown:
            raise BadFault(
                f"unknown field {sorted(unknown)}; known: {sorted(cls.__dataclass_fields__)}"
            )
        where, kind = str(value.get("where", "")), str(value.get("kind", ""))
        if where not in SERVICES:
            raise BadFault(f"where={where!r} must be one of {sorted(SERVICES)}")
        if kind not in KINDS or (kind in KUSTO_KINDS and where != "kusto"):
            raise BadFault(f"kind={kind!r} of {where} must be one of {sorted(KINDS)}")
        try:
            numbers: dict[str, Any] = {
                name: type_(value[name])
                for name, type_ in (
                    ("share", float),
                    ("count", int),
                    ("each", int),
                    ("seconds", float),
                    ("status", int),
                    ("every", float),
                    ("during", float),
                )
                if name in value
            }
            re.compile(str(value.get("path", "")))
        except (TypeError, ValueError, re.error) as error:
            raise BadFault(f"{dict(value)}: {error}") from None
        if any(number < 0 for number in numbers.values()) or numbers.get("share", 1) > 1:
            raise BadFault(f"{dict(value)}: numbers are not negative, share is at most 1")
        own = STATUS_KINDS.get(kind) or DONE_KINDS.get(kind, 200)
        numbers["status"] = numbers.get("status") or own
        return cls(where=where, kind=kind, path=str(value.get("path", "")), **numbers)


def typical() -> tuple[Fault, ...]:
    """
    Return a bad day that everything can recover from.

    A path is spoiled once or twice at most, bursts are shorter than a back-off: with the default
    four retries nothing dies of it.
    """
    rules: list[dict[str, Any]] = [
        {"where": "api", "kind": "error", "share": 0.02, "each": 1},
        {"where": "api", "kind": "throttle", "share": 0.02, "each": 1},
        {"where": "api", "kind": "reset", "share": 0.005, "each": 1},
        {"where": "api", "kind": "cut", "share": 0.005, "each": 1},
        {"where": "api", "kind": "html", "share": 0.003, "each": 1},
        {"where": "api", "kind": "slow", "share": 0.01, "seconds": 0.5, "each": 1},
        {"where": "api", "kind": "unavailable", "share": 0.5, "every": 20, "during": 0.3},
        {"where": "media", "kind": "error", "share": 0.015, "each": 1},
        {"where": "media", "kind": "throttle", "share": 0.01, "each": 1},
        {"where": "media", "kind": "cut", "share": 0.015, "each": 1},
        {"where": "media", "kind": "reset", "share": 0.01, "each": 1},
        {"where": "media", "kind": "trickle", "share": 0.01, "seconds": 0.5, "each": 1},
        {"where": "media", "kind": "login", "share": 0.005, "each": 1},
        {"where": "kusto", "kind": "throttle", "share": 0.04},
        {"where": "kusto", "kind": "error", "share": 0.03},
        {"where": "kusto", "kind": "completion", "share": 0.03},
        {"where": "kusto", "kind": "cut", "share": 0.02},
        {"where": "onelake", "kind": "error", "share": 0.005, "each": 1, "path": "/Files/"},
        {"where": "onelake", "kind": "reset", "share": 0.003, "each": 1, "path": "/Files/"},
        {"where": "onelake", "kind": "unavailable", "share": 0.005, "each": 1, "path": "/Files/"},
    ]
    return tuple(Fault.parse(rule) for rule in rules)


@dataclass(slots=True)
class _Rule:
    fault: Fault
    pattern: re.Pattern[str]
    number: int
    since: float
    hits: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)


class FaultPlan:
    """The rules in force; `choose` is asked once a request, in the rules' order."""

    def __init__(self, seed: int, faults: Iterable[Fault] = (), since: float = 0.0) -> None:
        self._seed = seed
        self._rules: list[_Rule] = []
        self._numbers = 0
        for fault in faults:
            self.add(fault, since)

    def add(self, fault: Fault, since: float) -> None:
        """Put a rule behind the others; *since* starts its bursts."""
        self._rules.append(_Rule(fault, re.compile(fault.path), self._numbers, since))
        self._numbers += 1

    def clear(self) -> None:
        """Drop all rules."""
        self._rules.clear()

    def choose(self, where: str, path: str, now: float) -> Fault | None:
        """Return the fault for this request, or None."""
        for rule in self._rules:
            fault = rule.fault
            if fault.where != where or not rule.pattern.search(path):
                continue
            if fault.count and rule.hits >= fault.count:
                continue
            if fault.every and (now - rule.since) % fault.every >= fault.during:
                continue
            if fault.each and rule.hit[path] >= fault.each:
                continue
            if len(rule.asked) > _MAX_KEYS:
                rule.asked.clear()
            rule.asked[path] += 1
            if self._draw(rule, path) < fault.share:
                rule.hits += 1
                rule.hit[path] += 1
                return fault
        return None

    def _draw(self, rule: _Rule, path: str) -> float:
        if rule.fault.share >= 1:
            return 0.0
        text = f"{self._seed}|{rule.number}|{path}|{rule.asked[path]}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rules with their hits."""
        return [{**asdict(rule.fault), "hits": rule.hits} for rule in self._rules]
