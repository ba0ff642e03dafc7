"""
A media host on loopback that is as fast as its client lets it be.

``python -m pipelines.media_server PORT_FILE`` listens on a free port, which the file then holds.
``/<bytes>/<name>`` is a file of so many bytes that begins as a JPEG does; none of it is kept.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import uvloop
from aiohttp import web

BLOCK = bytes(1024 * 1024)
HEAD = b"\xff\xd8\xff\xe0"


async def answer(request: web.Request) -> web.StreamResponse:
    """Send a file."""
    left = int(request.match_info["bytes"])
    response = web.StreamResponse(
        headers={"Content-Length": str(left), "Content-Type": "image/jpeg", "ETag": f'"{left}"'}
    )
    await response.prepare(request)
    await response.write(HEAD)
    left -= len(HEAD)
    while left > 0:
        await response.write(BLOCK[:left] if left < len(BLOCK) else BLOCK)
        left -= len(BLOCK)
    await response.write_eof()
    return response


async def serve(listening: socket.socket) -> None:
    """Answer until killed."""
    application = web.Application()
    application.router.add_get("/{bytes:[0-9]+}/{name}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    Path(sys.argv[1]).write_text(str(server.getsockname()[1]))
    uvloop.run(serve(server))
