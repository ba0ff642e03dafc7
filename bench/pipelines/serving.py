"""Servers in processes of their own: each writes its port into a file, for whoever waits for it."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import uvloop
from aiohttp import web
from aiohttp.typedefs import Handler

START_SECONDS = 30.0
_LOOK_SECONDS = 0.05


def serve(path: str, answer: Handler, port_file: str) -> None:
    """Answer GETs of *path* until killed, on a free port that *port_file* then holds."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    Path(port_file).write_text(str(listening.getsockname()[1]))
    uvloop.run(_serve(path, answer, listening))


async def _serve(path: str, answer: Handler, listening: socket.socket) -> None:
    application = web.Application()
    application.router.add_get(path, answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await asyncio.Event().wait()


def port_in(path: Path) -> int:
    """Return the port once it is there; raises TimeoutError when the server does not start."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"a server did not start: {path} is missing")
