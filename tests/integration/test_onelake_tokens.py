"""Tables and media on an OneLake that looks at tokens, which end again and again meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
from typing import NoReturn
from uuid import uuid4

import pytest
import requests.adapters
from azure.core.exceptions import ServiceRequestError
from blobs import Waited
from certificates import self_signed
from large_world import T0, asked

from claimx.adapters.credentials import Credentials, StorageAccess, _default
from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.onelake import DataLakeStore
from claimx.domain.errors import ErrorCategory, TokenRejected
from claimx.domain.tables import MEDIA, TABLES
from claimx.sandbox.server import Sandbox
from claimx.sandbox.world import World

pytestmark = [pytest.mark.integration]

ONELAKE = "https://onelake.dfs.fabric.microsoft.com"
SIZES = Sizes(direct=-1, piece=20, most_of_piece=40, changes=100)
ROWS = 20
KNOWN_NOT_TO_BE_ASKED = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return a PEM file with a key and a certificate of this machine's own."""
    return self_signed(tmp_path_factory.mktemp("tls") / "sandbox.pem")


@pytest.fixture
def strict(tmp_path, certificate, monkeypatch):
    """Return a function that starts an OneLake whose tokens live so many seconds."""
    running = []

    def start(seconds):
        sandbox = Sandbox(World(3, 100, T0 / 1e6), tmp_path / "sandbox", token_seconds=seconds)
        sandbox.onelake.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        sandbox.onelake.tls.load_cert_chain(certificate)
        running.append(sandbox.start())
        for name, value in sandbox.identity.environment().items():
            monkeypatch.setenv(name, value)
        for name in KNOWN_NOT_TO_BE_ASKED:
            monkeypatch.delenv(name, raising=False)
        # the clients read no variable for this once they are imported: this is where they look
        monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(certificate))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        return sandbox

    yield start
    for sandbox in running:
        sandbox.stop()


def a_lake(sandbox, credentials):
    """Return a lake in production's form, but for the address of its server."""

    def access():
        given = credentials.storage_access(ONELAKE)
        options = {
            **given.options,
            "azure_storage_endpoint": sandbox.onelake_url,
            "allow_invalid_certificates": "true",
        }
        return StorageAccess(options, given.seconds, given.refuse)

    workspace, lakehouse = uuid4(), uuid4()  # as they are named in the field
    root = f"abfss://{workspace}@onelake.dfs.fabric.microsoft.com/{lakehouse}/Tables"
    requests.put(
        f"{sandbox.onelake_url}/{workspace}?restype=container",
        headers={"Authorization": f"Bearer {credentials.token()}"},
        timeout=10,
        verify=requests.adapters.DEFAULT_CA_BUNDLE_PATH,
    ).raise_for_status()
    return DeltaLake({name: f"{root}/{name}" for name in TABLES}, access, sizes=SIZES)


