"""What names a call that readmits, so that a ledger knows one that it has carried out."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from claimx.domain.records import NewRecord


def call_of(fence: int, records: Iterable[NewRecord]) -> str:
    """
    Return what names a call that readmits these: the same only when it is told once more.

    Each look at what is missing gives the records that it found traces of their own.
    """
    told = "\n".join([str(fence), *(f"{new.id} {new.trace}" for new in records)])
    return sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
