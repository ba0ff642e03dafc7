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
from claimx.adapters.lake.container import make_lake
from claimx.domain.tables import MEDIA

pytestmark = pytest.mark.integration


class Azure(HTTPServer):
    """
    A managed identity that gives a token to whoever asks, and a storage with all containers.

    It keeps with which authorization it was asked.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Azure

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

    def do_PUT(self) -> None:
        self.server.seen.append(self.headers["Authorization"])
        self.send_response(409)
        self.send_header("x-ms-error-code", "ContainerAlreadyExists")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def azure(monkeypatch, tmp_path) -> Iterator[Azure]:
    """Return one, beside a netrc with a default."""
    server = Azure()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    netrc = tmp_path / "netrc"
    netrc.write_text("default login anonymous password guest")
    monkeypatch.setenv("NETRC", str(netrc))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_sign_in_service_is_asked_without_what_a_netrc_has_for_every_host(azure, monkeypatch):
    """It would refuse a second kind of credentials, and nobody would have a token."""
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "invented")
    credentials = Credentials(["https://onelake.dfs.fabric.microsoft.com"])

    assert credentials.token() == "token"
    credentials.close()

    assert azure.seen == [None]


def test_nor_does_it_take_the_place_of_a_stand_ins_key(azure):
    uri = "abfss://ws@onelake.dfs.fabric.microsoft.com/lh/Tables/claimx_media"
    lake = make_lake({MEDIA.name: uri}, azure.url, Credentials([azure.url]))

    lake._handles[MEDIA.name].make_container(uri)

    assert [one.split()[0] for one in azure.seen] == ["SharedKey"]