@pytest.mark.parametrize(
    ("seconds", "lasting"),
    [
        pytest.param(16, 40, marks=pytest.mark.timeout(150)),
        pytest.param(60, 600, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_tables_and_media_outlive_their_tokens(strict, tmp_path, seconds, lasting):
    """A handle kept its token to the end and beyond; none may be refused even once."""
    sandbox = strict(seconds)
    credentials = Credentials([ONELAKE])
    lake = a_lake(sandbox, credentials)
    gates = MemoryGates(time.monotonic)
    media = Waited(
        DataLakeStore(
            sandbox.onelake_url,
            "abfss://media@onelake.dfs.fabric.microsoft.com/lh/Files",
            lambda: credentials.storage_access(ONELAKE),
            gates,
        )
    )
    source = tmp_path / "source"
    source.write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()

    ends = time.monotonic() + lasting
    written = folded = 0
    while time.monotonic() < ends:
        lake.upsert(MEDIA, [asked(written + n, at=1) for n in range(ROWS)], T0)
        written += ROWS
        folded += lake.large.fold(MEDIA).changes
        media.put(f"1/media/{written}.jpg", str(source), 7, digest, "image/jpeg")
        assert lake.unattached_media(1) is not None
        time.sleep(0.2)
    rows = lake.rows(MEDIA)
    media.close()
    credentials.close()

    assert len(rows) == written
    assert folded > 0, "it never grew large"
    assert len(list(sandbox.folder.rglob("*.jpg"))) == written // ROWS
    assert sandbox.identity.handed_out >= lasting / seconds
    assert sandbox.onelake.traffic.statuses[401] == 0


UPLOAD = """
import asyncio, hashlib, sys, time
from claimx.adapters.credentials import Credentials
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.onelake import DataLakeStore
url, source = sys.argv[1:]
onelake = "https://onelake.dfs.fabric.microsoft.com"
store = DataLakeStore(
    url,
    "abfss://media@onelake.dfs.fabric.microsoft.com/lh/Files",
    lambda: Credentials([onelake]).storage_access(onelake),
    MemoryGates(time.monotonic),
)
digest = hashlib.sha256(b"content").hexdigest()
asyncio.run(store.put("1/media/1.jpg", source, 7, digest, "image/jpeg"))
"""


@pytest.mark.parametrize("named", [True, False], ids=["trusted", "not trusted"])
def test_an_upload_trusts_the_certificates_that_ssl_cert_file_names(
    strict, certificate, tmp_path, monkeypatch, named
):
    """docs/production.md says so; a process of its own, as the variable is read at its start."""
    sandbox = strict(3600)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_FILE" if named else "REQUESTS_CA_BUNDLE", str(certificate))
    (tmp_path / "source").write_bytes(b"content")

    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, sandbox.onelake_url, str(tmp_path / "source")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode == 0) is named, done.stderr
    assert len(list(sandbox.folder.rglob("1.jpg"))) == named
    assert named or "Unavailable" in done.stderr


@pytest.mark.timeout(60)
def test_a_table_whose_token_was_taken_back_is_opened_with_another(strict):
    """So the server does look at tokens; and what is refused is never asked with again."""
    sandbox = strict(3600)
    credentials = Credentials([ONELAKE])
    lake = a_lake(sandbox, credentials)
    lake.upsert(MEDIA, [asked(1, at=1)], T0)
    sandbox.identity.end_all()

    with pytest.raises(TokenRejected):
        lake.upsert(MEDIA, [asked(2, at=1)], T0)

    handles = 3  # of the table, its log, and the reader: each finds out for itself
    for _ in range(handles):
        try:
            lake.upsert(MEDIA, [asked(2, at=1)], T0)
            rows = lake.rows(MEDIA)
            break
        except TokenRejected:
            continue
    else:
        pytest.fail("still refused")
    assert len(rows) == 2


GUID = "11111111-1111-1111-1111-111111111111"


def set_up(monkeypatch, environment):
    """Leave the identity's variables as they are here."""
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "environment",
    [
        {"AZURE_CLIENT_CERTIFICATE_PATH": "/nowhere/certificate.pem"},
        {"AZURE_TENANT_ID": "my tenant", "AZURE_CLIENT_SECRET": "invented"},
        {"AZURE_AUTHORITY_HOST": "http://login.example", "AZURE_CLIENT_SECRET": "invented"},
        {"AZURE_TOKEN_CREDENTIALS": "production"},
    ],
    ids=["no certificate", "no tenant's id", "not https", "no such chain"],
)
def test_what_is_wrong_with_the_identity_waits_and_kills_no_file(
    tmp_path, monkeypatch, environment
):
    """As another error it was tried five times and buried, or the file fetched again and again."""
    identity = {"AZURE_TENANT_ID": GUID, "AZURE_CLIENT_ID": GUID}
    set_up(monkeypatch, identity | environment)
    credentials = Credentials([ONELAKE])
    store = Waited(
        DataLakeStore(
            ONELAKE,
            "abfss://media@onelake.dfs.fabric.microsoft.com/lh/Files",
            lambda: credentials.storage_access(ONELAKE),
            MemoryGates(time.monotonic),
        )
    )
    source = tmp_path / "source"
    source.write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()

    with pytest.raises(TokenRejected, match="AZURE_CLIENT_ID") as caught:
        store.put("1/media/1.jpg", str(source), 7, digest, "image/jpeg")
    with pytest.raises(TokenRejected):
        credentials.storage_access(ONELAKE)
    store.close()

    assert caught.value.category is ErrorCategory.AUTH
    assert "invented" not in str(caught.value)


@pytest.mark.timeout(60)
def test_a_sign_in_service_that_says_nothing_is_given_up_on(tmp_path, monkeypatch):
    """Left to itself the identity waited for twenty minutes, and took a worker's thread."""
    (tmp_path / "federated").write_text("a token")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        set_up(
            monkeypatch,
            {
                "AZURE_TENANT_ID": GUID,
                "AZURE_CLIENT_ID": GUID,
                "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "federated"),
                "AZURE_TOKEN_CREDENTIALS": "workloadidentitycredential",
                "AZURE_AUTHORITY_HOST": f"https://127.0.0.1:{silent.getsockname()[1]}",
            },
        )
        with pytest.raises(TokenRejected):
            Credentials([ONELAKE], make=lambda: _default(0.5, 0.5)).token()


class SlowToFail:
    """An identity whose sign-in service is away, which takes a moment to find out."""

    def get_token(self, *_: object, **__: object) -> NoReturn:
        time.sleep(0.4)
        raise ServiceRequestError("away")

    def close(self) -> None: ...


@pytest.mark.timeout(60)
def test_uploads_side_by_side_wait_for_the_identity_and_blame_nobody_else(tmp_path):
    """They asked one after another; the last ones ran out of time, and OneLake's circuit opened."""
    (tmp_path / "source").write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    gates = MemoryGates(time.monotonic)
    store = DataLakeStore(
        ONELAKE,
        "abfss://media@onelake.dfs.fabric.microsoft.com/lh/Files",
        lambda: Credentials([ONELAKE], make=SlowToFail).storage_access(ONELAKE),
        gates,
        total_seconds=3.5,
    )

    async def upload(number: int) -> None:
        source = str(tmp_path / "source")
        await store.put(f"1/media/{number}.jpg", source, 7, digest, "image/jpeg")

    async def work() -> list[object]:
        uploads = [upload(number) for number in range(10)]
        found = await asyncio.gather(*uploads, return_exceptions=True)
        await store.close()
        return found

    assert {type(one) for one in asyncio.run(work())} == {TokenRejected}
    assert gates.circuits() == {}
