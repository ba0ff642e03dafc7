"""What is asked of OneLake, beside what the vendor's client asks; and answers of odd stand-ins."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.filedatalake import ContentSettings, DataLakeServiceClient
from blobs import Waited

from claimx.adapters.credentials import Credentials, StorageAccess
from claimx.adapters.curl import CurlCalls
from claimx.adapters.curl_handle import CallLimits
from claimx.adapters.datalake import DataLakeFiles
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.onelake import DataLakeStore
from claimx.adapters.storage_login import StorageLogin
from claimx.domain.errors import Malformed, Refused, TokenRejected, TryLater, Unavailable

pytestmark = pytest.mark.integration

CONTENT = b"content" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "lake house.Lakehouse/Files/4711/media/99_\u00e4 b%+&.jpg"
TOLD = ("x-ms-content-type", "x-ms-properties", "if-match", "if-none-match", "content-md5")


class Keeper:
    """A stand-in of OneLake that keeps little; *kept* and *asked* are what it got."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.kept: dict[str, bytes] = {}
        self.beside: dict[str, str] = {}
        self.spoil = False
        self.ranges = True
        self.token: str | None = None
        self.sends_away = False
        self.refusal: tuple[int, dict[str, str], bytes] | None = None
        self.tag = '"1"'
        self.packs = False
        self.slow_bytes = 0  # of a body that are sent every fifth of a second

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        url = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name: handler.headers[name] for name in TOLD if name in handler.headers}
        self.asked.append((handler.command, url.path, query, headers, body))
        if self.sends_away:
            return 307, {"Location": "https://example.com/"}, b""
        if self.refusal:
            return self.refusal
        if self.token and handler.headers["Authorization"] != f"Bearer {self.token}":
            return 401, {}, b""
        if handler.command in ("PUT", "PATCH"):
            if body or handler.command == "PUT":
                self.kept[url.path] = body[:-1] + b"!" if self.spoil and body else body
            status = {None: 201, "append": 202, "flush": 200}[query.get("action")]
            return status, {"ETag": self.tag}, b""
        return self._told(handler, self.kept[url.path])

    def _told(
        self, handler: BaseHTTPRequestHandler, kept: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {"ETag": self.tag, **self.beside}
        if self.packs and "gzip" in handler.headers.get("Accept-Encoding", ""):
            kept = gzip.compress(kept)
            headers["Content-Encoding"] = "gzip"
        if handler.command == "GET" and self.ranges:
            first, last = handler.headers["Range"].removeprefix("bytes=").split("-")
            return 206, headers, kept[int(first) : int(last) + 1]
        return 200, headers, kept


@pytest.fixture
def keeper() -> Iterator[tuple[Keeper, str]]:
    """Return one that runs, and its URL."""
    found = Keeper()

    class Handler(BaseHTTPRequestHandler):
        protocol_version: ClassVar[str] = "HTTP/1.1"

        def handle_one(self) -> None:
            status, headers, body = found.answer(self)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            step = found.slow_bytes or len(body) or 1
            for start in range(0, len(body) if self.command != "HEAD" else 0, step):
                self.wfile.write(body[start : start + step])
                time.sleep(0.2 if found.slow_bytes else 0)

        do_PUT = do_PATCH = do_GET = do_HEAD = handle_one  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield found, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def a_store(url: str, access: Any = None, **options: Any) -> Waited:
    root = "abfss://work space@onelake.dfs.fabric.microsoft.com/lake house.Lakehouse/Files"
    credentials = Credentials([url])
    access = access or (lambda: credentials.storage_access(url))
    gates = MemoryGates(time.monotonic)
    return Waited(DataLakeStore(url, root, access, gates, **options))


def put(store: Waited, tmp_path: Any, content_type: str = "image/jpeg") -> None:
    """Store the file, and close the store."""
    try:
        send(store, tmp_path, content_type)
    finally:
        store.close()


def send(store: Waited, tmp_path: Any, content_type: str = "image/jpeg") -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    path = PATH.removeprefix("lake house.Lakehouse/Files/")
    store.put(path, str(source), len(CONTENT), SHA256, content_type)


def test_a_file_is_asked_for_as_the_vendors_client_asks(keeper, tmp_path):
    """OneLake is tested with that client; names, headers and queries are to be the same."""
    kept, url = keeper
    kept.beside = {"x-ms-meta-sha256": SHA256}
    key = AzureNamedKeyCredential("onelake", base64.b64encode(b"invented").decode())
    service = DataLakeServiceClient(url, key, retry_total=0)
    target = service.get_file_client("work space", PATH)
    settings = ContentSettings(content_type="image/jpeg")
    target.create_file(
        content_settings=settings,
        metadata={"sha256": SHA256},
        match_condition=MatchConditions.IfMissing,
    )
    target.append_data(CONTENT, 0, len(CONTENT), validate_content=True)
    unchanged = {"etag": kept.tag, "match_condition": MatchConditions.IfNotModified}
    target.flush_data(len(CONTENT), content_settings=settings, **unchanged)
    theirs, kept.asked = kept.asked, []

    put(a_store(url), tmp_path)

    assert kept.asked[:3] == theirs
    assert [one[0] for one in kept.asked[3:]] == ["HEAD"]


@pytest.mark.parametrize(
    "beside",
    [
        {"x-ms-meta-sha256": SHA256},
        {"X-Ms-Meta-Sha256": SHA256},
        {"x-ms-properties": f"a=,sha256={base64.b64encode(SHA256.encode()).decode()}"},
        {},
        {"x-ms-properties": ""},
    ],
    ids=["blob", "capitals", "datalake", "none", "empty"],
)
@pytest.mark.parametrize("ranges", [True, False])
def test_what_is_stored_is_held_against_its_hash_however_it_is_told(
    keeper, tmp_path, beside, ranges
):
    """Where nothing is kept beside a file it is read back, in pieces where they can be had."""
    kept, url = keeper
    kept.beside, kept.ranges = beside, ranges

    put(a_store(url, chunk_bytes=len(CONTENT)), tmp_path)

    assert list(kept.kept.values()) == [CONTENT]


def test_a_file_is_read_back_in_pieces(keeper):
    _, url = keeper

    async def work() -> bytes:
        calls = CurlCalls("127.0.0.1", CallLimits(5.0, 64), connections=1)
        login = StorageLogin(lambda: Credentials([url]).storage_access(url))
        file = DataLakeFiles(url, login, calls, 5.0).file("fs", "a")
        await file.create_file("a/b", {}, new=True)
        await file.append_data(CONTENT, 0, hashlib.md5(CONTENT, usedforsecurity=False).digest())
        found = [await file.read(offset, 64) for offset in range(0, len(CONTENT), 64)]
        await calls.close()
        login.close()
        assert not any(is_whole for _, is_whole in found)
        return b"".join(piece for piece, _ in found)

    assert asyncio.run(work()) == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "beside", [{}, {"x-ms-properties": "sha256=%%%"}, {"x-ms-meta-sha256": "0" * 64}]
)
def test_a_file_that_came_to_be_another_is_noticed(keeper, tmp_path, beside, ranges):
    kept, url = keeper
    kept.spoil, kept.beside, kept.ranges = True, beside, ranges

    with pytest.raises(Unavailable, match="another file"):
        put(a_store(url), tmp_path)


