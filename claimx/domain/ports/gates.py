"""
Shared gates, asked at every step of the work: a store that is away must not stop it.

Each then answers within milliseconds: circuits are closed, nothing scarce is given, nothing is
known. `Gates.lock` alone raises, because whoever holds a lease goes on for other reasons than
whoever has lost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol


class Circuit(Protocol):
    """
    One dependency's circuit, shared by all processes (domain page, section 2).

    Only outcomes are reported; nothing is ever called through it.
    """

    def permit(self, count: int) -> tuple[int, float]:
        """
        Return (how many calls may start now, seconds until asking again is useful).

        Closed: all of them. Open: none, and the rest of the open time. Half-open: the trial
        calls that are left.
        """

    def report(self, successes: int, failures: int) -> None:
        """Report outcomes since the last report, in the order successes, then failures."""

    def give_back(self, count: int) -> None:
        """Hand back trial permits whose calls said nothing either way (a 404, a cancelled call)."""


class Gates(Protocol):
    """Circuits and the other things that all processes share."""

    def circuit(self, name: str) -> Circuit:
        """
        Return the circuit ``api``, ``onelake``, ``kusto`` or ``media:<host>``.

        ``auth`` is the door that a 401 shuts for everybody until a probe's token is accepted.
        """

    def circuits(self) -> dict[str, dict[str, Any]]:
        """Return every circuit that is not plainly closed: state, failures, open_for_seconds."""

    def take_slots(self, name: str, wanted: int, limit: int, holder: str) -> list[str]:
        """Lease up to *wanted* of *limit* concurrency slots for 12 s; returns slot tokens."""

    def fair_share(self, name: str, limit: int, holder: str) -> int:
        """Return how many slots *holder* may keep: all of *limit* unless others wait for some."""

    def renew_slots(self, name: str, slots: Sequence[str]) -> list[str]:
        """Extend slots by 12 s; returns those still held."""

    def free_slots(self, name: str, slots: Sequence[str]) -> None:
        """Give slots back."""

    def take_tokens(self, name: str, wanted: int, per_second: float) -> tuple[int, float]:
        """Take from a shared token bucket; returns (tokens got, seconds until the next)."""

    def lock(self, name: str, holder: str, seconds: float) -> int | None:
        """
        Take or extend a lease; returns its fencing number, greater each time it is taken.

        None while another holds it. Whoever takes it takes it for as long: where it is to last
        longer, the clock was set back, and it is cut to that. Raises Unavailable when the store is
        away: whose it is cannot be told then, and it may be given all the same, if only the answer
        was lost.
        """

    def unlock(self, name: str, holder: str) -> None:
        """Give a lease back if it is still this holder's; without the store it ends by itself."""

    def known_projects(self, project_ids: Sequence[str]) -> dict[str, str | None]:
        """
        Return those whose row was committed from an answer within the fresh time.

        With each its name, None for one of which none was said.
        """

    def mark_known(self, names: Mapping[str, str | None], seconds: float) -> None:
        """Say that the rows of these projects, by id, are committed and fresh for *seconds*."""

    def beat(self, role: str, name: str, info: Mapping[str, str], seconds: float) -> None:
        """Announce a process (role, host:pid, health address ...) for *seconds*."""

    def processes(self) -> list[dict[str, str]]:
        """Return the announced processes."""

    def put_note(self, topic: str, name: str, text: str, seconds: float) -> None:
        """
        Keep a short text for whoever asks about *topic*, instead of an earlier one of that *name*.

        All notes of a topic go *seconds* after the last of them was put. For what is harmless to
        lose: without the store nothing is kept, and nothing is raised.
        """

    def drop_notes(self, topic: str, names: Iterable[str]) -> None:
        """Drop notes; those that are not there are none."""

    def notes(self, topic: str) -> dict[str, str]:
        """Return the notes of a topic by name; none when the store is away."""
