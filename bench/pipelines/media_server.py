"""
A media host on loopback that is as fast as its client lets it be.

``python -m pipelines.media_server PORT_FILE`` listens on a free port, which the file then holds.
``/<bytes>/<name>`` is a file of so many bytes that begins as a JPEG does; none of it is kept.
"""

from __future__ import annotations

import sys

from aiohttp import web

from pipelines.serving import serve

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


if __name__ == "__main__":
    serve("/{bytes:[0-9]+}/{name}", answer, sys.argv[1])
