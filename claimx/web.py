"""
The ``web`` process: Flower, shut to the world unless it has credentials.

It listens on loopback without FLOWER_BASIC_AUTH and on every interface with it, on ``PORT``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus

import requests

from claimx.attendance import attend
from claimx.processes import LOOPBACK, NEEDS_CREDENTIALS
from claimx.redis_clients import broker_url_of
from claimx.startup import load_settings, refuse

_LEAVE_SECONDS = 3.0


def main() -> None:
    """Run Flower until it is told to stop."""
    settings = load_settings()
    auth = settings.flower_auth.get_secret_value()
    for name in [name for name, value in os.environ.items() if not value.strip()]:
        if name.startswith("FLOWER_"):
            del os.environ[name]  # Flower takes a blank one for a value
    if auth:
        os.environ["FLOWER_BASIC_AUTH"] = auth  # not an argument: those show in process lists
    os.environ.setdefault("FLOWER_ADDRESS", "0.0.0.0" if auth else "127.0.0.1")
    if not auth and os.environ["FLOWER_ADDRESS"] not in LOOPBACK:
        refuse([NEEDS_CREDENTIALS])
    os.environ.setdefault("FLOWER_PORT", str(settings.web_port))
    os.environ.setdefault("FLOWER_LOGGING", "none")  # else it puts its own level over LOG_LEVEL
    os.environ.setdefault("FLOWER_MAX_TASKS", "5000")  # its default of 100,000 takes gigabytes
    os.environ.setdefault("FLOWER_MAX_WORKERS", "200")
    os.environ.setdefault("FLOWER_PURGE_OFFLINE_WORKERS", "600")
    from claimx.celery import app

    url = health_url(os.environ)
    attend("web", settings, live=lambda: _flower_problems(url)).begin({})
    status = 1
    try:
        app.start(["--broker", broker_url_of(settings), "flower"])
        status = 0
    finally:  # Flower's threads, which are waited for, ask a broker that is away for ever
        threading.Thread(target=_end, args=(status,), daemon=True).start()


def health_url(environment: Mapping[str, str]) -> str:
    """Return where Flower, set by *environment*, says whether it is well."""
    host = environment["FLOWER_ADDRESS"]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    place = f"[{host}]" if ":" in host else host
    prefix = environment.get("FLOWER_URL_PREFIX", "").strip("/")
    path = f"{prefix}/healthcheck" if prefix else "healthcheck"
    return f"http://{place}:{environment['FLOWER_PORT']}/{path}"


def _end(status: int) -> None:
    """End the process when it has not ended by itself."""
    time.sleep(_LEAVE_SECONDS)
    os._exit(status)


def _flower_problems(url: str) -> dict[str, str]:
    """Ask Flower itself; it answers from its loop."""
    try:
        status = requests.get(url, timeout=5).status_code
    except requests.RequestException as error:
        return {"flower": type(error).__name__}
    return {} if status == HTTPStatus.OK else {"flower": f"answers {status}"}


if __name__ == "__main__":
    main()
