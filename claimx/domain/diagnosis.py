"""What is wrong with something an operator looks after, and what that operator does about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of *subject*: what is wrong, why it matters, what to do."""

    subject: str
    wrong: str
    why: str
    remedy: str

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.subject} {self.wrong}: {self.why}; {self.remedy}"