def test_a_stand_in_without_tags_takes_a_file(keeper, tmp_path):
    kept, url = keeper
    kept.tag = ""
    kept.beside = {"x-ms-meta-sha256": SHA256}

    put(a_store(url), tmp_path)

    assert [one[3].get("if-match") for one in kept.asked] == [None] * 4


def test_a_redirect_is_not_followed_and_no_word_on_the_file(keeper, tmp_path):
    """The token would go with it; somebody between sends away what OneLake never does."""
    kept, url = keeper
    kept.sends_away = True

    with pytest.raises(Unavailable, match="307"):
        put(a_store(url), tmp_path)


def test_a_token_that_was_refused_gives_way_to_another(keeper, tmp_path):
    kept, url = keeper
    kept.token = "second"
    kept.beside = {"x-ms-meta-sha256": SHA256}
    tokens = iter(["first", "second"])

    def access() -> StorageAccess:
        return StorageAccess({"bearer_token": next(tokens)}, 3600.0)

    store = a_store(url, access)
    with pytest.raises(TokenRejected):
        send(store, tmp_path)
    put(store, tmp_path)

    assert list(kept.kept.values()) == [CONTENT]


def test_no_token_goes_over_plain_http(tmp_path):
    store = a_store("http://onelake.example", lambda: StorageAccess({"bearer_token": "secret"}))

    with pytest.raises(TokenRejected, match="ONELAKE_ENDPOINT"):
        put(store, tmp_path)


