"""What a ``.netrc`` says for every host is no part of our requests."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from claimx.adapters.credentials import Credentials

pytestmark = pytest.mark.integration


class ManagedIdentity(HTTPServer):
    """Gives a token to whoever asks, and keeps with which authorization it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str | None] = []


class _Handler(BaseHTTPRequestHandler):
    server: ManagedIdentity

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.server.seen.append(self.headers["Authorization"])
        token = {"access_token": "token", "token_type": "Bearer", "resource": "storage"}
        body = json.dumps({**token, "expires_on": str(int(time.time()) + 86_400)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def identity(monkeypatch, tmp_path) -> Iterator[ManagedIdentity]:
    """Return the one that this process has, beside a netrc with a default."""
    server = ManagedIdentity()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "invented")
    netrc = tmp_path / "netrc"
    netrc.write_text("default login anonymous password guest")
    monkeypatch.setenv("NETRC", str(netrc))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_sign_in_service_is_asked_without_what_a_netrc_has_for_every_host(identity):
    """It would refuse a second kind of credentials, and nobody would have a token."""
    credentials = Credentials(["https://onelake.dfs.fabric.microsoft.com"])

    assert credentials.token() == "token"
    credentials.close()

    assert identity.seen == [None]
