"""`claimx.domain.ports.gates.Gates` in one process, on a clock of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from math import ceil, floor
from typing import Any

from claimx.domain.circuit import (
    AUTH,
    AUTH_SETTINGS,
    CircuitBreaker,
    CircuitSettings,
    CircuitState,
)
from claimx.domain.errors import Unavailable
from claimx.domain.times import seconds_left

SLOT_SECONDS = 12.0
_WAITING_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 0.5


class MemoryCircuit:
    """One circuit on the gates' clock; closed while they are *away*."""

    def __init__(
        self, breaker: CircuitBreaker, now: Callable[[], float], away: Callable[[], bool]
    ) -> None:
        self._breaker = breaker
        self._now = now
        self._away = away

    def permit(self, count: int) -> tuple[int, float]:
        """Return (how many calls may start, seconds until asking again)."""
        return (count, 0.0) if self._away() else self._breaker.permit(count, self._now())

    def report(self, successes: int, failures: int) -> None:
        """Report outcomes."""
        if not self._away():
            self._breaker.report(successes, failures, self._now())

    def give_back(self, count: int) -> None:
        """Hand back permits whose calls said nothing either way."""
        if not self._away():
            self._breaker.give_back(count)


class MemoryGates:
    """
    All gates in memory; *now* is a clock in seconds.

    Stands for the store: two "processes" of a test share one instance. While *away* is set, it does
    not answer, and forgets nothing.
    """

    def __init__(
        self,
        now: Callable[[], float],
        circuit: CircuitSettings | None = None,
        *,
        circuits: Mapping[str, CircuitSettings] | None = None,
    ) -> None:
        self._now = now
        self.away = False
        self._default = circuit or CircuitSettings()
        self._settings = {AUTH: AUTH_SETTINGS, **(circuits or {})}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._slots: dict[str, dict[str, tuple[str, float]]] = {}
        self._waiting: dict[str, dict[str, float]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}
        self._locks: dict[str, tuple[str, int, float]] = {}
        self._projects: dict[str, tuple[float, str | None]] = {}
        self._processes: dict[tuple[str, str], tuple[float, dict[str, str]]] = {}
        self._notes: dict[str, tuple[float, dict[str, str]]] = {}
        self._serial = count(1)

    # circuits
    def circuit(self, name: str) -> MemoryCircuit:
        """Return the circuit of that name."""
        settings = self._settings.get(name, self._default)
        breaker = self._breakers.setdefault(name, CircuitBreaker(settings))
        return MemoryCircuit(breaker, self._now, lambda: self.away)

    def circuits(self) -> dict[str, dict[str, Any]]:
        """Return every circuit that has failures or is not closed."""
        if self.away:
            return {}
        now = self._now()
        return {
            name: {
                "state": breaker.state(now).value,
                "failures": breaker.failures,
                "open_for_seconds": seconds_left(breaker.open_until, now, breaker.lasts),
            }
            for name, breaker in sorted(self._breakers.items())
            if breaker.failures or breaker.state(now) is not CircuitState.CLOSED
        }

    # slots
    def take_slots(self, name: str, wanted: int, limit: int, holder: str) -> list[str]:
        """Lease up to *wanted* slots; while others wait for one, no holder gets above its share."""
        if wanted <= 0 or self.away:
            return []
        held, waiting, share, cap = self._shares(name, limit, holder)
        mine = sum(1 for owner, _ in held.values() if owner == holder)
        granted = max(0, min(wanted, limit - len(held), cap - mine))
        until = self._now() + SLOT_SECONDS
        tokens = [f"{holder}/{next(self._serial)}" for _ in range(granted)]
        held.update(dict.fromkeys(tokens, (holder, until)))
        if granted < wanted and mine + granted < share:
            waiting[holder] = self._now() + _WAITING_SECONDS
        else:
            waiting.pop(holder, None)
        return tokens

    def fair_share(self, name: str, limit: int, holder: str) -> int:
        """Return how many slots *holder* may keep: all of *limit* unless others wait."""
        return limit if self.away else self._shares(name, limit, holder)[3]

    def renew_slots(self, name: str, slots: Sequence[str]) -> list[str]:
        """Extend slots; returns those still held."""
        if self.away:
            return []
        held = self._live_slots(name)
        kept = [token for token in slots if token in held]
        until = self._now() + SLOT_SECONDS
        held.update({token: (held[token][0], until) for token in kept})
        return kept

    def free_slots(self, name: str, slots: Sequence[str]) -> None:
        """Give slots back."""
        for token in slots:
            self._slots.get(name, {}).pop(token, None)

    def take_tokens(self, name: str, wanted: int, per_second: float) -> tuple[int, float]:
        """Take tokens of a bucket that holds a tenth of a second's worth."""
        if per_second <= 0:
            return wanted, 0.0
        if self.away:
            return 0, _ASK_AGAIN_SECONDS
        now, capacity = self._now(), max(1.0, per_second / 10)
        tokens, at = self._buckets.get(name, (capacity, now))
        tokens = min(capacity, tokens + (now - at) * per_second)
        got = min(wanted, floor(tokens + 1e-9))
        tokens = max(0.0, tokens - got)
        self._buckets[name] = (tokens, now)
        return got, 0.0 if got == wanted else max(0.0, 1 - tokens) / per_second

    # locks
    def lock(self, name: str, holder: str, seconds: float) -> int | None:
        """Take or extend a lease."""
        if self.away:
            raise Unavailable(f"the gates do not say whose the lease {name} is")
        now = self._now()
        owner, fence, until = self._locks.get(name, ("", 0, 0.0))
        if now < until:
            if owner != holder:
                if not seconds_left(until, now, seconds):  # the clock was set back
                    self._locks[name] = (owner, fence, now + seconds)
                return None
        else:
            fence += 1
        self._locks[name] = (holder, fence, now + seconds)
        return fence

    def unlock(self, name: str, holder: str) -> None:
        """Give a lease back if it is still this holder's; its number is remembered."""
        owner, fence, _ = self._locks.get(name, ("", 0, 0.0))
        if owner == holder and not self.away:
            self._locks[name] = ("", fence, 0.0)

    # freshness
    def known_projects(self, project_ids: Sequence[str]) -> dict[str, str | None]:
        """Return those that are fresh."""
        if self.away:
            return {}
        now = self._now()
        noted = ((item, self._projects.get(item, (0.0, None))) for item in project_ids)
        return {item: name for item, (until, name) in noted if until > now}

    def mark_known(self, names: Mapping[str, str | None], seconds: float) -> None:
        """Remember projects for *seconds*."""
        if self.away:
            return
        until = self._now() + seconds
        self._projects.update({item: (until, name) for item, name in names.items()})

    # processes
    def beat(self, role: str, name: str, info: Mapping[str, str], seconds: float) -> None:
        """Announce a process."""
        if self.away:
            return
        document = {**info, "role": role, "name": name}
        self._processes[role, name] = (self._now() + seconds, document)

    def processes(self) -> list[dict[str, str]]:
        """Return the announced processes by role and name."""
        if self.away:
            return []
        now = self._now()
        return [info for _, (until, info) in sorted(self._processes.items()) if until > now]

    # notes
    def put_note(self, topic: str, name: str, text: str, seconds: float) -> None:
        """Keep a text under its topic and name."""
        if not self.away:
            kept = self.notes(topic) | {name: text}
            self._notes[topic] = (self._now() + seconds, kept)

    def drop_notes(self, topic: str, names: Iterable[str]) -> None:
        """Drop notes."""
        for name in () if self.away else names:
            self._notes.get(topic, (0.0, {}))[1].pop(name, None)

    def notes(self, topic: str) -> dict[str, str]:
        """Return the notes of a topic by name."""
        until, kept = self._notes.get(topic, (0.0, {}))
        return dict(kept) if until > self._now() and not self.away else {}

    # inside
    def _live_slots(self, name: str) -> dict[str, tuple[str, float]]:
        now = self._now()
        held = self._slots.setdefault(name, {})
        for token in [token for token, (_, until) in held.items() if until <= now]:
            del held[token]
        return held

    def _shares(
        self, name: str, limit: int, holder: str
    ) -> tuple[dict[str, tuple[str, float]], dict[str, float], int, int]:
        """Return (slots held, who waits until when, an even share, what *holder* may have now)."""
        now, held = self._now(), self._live_slots(name)
        waiting = self._waiting.setdefault(name, {})
        for other in [other for other, until in waiting.items() if until <= now]:
            del waiting[other]
        parties = {holder, *waiting, *(owner for owner, _ in held.values())}
        share = ceil(limit / len(parties))
        hungry = any(other != holder for other in waiting)
        return held, waiting, share, share if hungry else limit
