"""Carrying out what the plan says: each kind of trouble has its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import redis
import requests
from ends import End, over
from fleet import Fleet
from hints import HintTrouble
from pipeline_rig import Rig
from plan import Trouble
from process_trouble import ProcessTrouble
from recovery import Recoveries
from redis_server import RedisServer
from redis_trouble import RedisTrouble
from server_trouble import ServerTrouble


class Troubles:
    """Does one trouble after the other; what must end later comes back as a callable."""

    def __init__(
        self,
        rig: Rig,
        fleet: Fleet,
        server: RedisServer,
        recoveries: Recoveries,
        caches: list[Path],
    ) -> None:
        self._hints = HintTrouble(server.client)
        self.processes = ProcessTrouble(rig, fleet, server.client, recoveries)
        self._redis = RedisTrouble(server, recoveries)
        self.servers = ServerTrouble(rig, caches)
        self.done: Counter[str] = Counter()

    @property
    def kills(self) -> int:
        """Return how many times a process was killed."""
        return self.processes.kills

    def begin(self, trouble: Trouble) -> End | None:
        """
        Carry out *trouble*; returns what ends it, None when it is over at once.

        One that finds nothing to spoil is not counted. Raises NoVictim as `ProcessTrouble.begin`.
        """
        try:
            found = self._way(trouble.kind)(trouble.kind, Random(trouble.chance))
        except (redis.RedisError, requests.RequestException):
            return None  # another trouble has taken away what this one needs
        if found is None:
            return None
        self.done[trouble.kind] += 1
        return found if trouble.seconds else None

    def close(self) -> None:
        """End the commands that still run."""
        self.processes.close()

    def _way(self, kind: str) -> Callable[[str, Random], End | None]:
        if kind == "maintenance":
            return self._maintain
        word = kind.split(maxsplit=1)[0]
        if word in {"kill", "stop", "freeze", "two", "requeue"}:
            return self.processes.begin
        if word == "redis":
            return self._redis.begin
        return self._hints.begin if word == "hints" else self.servers.begin

    def _maintain(self, _kind: str, rng: Random) -> End:
        self._hints.send("claimx.maintain", "maintenance", full=rng.random() < 0.5)
        return over
