"""
The ``web`` process: Flower, shut to the world unless it has credentials.

It listens on loopback without FLOWER_BASIC_AUTH and on every interface with it, on ``PORT``.
"""

from __future__ import annotations

import os
import sys

from claimx import processes
from claimx.bootstrap import broker_url_of, load_settings


def main() -> None:
    """Run Flower until it is told to stop."""
    settings = load_settings()
    auth = settings.flower_auth.get_secret_value()
    if auth:
        os.environ["FLOWER_BASIC_AUTH"] = auth  # not an argument: those show in process lists
    os.environ.setdefault("FLOWER_ADDRESS", "0.0.0.0" if auth else "127.0.0.1")
    if not auth and os.environ["FLOWER_ADDRESS"] not in ("127.0.0.1", "localhost", "::1"):
        print(  # noqa: T201 - nothing else is up yet
            "claimx: Flower listens beyond loopback only with FLOWER_BASIC_AUTH=user:password",
            file=sys.stderr,
        )
        sys.exit(4)
    os.environ.setdefault("FLOWER_PORT", str(settings.web_port))
    os.environ.setdefault("FLOWER_MAX_TASKS", "5000")  # its default of 100,000 takes gigabytes
    os.environ.setdefault("FLOWER_MAX_WORKERS", "200")
    os.environ.setdefault("FLOWER_PURGE_OFFLINE_WORKERS", "600")
    from claimx.celery import app

    processes.attend("web", settings)
    app.start(["--broker", broker_url_of(settings), "flower"])


if __name__ == "__main__":
    main()
