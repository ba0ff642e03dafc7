"""What is wrong with something an operator looks after, and what that operator does about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of *area* (redis, lake, ...) and *subject*: what is wrong, why it matters, what to do."""

    area: str
    subject: str
    wrong: str
    why: str
    remedy: str
