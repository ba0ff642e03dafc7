"""
A ClaimX API that knows every project and answers after 50 ms.

``python -m pipelines.api_server FILE`` listens on a free port of loopback, which FILE then holds.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import uvloop
from aiohttp import web

LATENCY_SECONDS = 0.05


async def answer(request: web.Request) -> web.Response:
    """Tell a project."""
    await asyncio.sleep(LATENCY_SECONDS)
    number = request.match_info["project"]
    project = {"projectId": int(number), "projectNumber": f"N{number}", "status": "OPEN"}
    members = [{"userName": f"{n}@example.com", "mfn": number} for n in range(3)]
    body = json.dumps({"project": project, "teamMembers": members, "companyName": "Bench"})
    return web.Response(text=body, content_type="application/json")


async def serve(listening: socket.socket) -> None:
    """Answer until killed."""
    application = web.Application()
    application.router.add_get("/export/project/{project:[0-9]+}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    server = socket.create_server(("127.0.0.1", 0), backlog=512)
    Path(sys.argv[1]).write_text(str(server.getsockname()[1]))
    uvloop.run(serve(server))
