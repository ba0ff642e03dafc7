"""
A ClaimX API that knows every project and answers after 50 ms.

``python -m pipelines.api_server FILE`` listens on a free port of loopback, which FILE then holds.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web

from pipelines.serving import serve

LATENCY_SECONDS = 0.05


async def answer(request: web.Request) -> web.Response:
    """Tell a project."""
    await asyncio.sleep(LATENCY_SECONDS)
    number = request.match_info["project"]
    project = {"projectId": int(number), "projectNumber": f"N{number}", "status": "OPEN"}
    members = [{"userName": f"{n}@example.com", "mfn": number} for n in range(3)]
    body = json.dumps({"project": project, "teamMembers": members, "companyName": "Bench"})
    return web.Response(text=body, content_type="application/json")


if __name__ == "__main__":
    serve("/export/project/{project:[0-9]+}", answer, sys.argv[1])
