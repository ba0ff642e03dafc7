"""`claimx.domain.ports.gates.Gates` over Redis."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis
import structlog

from claimx.adapters.gates.asking import AWAY_SECONDS, Asking, ms, text_of
from claimx.adapters.gates.circuit import RedisCircuit
from claimx.domain.circuit import AUTH, AUTH_SETTINGS, CircuitSettings, CircuitState
from claimx.domain.errors import Unavailable

log = structlog.get_logger(__name__)

SLOT_SECONDS = 12.0  # a killed worker's slots are free after this (at most 60 s: domain page, 6)
_WAITING_SECONDS = 1.0  # how long a process that found no slot counts as waiting for one
_AWAY = object()  # an answer that no script gives
_MOST_OWED = 5000
_CHUNK = 500
_NAMELESS, _NAMED = "1", "="  # of a known project; its name follows the second
_STATES = (CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN)


class RedisGates:
    """
    Circuits, slots, tokens, locks and announcements, each step atomic and on Redis's clock.

    *client* must answer or fail quickly (time-outs of half a second and no retries); it need not
    decode. When Redis does not answer, circuits are closed and projects unknown, but slots and
    tokens are not given, because they would promise what nobody can keep, and locks raise.
    After a failure Redis is left alone for half a second, so that an outage costs microseconds; but
    a lease is given back even then.
    *circuit* is for every circuit that *circuits* does not name; ``auth`` has its own.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: str = "claimx:",
        circuit: CircuitSettings | None = None,
        *,
        circuits: Mapping[str, CircuitSettings] | None = None,
        fresh_seconds: float = 0.25,
    ) -> None:
        self._client = client
        self._prefix = f"{prefix}gate:"
        self._default = circuit or CircuitSettings()
        self._settings = {AUTH: AUTH_SETTINGS, **(circuits or {})}
        self._fresh = fresh_seconds
        self._asking = Asking(client)
        self._ask = self._asking.script
        self._try = self._asking.attempt
        self._circuits: dict[str, RedisCircuit] = {}
        self._owed: dict[str, set[str]] = {}  # slots to give back, by gate

    # circuits
    def circuit(self, name: str) -> RedisCircuit:
        """Return the circuit, one object a name for this process."""
        found = self._circuits.get(name)
        if found is None:
            found = self._circuits[name] = RedisCircuit(
                name,
                (self._key("circuit", name), self._key("circuits")),
                self._ask,
                self._settings.get(name, self._default),
                self._fresh,
            )
        return found

    def circuits(self) -> dict[str, dict[str, Any]]:
        """Return every circuit that has failures or is not closed."""
        names = self._try(lambda: self._client.smembers(self._key("circuits")), set())
        found = {}
        for name in sorted(text_of(item) for item in names):
            answer = self._ask(
                "state", (self._key("circuit", name), self._key("circuits")), (name,)
            )
            if answer is None:
                continue
            state, failures, wait = (int(part) for part in answer)
            if state or failures:
                found[name] = {
                    "state": _STATES[state].value,
                    "failures": failures,
                    "open_for_seconds": wait / 1000,
                }
        return found

    # slots
    def take_slots(self, name: str, wanted: int, limit: int, holder: str) -> list[str]:
        """Lease up to *wanted* slots; while others wait for one, no holder gets above its share."""
        if wanted <= 0 or not self._return_owed(name):
            return []
        batch = secrets.token_hex(6)
        tokens = self._ask(
            "take_slots",
            self._slot_keys(name),
            (limit, holder, wanted, ms(SLOT_SECONDS), batch, ms(_WAITING_SECONDS)),
        )
        if tokens is None:  # Redis may have given them, and only the answer was lost
            self._owe(name, [f"{holder}/{batch}.{number + 1}" for number in range(wanted)])
        return [text_of(token) for token in tokens or ()]

    def fair_share(self, name: str, limit: int, holder: str) -> int:
        """Return how many slots *holder* may keep: all of *limit* unless others wait."""
        share = self._ask("fair_share", self._slot_keys(name), (limit, holder))
        return limit if share is None else int(share)

    def renew_slots(self, name: str, slots: Sequence[str]) -> list[str]:
        """Extend slots; those it cannot vouch for are left out."""
        if not slots:
            return []
        kept = self._ask("renew_slots", self._slot_keys(name)[:1], (ms(SLOT_SECONDS), *slots))
        return [text_of(token) for token in kept or ()]

    def free_slots(self, name: str, slots: Sequence[str]) -> None:
        """Give slots back; while Redis is away they are owed, and given back before new ones."""
        if slots:
            self._owe(name, slots)
            self._return_owed(name)

    def _owe(self, name: str, slots: Sequence[str]) -> None:
        owed = self._owed.setdefault(name, set())
        owed.update(slots)
        while len(owed) > _MOST_OWED:  # their leases end by themselves
            owed.pop()

    def _return_owed(self, name: str) -> bool:
        """Give back what is owed; False when Redis does not take it."""
        owed = list(self._owed.get(name, ()))
        if not owed:
            return True
        answer = self._try(lambda: self._client.zrem(self._slot_keys(name)[0], *owed), None)
        if answer is None:
            return False
        self._owed[name].difference_update(owed)
        return True

    def take_tokens(self, name: str, wanted: int, per_second: float) -> tuple[int, float]:
        """Take tokens; the bucket holds a tenth of a second's worth, so no second sees a burst."""
        if per_second <= 0:
            return wanted, 0.0
        capacity = max(1.0, per_second / 10)
        answer = self._ask(
            "take_tokens", (self._key("tokens", name),), (wanted, per_second, capacity)
        )
        if answer is None:
            return 0, AWAY_SECONDS
        got, wait = (int(part) for part in answer)
        return got, wait / 1000

    # locks
    def lock(self, name: str, holder: str, seconds: float) -> int | None:
        """Take or extend a lease; None when another holds it."""
        keys = (self._key("lock", name), self._key("fence", name))
        fence = self._ask("lock", keys, (holder, ms(seconds)), _AWAY)
        if fence is _AWAY:
            raise Unavailable(
                f"Redis does not say whose the lease {name} is: {self._asking.why_away}"
            )
        return None if fence is None else int(fence)

    def unlock(self, name: str, holder: str) -> None:
        """Give a lease back if it is still this holder's, whatever failed a moment ago."""
        # some are for ten minutes, in which nobody else would do the work
        self._asking.ask_again()
        self._ask("unlock", (self._key("lock", name),), (holder,))

    # freshness
    def known_projects(self, project_ids: Sequence[str]) -> dict[str, str | None]:
        """Return those that are fresh; none without Redis, so that they are asked for again."""
        known: dict[str, str | None] = {}
        for start in range(0, len(project_ids), _CHUNK):
            chunk = project_ids[start : start + _CHUNK]
            keys = [self._key("project", project_id) for project_id in chunk]
            values = self._try(lambda keys=keys: self._client.mget(keys), [])  # type: ignore[misc]  # a lambda with a default
            for project_id, value in zip(chunk, values, strict=False):
                if value:
                    told = text_of(value)
                    known[project_id] = told[1:] if told.startswith(_NAMED) else None
        return known

    def mark_known(self, names: Mapping[str, str | None], seconds: float) -> None:
        """Remember projects for *seconds*; zero or less remembers nothing."""
        ids = list(names)
        if seconds <= 0:
            return
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            keys = [self._key("project", project_id) for project_id in chunk]
            told = [_NAMELESS if one is None else _NAMED + one for one in map(names.get, chunk)]
            self._ask("mark_known", keys, (ms(seconds), *told))

    # processes
    def beat(self, role: str, name: str, info: Mapping[str, str], seconds: float) -> None:
        """Announce a process until *seconds* from now."""
        document = json.dumps({**info, "role": role, "name": name})
        self._ask("beat", self._process_keys(), (f"{role} {name}", document, ms(seconds)))

    def processes(self) -> list[dict[str, str]]:
        """Return the announced processes by role and name."""
        documents = self._ask("processes", self._process_keys(), ()) or ()
        found: list[dict[str, str]] = [json.loads(document) for document in documents]
        return sorted(found, key=lambda info: (info["role"], info["name"]))

    # notes
    def put_note(self, topic: str, name: str, text: str, seconds: float) -> None:
        """Keep a text under its topic and name."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(self._key("notes", topic), name, text)
        pipe.pexpire(self._key("notes", topic), ms(seconds))
        self._try(pipe.execute, None)

    def drop_notes(self, topic: str, names: Iterable[str]) -> None:
        """Drop notes."""
        if gone := list(names):
            self._try(lambda: self._client.hdel(self._key("notes", topic), *gone), None)

    def notes(self, topic: str) -> dict[str, str]:
        """Return the notes of a topic by name; none without Redis."""
        found = self._try(lambda: self._client.hgetall(self._key("notes", topic)), {})
        return {text_of(name): text_of(text) for name, text in found.items()}

    # inside
    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _slot_keys(self, name: str) -> tuple[str, str]:
        return self._key("slots", name), self._key("waiting", name)

    def _process_keys(self) -> tuple[str, str]:
        return self._key("processes"), self._key("processes", "ends")
