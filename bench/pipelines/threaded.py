"""Calling the API from threads, with requests: for the contenders that are no asyncio programs."""

from __future__ import annotations

import threading

import orjson
import requests

from pipelines.calls import enrich
from pipelines.job import Job
from pipelines.rows import Found
from pipelines.source import Event

TIMEOUT_SECONDS = 30
_here = threading.local()


def asked(job: Job, event: Event, known: set[str]) -> Found:
    """Make an event's calls, one after the other; returns its rows."""
    base = job.environment["CLAIMX_API_URL"]
    headers = {"Authorization": f"Basic {job.environment['CLAIMX_API_TOKEN']}"}
    steps = enrich(event, known)
    answer = None
    try:
        while True:
            call = steps.send(answer)
            response = session().request(
                "GET" if call.body is None else "POST",
                base + call.path,
                json=call.body,
                headers=headers,
                timeout=TIMEOUT_SECONDS,
            )
            response.raise_for_status()
            answer = orjson.loads(response.content)
    except StopIteration as done:
        found: Found = done.value
        return found


def session() -> requests.Session:
    """Return this thread's session; requests shares none between threads safely."""
    if not hasattr(_here, "session"):
        _here.session = requests.Session()
        _here.session.trust_env = False  # half a millisecond a request, for proxies that are not
    mine: requests.Session = _here.session
    return mine
