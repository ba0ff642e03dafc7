"""
The small HTTP server beside every process: is it alive, is it ready, what has it counted.

``/health/live`` is 200 while the process's own loop makes progress, ``/health/ready`` while what
it needs answers, ``/metrics`` is for Prometheus. It listens on loopback unless told otherwise.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

import structlog

log = structlog.get_logger(__name__)

Check = Callable[[], dict[str, str]]
"""Returns problems by name; empty when all is well. Must answer within seconds."""


_MOST_CLIENTS = 100


class Progress:
    """When the process's loop last went round; *limit_seconds* without is a stall."""

    def __init__(self, limit_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_seconds
        self._now = now
        self._last = now()

    def made(self) -> None:
        """Say that the loop went round."""
        self._last = self._now()

    def silent_seconds(self) -> float:
        """Return how long ago it last did."""
        return self._now() - self._last

    def problems(self) -> dict[str, str]:
        """Return the stall, if there is one."""
        silent = self.silent_seconds()
        return {"progress": f"none for {silent:.0f} s"} if silent > self._limit else {}


class HealthServer:
    """Serves the three paths from a daemon thread; a port that is taken becomes a free one."""

    def __init__(
        self,
        port: int,
        live: Check,
        ready: Check,
        metrics: Callable[[], bytes],
        host: str,
        longest_seconds: float = 30.0,
    ) -> None:
        routes: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/health/live": lambda: _verdict(live),
            "/health/ready": lambda: _verdict(ready),
            "/metrics": lambda: (200, "text/plain; version=0.0.4; charset=utf-8", metrics()),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # a client that says nothing must not hold a thread

            def do_HEAD(self) -> None:
                """Answer as to GET: some probes ask so."""
                self.do_GET()

            def do_GET(self) -> None:
                """Answer one of the three paths."""
                route = routes.get(self.path.split("?")[0])
                status, kind, body = route() if route else (404, "text/plain", b"not found\n")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep probes out of the log."""

        self._server = _bind(host, port, Handler)
        self._server.longest_seconds = longest_seconds
        self._server.daemon_threads = True
        place = f"[{host}]" if ":" in host else host
        self.address = f"{place}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def let_go(self) -> None:
        """Close the port in a forked child; the parent goes on to serve."""
        self._server.socket.close()


class _Server(ThreadingHTTPServer):
    """
    The library's server, made for probes.

    Of slow clients there may be many. Whoever takes more than *longest_seconds* is cut off, and
    beyond `_MOST_CLIENTS` whoever has taken longest, so that a probe always gets in. What goes
    wrong with one is a line of the log, where the library prints a traceback.
    """

    request_queue_size = 128  # of its own 5 a burst of probes had to wait a second and more
    longest_seconds = 30.0

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._clients: dict[Any, float] = {}  # since when they are served, the oldest first
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Listen, without the library's question to the DNS for the machine's name."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client in a thread of its own."""
        self._clients[request] = time.monotonic()
        if len(self._clients) > _MOST_CLIENTS:
            self._cut_off(list(self._clients)[0])  # noqa: RUF015 - other threads change it
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Look after the clients; called about twice a second."""
        late = time.monotonic() - self.longest_seconds
        for request, since in list(self._clients.items()):
            if since < late:
                self._cut_off(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, _request: object, _address: object) -> None:
        """Say what an answer failed of; a probe that hangs up is none of our business."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.warning("a probe got no answer", error=type(error).__name__)

    def _cut_off(self, request: Any) -> None:
        self._clients.pop(request, None)
        with suppress(OSError):  # it has just gone by itself
            request.shutdown(socket.SHUT_RDWR)  # its thread sees the end, and closes it


def _bind(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        return _Server((host, port), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        log.warning("port is taken, using a free one", port=port)
        return _Server((host, 0), handler)


def _verdict(check: Check) -> tuple[int, str, bytes]:
    try:
        problems = check()
    except Exception as error:  # noqa: BLE001 - a check that fails is itself the problem
        problems = {"check": type(error).__name__}
    body = json.dumps({"ok": not problems, "problems": problems}).encode() + b"\n"
    return (503 if problems else 200), "application/json", body
