"""Hints that come twice, late, in another order, never, or as nonsense."""

from __future__ import annotations

import contextlib
from random import Random
from typing import Any

import redis
from celery import Celery
from ends import End, over

QUEUES = ("poll", "ingest", "enrich", "download", "upload", "record", "control", "maintenance")
PATIENCE_SECONDS = 2.0
_AT_ONCE = 20
_KEPT = 500

NONSENSE = (
    b"no json at all",
    b"",
    b"[]",
    b"{}",
    b"\xff\xfe\x00",
    b'{"body": 5, "headers": {}, "properties": {}}',
    (
        b'{"body": "%%%", "content-encoding": "utf-8", "content-type": "application/json",'
        b' "headers": {"task": "claimx.enrich", "id": "x"}, "properties": {"delivery_tag": "1",'
        b' "delivery_info": {"exchange": "", "routing_key": "enrich"}, "body_encoding": "base64"}}'
    ),
)


class HintTrouble:
    """Plays with the broker's lists, as a broken broker or a careless person might."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        options = client.connection_pool.connection_kwargs
        url = f"redis://127.0.0.1:{options['port']}/0"
        self._app = Celery("chaos", broker=url, set_as_current=False)
        self._app.conf.task_default_exchange = ""
        # the run itself may have frozen the broker, and is the one to wake it again
        self._app.conf.broker_transport_options = {
            "socket_timeout": PATIENCE_SECONDS,
            "socket_connect_timeout": PATIENCE_SECONDS,
        }
        self._delayed: list[tuple[str, bytes]] = []

    def send(self, task: str, queue: str, *arguments: Any, **named: Any) -> None:
        """Send a well-formed message."""
        with contextlib.suppress(Exception):  # a broker that is away is another trouble's
            self._app.send_task(
                task, args=arguments, kwargs=named, queue=queue, retry=False, ignore_result=True
            )

    def begin(self, kind: str, rng: Random) -> End:
        """Do *kind* to whatever waits in the queues just now."""
        if kind == "hints malformed":
            self._malformed(rng)
            return over
        if kind == "hints delayed":  # what was seen long ago comes now; what waits is remembered
            for queue, item in rng.sample(self._delayed, min(_AT_ONCE, len(self._delayed))):
                self._client.lpush(queue, item)
        for queue, items in self._waiting():
            self._remember(queue, items)
            match kind:
                case "hints doubled":
                    self._client.lpush(queue, *items)
                case "hints lost":
                    self._client.ltrim(queue, len(items), -1)
                case "hints reordered":
                    rng.shuffle(items)
                    with self._client.pipeline() as pipe:
                        pipe.ltrim(queue, len(items), -1)
                        pipe.lpush(queue, *items)
                        pipe.execute()
        return over

    def _waiting(self) -> list[tuple[str, list[bytes]]]:
        found: list[tuple[str, list[bytes]]] = []
        queues = [*QUEUES, *self._of_nodes()]
        for queue in queues:
            items: Any = self._client.lrange(queue, 0, _AT_ONCE - 1)
            if items:
                found.append((queue, list(items)))
        return found

    def _of_nodes(self) -> list[str]:
        return [key.decode() for key in self._client.scan_iter("upload.*", count=1000)]

    def _remember(self, queue: str, items: list[bytes]) -> None:
        self._delayed = [*self._delayed, *((queue, item) for item in items)][-_KEPT:]

    def _malformed(self, rng: Random) -> None:
        for _ in range(rng.randrange(1, 5)):
            queue = rng.choice(QUEUES)
            self._client.lpush(queue, rng.choice(NONSENSE))
        stage = rng.choice(("ingest", "enrich", "download", "upload", "record"))
        for arguments in ([{"a": 1}], [["no such record"]], ["e:1"], [None, 7], [[1, None, "m:1"]]):
            self.send(f"claimx.{stage}", stage, *arguments)
        self.send("claimx.nobody_knows", "control", 1)
        self.send("claimx.poll", "poll", surprise=True)
