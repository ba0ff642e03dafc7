"""
Flower, shut to the world unless it has credentials.

It listens on loopback without FLOWER_BASIC_AUTH and on every interface with it, on ``PORT``.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import click
import structlog

from claimx.attendance import attend
from claimx.processes import LOOPBACK, NEEDS_CREDENTIALS
from claimx.redis_clients import broker_url_of
from claimx.startup import end_when_told, load_settings, refuse

log = structlog.get_logger(__name__)

_LEAVE_SECONDS = 3.0
_NUMBERS = ("PORT", "MAX_TASKS", "MAX_WORKERS", "PURGE_OFFLINE_WORKERS")
_NO_PLACE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


def main() -> None:
    """Run Flower until it is told to stop; status 1 where it cannot listen, 130 by Ctrl-C."""
    end_when_told()
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
    os.environ.setdefault("FLOWER_PORT", str(settings.web_port or _free_port()))
    os.environ.setdefault("FLOWER_LOGGING", "none")  # else it puts its own level over LOG_LEVEL
    os.environ.setdefault("FLOWER_MAX_TASKS", "5000")  # its default of 100,000 takes gigabytes
    os.environ.setdefault("FLOWER_MAX_WORKERS", "200")
    os.environ.setdefault("FLOWER_PURGE_OFFLINE_WORKERS", "600")
    if wrong := [name for one in _NUMBERS if not os.environ[name := f"FLOWER_{one}"].isdecimal()]:
        # Flower itself ends with a traceback that does not say which
        refuse([f"{name}={os.environ[name]!r}: must be a whole number" for name in wrong])
    from claimx.celery import app

    url = health_url(os.environ)
    attend("web", settings, live=lambda: _flower_problems(url) if url else {}).begin({})
    status = 1
    try:
        app.start(["--broker", broker_url_of(settings), "flower"])
        status = 0
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        place = {"host": os.environ["FLOWER_ADDRESS"], "port": os.environ["FLOWER_PORT"]}
        log.error("cannot listen", server="flower", **place, reason=error.strerror)  # noqa: TRY400 - one line is enough
        sys.exit(status)
    except click.Abort:  # what Celery's command line makes of Ctrl-C before Flower runs
        status = 130
        sys.exit(status)
    finally:  # Flower's threads, which are waited for, ask a broker that is away for ever
        threading.Thread(target=_end, args=(status,), daemon=True).start()


def health_url(environment: Mapping[str, str]) -> str:
    """Return where Flower, set by *environment*, says whether it is well; empty for a socket."""
    if environment.get("FLOWER_UNIX_SOCKET"):
        return ""
    tls = environment.get("FLOWER_CERTFILE") and environment.get("FLOWER_KEYFILE")
    host = environment["FLOWER_ADDRESS"]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    place = f"[{host}]" if ":" in host else host
    prefix = environment.get("FLOWER_URL_PREFIX", "").strip("/")
    path = f"{prefix}/healthcheck" if prefix else "healthcheck"
    return f"{'https' if tls else 'http'}://{place}:{environment['FLOWER_PORT']}/{path}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK[0], 0))
        return int(probe.getsockname()[1])


def _end(status: int) -> None:
    """End the process when it has not ended by itself."""
    time.sleep(_LEAVE_SECONDS)
    os._exit(status)


def _flower_problems(url: str) -> dict[str, str]:
    """Ask Flower itself, by no proxy; it answers from its loop."""
    parts = urlsplit(url)
    place = (parts.hostname or "", parts.port)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its name is another
        asking: HTTPConnection = HTTPSConnection(*place, timeout=5, context=context)
    else:
        asking = HTTPConnection(*place, timeout=5)
    try:
        asking.request("GET", parts.path)
        status = asking.getresponse().status
    except (HTTPException, OSError) as error:
        return {"flower": type(error).__name__}
    finally:
        asking.close()
    return {} if status == HTTPStatus.OK else {"flower": f"answers {status}"}
