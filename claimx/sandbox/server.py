"""Starts the whole sandbox: in a thread of this process, or as a process of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from claimx.sandbox.api import ClaimXApi
from claimx.sandbox.backlog import Backlog
from claimx.sandbox.control import Control
from claimx.sandbox.faults import Fault, FaultPlan
from claimx.sandbox.http import Service
from claimx.sandbox.identity import Identity
from claimx.sandbox.kusto import KustoCluster
from claimx.sandbox.media import MediaHost
from claimx.sandbox.onelake import OneLake
from claimx.sandbox.world import World
from claimx.tasks.loop import new_loop

TOKEN = "c2FuZGJveDpzYW5kYm94"  # noqa: S105 - invented, and accepted on loopback alone
WORKSPACE = "sandbox"
LAKEHOUSE = "claimx.Lakehouse"
ACCOUNT_HOST = "onelake.dfs.fabric.microsoft.com"
STORAGE_KEY = "bG9jYWw="
DATABASE = "claimx"
START_SECONDS = 60.0
STOP_SECONDS = 10.0


class Sandbox:
    """
    All servers over one world, on free loopback ports.

    *folder* takes the OneLake files (``folder/onelake/<container>/<path>``). Use it as a context
    manager or call `start` and `stop`; it runs its event loop in a thread of its own.
    *latency* is the range of the API's and the media host's delay in seconds; with *api_seconds*
    the API alone has one, exactly that. With *token_seconds* there is an identity too, and OneLake
    takes its tokens alone, which live so long.
    """

    def __init__(
        self,
        world: World,
        folder: Path,
        faults: Iterable[Fault] = (),
        *,
        latency: tuple[float, float] = (0.0, 0.0),
        link_lifetime: float = 3600.0,
        media_filter: str = "mediaIds",
        token: str = TOKEN,
        backlog: Backlog | None = None,
        token_seconds: float | None = None,
        api_seconds: float | None = None,
    ) -> None:
        self.world = world
        self.folder = folder
        self.plan = FaultPlan(world.seed, faults, time.monotonic())
        of_api, of_media = latency, latency
        if api_seconds is not None:
            of_api, of_media = (api_seconds, api_seconds), (0.0, 0.0)
        self.media = MediaHost(world, self.plan, of_media, link_lifetime)
        self.api = ClaimXApi(
            world, self.media, token, self.plan, latency=of_api, media_filter=media_filter
        )
        self.identity = None if token_seconds is None else Identity(token_seconds, self.plan)
        self.onelake = OneLake(folder / "onelake", self.plan, identity=self.identity)
        self.kusto = KustoCluster(world.rows, DATABASE, faults=self.plan, backlog=backlog)
        self.control = Control(
            world, self.plan, self.api, self.services, self.environment, self.kusto.release
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    def services(self) -> dict[str, Service]:
        """Return every server by name."""
        named: dict[str, Service] = {
            "api": self.api,
            "media": self.media,
            "kusto": self.kusto,
            "onelake": self.onelake,
            "control": self.control,
        }
        return named if self.identity is None else {**named, "identity": self.identity}

    # Addresses.

    @property
    def kusto_url(self) -> str:
        """The cluster."""
        return self.kusto.url

    @property
    def api_url(self) -> str:
        """The API's base URL."""
        return self.api.base_url

    @property
    def media_url(self) -> str:
        """The media host."""
        return self.media.url

    @property
    def onelake_url(self) -> str:
        """The account's endpoint, for files and tables."""
        return self.onelake.url

    @property
    def control_url(self) -> str:
        """The base of ``/sandbox/...``."""
        return self.control.url

    @property
    def media_uri(self) -> str:
        """Where media go, in the form of production."""
        return f"abfss://{WORKSPACE}@{ACCOUNT_HOST}/{LAKEHOUSE}/Files/claimx"

    @property
    def lake_uri(self) -> str:
        """Where tables may lie, in the form of production."""
        return f"abfss://{WORKSPACE}@{ACCOUNT_HOST}/{LAKEHOUSE}/Tables"

    @property
    def media_folder(self) -> Path:
        """The plain folder behind `media_uri`."""
        return self.folder / "onelake" / WORKSPACE / LAKEHOUSE / "Files" / "claimx"

    @property
    def lake_folder(self) -> Path:
        """The plain folder behind `lake_uri`."""
        return self.folder / "onelake" / WORKSPACE / LAKEHOUSE / "Tables"

    def environment(self) -> dict[str, str]:
        """Return the settings with which the pipeline works on this sandbox."""
        return {
            "EVENTHOUSE_CLUSTER_URL": self.kusto_url,
            "CLAIMX_EVENTHOUSE_DATABASE": self.kusto.database,
            "CLAIMX_EVENTHOUSE_SOURCE_TABLE": self.kusto.table,
            "CLAIMX_API_URL": self.api_url,
            "CLAIMX_API_TOKEN": self.api.token,
            "ONELAKE_ENDPOINT": self.onelake_url,
            "ONELAKE_CLAIMX_PATH": self.media_uri,
            "ALLOWED_ATTACHMENT_DOMAINS": "127.0.0.1,localhost",
            "CLAIMX_ALLOW_LOOPBACK": "true",
        }

    # Life.

    async def serve(self, ports: dict[str, int] | None = None) -> None:
        """Listen on the running loop; *ports* by service name, free ones where absent."""
        for name, service in self.services().items():
            await service.listen((ports or {}).get(name, 0))

    async def close(self) -> None:
        """Close every server."""
        for service in self.services().values():
            await service.close()

    def start(self) -> Self:
        """Serve from a thread; returns once every port listens."""
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            msg = f"the sandbox was not ready within {START_SECONDS:g} s"
            raise TimeoutError(msg)
        if self._failure is not None:
            msg = f"the sandbox did not start: {self._failure}"
            raise RuntimeError(msg) from self._failure
        return self

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self.serve()
        self._ready.set()
        await self._stopping.wait()
        await self.close()

    def stop(self) -> None:
        """Close every port and end the thread."""
        if self._loop is not None and self._stopping is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
