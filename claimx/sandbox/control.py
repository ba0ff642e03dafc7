"""The sandbox's own port: faults, statistics, progress, the truth, the accepted token."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import orjson

from claimx.sandbox.api import ClaimXApi
from claimx.sandbox.exchange import Answer, Exchange, json_answer
from claimx.sandbox.faults import BadFault, Fault, FaultPlan, typical
from claimx.sandbox.http import Service
from claimx.sandbox.truth import as_json
from claimx.sandbox.world import World


class Control(Service):
    """
    Serves ``/sandbox/*``.

    ``GET stats``, ``progress``, ``truth``, ``environment``, ``faults``; ``POST faults`` takes one
    fault, a list, or ``"typical"``, and adds it (``{"replace": true, "faults": [...]}`` drops the
    others); ``DELETE faults`` drops all; ``POST token`` changes the token that the API accepts;
    ``POST release`` shows the rows that a world with a head holds back.
    """

    name: ClassVar[str] = "control"

    def __init__(
        self,
        world: World,
        plan: FaultPlan,
        api: ClaimXApi,
        services: Callable[[], dict[str, Service]],
        environment: Callable[[], dict[str, str]],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(None)
        self._world = world
        self._plan = plan
        self._api = api
        self._services = services
        self._environment = environment
        self._release = release
        self._started = time.time()
        self._visible = [row.visible_at for row in world.rows]

    async def answer(self, exchange: Exchange) -> Answer | None:  # noqa: PLR0911 - one a route
        """Route."""
        match exchange.method, exchange.path.rstrip("/").removeprefix("/sandbox/"):
            case "GET", "stats":
                return json_answer(self.statistics())
            case "GET", "progress":
                return json_answer(self.progress())
            case "GET", "environment":
                return json_answer(self._environment())
            case "GET", "truth":
                body = orjson.dumps(as_json(self._world.truth), default=str)
                return Answer(200, body)
            case "GET", "faults":
                return json_answer(self._plan.as_json())
            case "DELETE", "faults":
                self._plan.clear()
                return json_answer([])
            case "POST", "faults":
                return self._add(exchange)
            case "POST", "token":
                return self._token(exchange)
            case "POST", "release":
                await self._release()
                return json_answer({"ok": True})
            case _:
                return json_answer({"error": f"no {exchange.method} {exchange.path} here"}, 404)

    def _add(self, exchange: Exchange) -> Answer:
        try:
            wanted = exchange.json()
            replace = False
            if isinstance(wanted, dict) and "faults" in wanted:
                replace, wanted = bool(wanted.get("replace")), wanted["faults"]
            faults = parse_faults(wanted)
        except ValueError as error:
            return json_answer({"error": str(error)}, 400)
        if replace:
            self._plan.clear()
        for fault in faults:
            self._plan.add(fault, time.monotonic())
        return json_answer(self._plan.as_json())

    def _token(self, exchange: Exchange) -> Answer:
        try:
            self._api.token = str(exchange.json()["token"])
        except (ValueError, KeyError, TypeError):
            return json_answer({"error": 'send {"token": "..."}'}, 400)
        return json_answer({"ok": True})

    def progress(self) -> dict[str, Any]:
        """Return how many source rows can be seen by now, of how many."""
        now = time.time()
        released = sum(1 for moment in self._visible if moment <= now)
        return {
            "released": released,
            "rows": len(self._visible),
            "done": released == len(self._visible),
            "first_visible": self._world.first_visible,
            "last_visible": self._world.last_visible,
        }

    def statistics(self) -> dict[str, Any]:
        """Return what every service has seen since the start."""
        services = {
            name: service.traffic.as_json()
            for name, service in self._services().items()
            if service is not self
        }
        return {"seconds": round(time.time() - self._started, 3), "services": services}


def parse_faults(wanted: Any) -> list[Fault]:
    """Build faults from JSON: one, a list, or ``"typical"``; raises `BadFault`."""
    if wanted == "typical":
        return list(typical())
    if isinstance(wanted, dict):
        wanted = [wanted]
    if not isinstance(wanted, list):
        raise BadFault('faults are an object, a list of objects, or "typical"')
    faults: list[Fault] = []
    for one in wanted:
        if one == "typical":
            faults.extend(typical())
        elif isinstance(one, dict):
            faults.append(Fault.parse(one))
        else:
            raise BadFault(f"{one!r} is no fault")
    return faults
