"""How a long run that cannot go on ends itself, from wherever in it that is noticed."""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeVar

Ending = TypeVar("Ending", bound=StrEnum)


class Stopped(Exception, Generic[Ending]):
    """It cannot go on, and why; what was done stays."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending
