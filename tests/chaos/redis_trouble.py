"""A Redis that goes away, comes back older or empty, or takes no writes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ends import End, over
from recovery import Recoveries, work_moves
from redis_server import RedisServer


class RedisTrouble:
    """Trouble for *server*; how long the work then takes to move on is a recovery of its own."""

    def __init__(self, server: RedisServer, recoveries: Recoveries) -> None:
        self._server = server
        self._recoveries = recoveries

    def begin(self, kind: str, rng: Random) -> End | None:
        """Do *kind*; None when there is no copy to put back."""
        server = self._server
        if kind == "redis copied":
            server.copy()
            return over
        self._recoveries.taint()
        match kind:
            case "redis connections cut":
                server.cut_connections()
            case "redis killed":
                server.kill()
                return lambda: self._back(server.start)
            case "redis frozen":
                server.freeze()
                return lambda: self._back(server.thaw)
            case "redis refuses writes":
                server.refuse_writes()
                return lambda: self._back(server.accept_writes)
            case "redis put back":
                copies = server.copies()
                if not copies:
                    return None
                self._back(lambda: server.put_back(rng.choice(copies)))
            case "redis emptied":
                self._back(server.empty)
        return over

    def _back(self, act: Callable[[], None]) -> None:
        act()
        self._recoveries.taint()
        self._recoveries.watch("redis", work_moves(self._server.client))