@pytest.mark.parametrize(
    "content_type", ["image/jpeg\r\nx-ms-properties: a=b", "image/j\0peg", "image/jp\u00e9g"]
)
def test_no_header_is_smuggled_in(keeper, tmp_path, content_type):
    """Nor does it count against OneLake, or go on being tried, what nobody could send."""
    kept, url = keeper

    with pytest.raises(Malformed):
        put(a_store(url), tmp_path, content_type)
    assert kept.asked == []


def test_a_token_goes_over_https_however_it_is_written(tmp_path, monkeypatch):
    """As settings take it; each upload would wait for days for somebody to set it right."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody, and no look-up of a name
    access = StorageAccess({"bearer_token": "secret"})

    with pytest.raises(Unavailable, match="no connection"):
        put(a_store("HTTPS://OneLake.example", lambda: access), tmp_path)


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"x-ms-error-code": "InvalidFlushPosition"}, b"", "InvalidFlushPosition"),
        ({}, b'{"error": {"code": "InvalidFlushPosition"}}', "InvalidFlushPosition"),
        ({}, b'{"error": "InvalidFlushPosition"}', ""),
        ({}, b'{"error": {"code": 7}}', ""),
        ({}, b'{"error": {"code": "the file of Mrs Doe"}}', ""),
        ({}, b"[" * 60_000, ""),
        ({}, b"\xff\xfe<html>", ""),
    ],
)
def test_why_a_request_is_refused_is_told_by_header_or_body(keeper, tmp_path, headers, body, code):
    """An upload that was overtaken comes again; refused for good, its file would be given up."""
    kept, url = keeper
    kept.refusal = 400, headers, body

    with pytest.raises(TryLater if code else Refused) as caught:
        put(a_store(url), tmp_path)
    assert str(caught.value) == "OneLake answered 400" + (f" ({code})" if code else "")


@pytest.mark.parametrize("length", ["9" * 5000, "9" * 30])
def test_a_length_that_is_none_is_not_the_files(keeper, tmp_path, length):
    kept, url = keeper
    kept.beside = {"x-ms-meta-sha256": SHA256, "content-length": length}

    with pytest.raises(Unavailable, match="holds -1 of 700 bytes"):
        put(a_store(url), tmp_path)


def test_lengths_and_pieces_are_the_files_where_a_stand_in_would_compress(keeper, tmp_path):
    """A length would be another, and a piece of a compressed file none of the file."""
    kept, url = keeper
    kept.packs = True

    put(a_store(url, chunk_bytes=len(CONTENT)), tmp_path)

    assert list(kept.kept.values()) == [CONTENT]


def test_what_is_read_back_slowly_is_waited_for_as_what_is_brought(keeper, tmp_path):
    """A chunk that took minutes to bring takes minutes to fetch; only silence ends it sooner."""
    kept, url = keeper
    kept.slow_bytes = 100

    put(a_store(url, read_seconds=0.5), tmp_path)

    assert list(kept.kept.values()) == [CONTENT]
