"""Uploads to OneLake through faults, and the credentials of both worlds."""

import asyncio
import hashlib
import socket
import time
from pathlib import Path

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.storage.filedatalake import DataLakeServiceClient
from blobs import Waited

from claimx.adapters.blob_errors import translated
from claimx.adapters.credentials import Credentials, no_access
from claimx.adapters.datalake import StorageRefusal
from claimx.adapters.identity import StaticToken
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.onelake import DataLakeStore, make_store
from claimx.domain.addresses import on_loopback, split_root
from claimx.domain.errors import (
    CircuitOpen,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
)
from claimx.sandbox.faults import Fault
from claimx.sandbox.server import STORAGE_KEY, Sandbox
from claimx.sandbox.world import World

pytestmark = pytest.mark.integration

ROOT = "abfss://faulty@onelake.dfs.fabric.microsoft.com/lh/Files/claimx"
CONTENT = b"content" * 1000
ONELAKE = "https://onelake.dfs.fabric.microsoft.com"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Sandbox(World(3, 100, 1.79e9), tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.plan.clear()
    yield running
    running.plan.clear()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return str(path)


@pytest.fixture
def a_store():
    """Return what makes stores of a URL; they are closed in the end."""
    made = []

    def make(url, gates=None, **options):
        credentials = Credentials([url])
        store = DataLakeStore(
            url,
            ROOT,
            lambda: credentials.storage_access(url),
            gates or MemoryGates(time.monotonic),
            **options,
        )
        made.append(Waited(store))
        return made[-1]

    yield make
    for store in made:
        store.close()


def file_at(url, path):
    """Return the vendor's own client of a stored file."""
    service = DataLakeServiceClient(
        url, AzureNamedKeyCredential("onelake", STORAGE_KEY), retry_total=0
    )
    return service.get_file_client("faulty", f"lh/Files/claimx/{path}")


def put(store, source, path="1/media/2_a.jpg"):
    store.put(path, source, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "image/jpeg")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("throttle", Throttled),
        ("unavailable", Throttled),
        ("error", Unavailable),
        ("gateway", Unavailable),
        ("reset", Unavailable),
        ("unauthorized", TokenRejected),
        ("forbidden", TokenRejected),
        ("timeout", TryLater),
    ],
)
@pytest.mark.parametrize("method", ["create", "append", "flush", "verify"])
def test_a_fault_at_any_step_is_told_and_the_next_upload_repairs_it(
    sandbox, source, a_store, kind, error, method
):
    """A flush that answered 500 may have happened: doing it again must be harmless."""
    store = a_store(sandbox.onelake_url)
    put(store, source, "1/media/1_warm.jpg")
    path = f"1/media/{kind}_{method}.jpg"
    skip = {"create": 0, "append": 1, "flush": 2, "verify": 3}[method]
    rule = Fault.parse({"where": "onelake", "kind": kind, "count": 1, "path": "/Files/"})
    original = sandbox.plan.choose
    seen = 0

    def later(where, path, now):
        nonlocal seen
        if where == "onelake" and "/Files/" in path:
            seen += 1
            if seen <= skip:
                return None
        return original(where, path, now)

    sandbox.plan.add(rule, time.time())
    sandbox.plan.choose = later
    try:
        if kind == "reset":
            put(store, source, path)  # on a kept connection: a new one is tried
        else:
            with pytest.raises(error) as raised:
                put(store, source, path)
            assert raised.value.host == "127.0.0.1"
    finally:
        del sandbox.plan.choose

    put(store, source, path)
    assert seen > skip
    assert file_at(sandbox.onelake_url, path).download_file().readall() == CONTENT


def test_retry_after_is_passed_on(sandbox, source, a_store):
    sandbox.plan.add(
        Fault.parse({"where": "onelake", "kind": "throttle", "seconds": 9, "count": 1}), time.time()
    )

    with pytest.raises(Throttled) as raised:
        put(a_store(sandbox.onelake_url), source)

    assert raised.value.retry_after == 9


def test_silence_has_an_end(source, a_store):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        store = a_store(f"http://127.0.0.1:{mute.getsockname()[1]}", read_seconds=0.2)

        with pytest.raises(Unavailable):
            put(store, source)


def test_an_upload_that_gets_on_too_slowly_is_a_try_that_failed(sandbox, source, a_store):
    """A chunk gives back what it does not finish, without an attempt: it would never end."""
    store = a_store(sandbox.onelake_url, total_seconds=0.5)
    put(store, source, "1/media/1_warm.jpg")
    slow = {"where": "onelake", "kind": "slow", "seconds": 20.0, "count": 1, "path": "/Files/"}
    sandbox.plan.add(Fault.parse(slow), time.time())

    with pytest.raises(Unavailable, match=r"more than 0\.5 s") as raised:
        put(store, source, "1/media/9_a.jpg")
    put(store, source, "1/media/9_a.jpg")

    assert raised.value.counts_against_circuit
    assert raised.value.host == "127.0.0.1"


def test_failures_open_the_shared_circuit(source, a_store):
    gates = MemoryGates(time.monotonic)
    store = a_store("http://127.0.0.1:1", gates)

    for _ in range(5):
        with pytest.raises(Unavailable):
            put(store, source)

    with pytest.raises(CircuitOpen):
        put(store, source)


def test_an_upload_that_was_overtaken_does_not_spoil_its_successors_file(sandbox, source, a_store):
    """A worker that lost its lease may wake up at any step, and may then die at any other."""
    store = a_store(sandbox.onelake_url)
    put(store, source, "1/media/1_warm.jpg")
    target = file_at(sandbox.onelake_url, "1/media/7_a.jpg")
    digest = hashlib.sha256(CONTENT).hexdigest()
    stale = target.create_file(
        metadata={"sha256": digest}, match_condition=MatchConditions.IfMissing
    )["etag"]

    put(store, source, "1/media/7_a.jpg")
    written = target.get_file_properties().etag
    put(store, source, "1/media/7_a.jpg")

    assert target.get_file_properties().etag == written  # complete: nobody touches it
    with pytest.raises(HttpResponseError):
        target.create_file(match_condition=MatchConditions.IfMissing)
    with pytest.raises(HttpResponseError):
        target.flush_data(0, etag=stale, match_condition=MatchConditions.IfNotModified)
    assert target.download_file().readall() == CONTENT


def test_an_upload_that_was_cut_off_is_done_again(sandbox, source, a_store):
    store = a_store(sandbox.onelake_url)
    put(store, source, "1/media/1_warm.jpg")
    target = file_at(sandbox.onelake_url, "1/media/8_a.jpg")
    target.create_file(metadata={"sha256": hashlib.sha256(CONTENT).hexdigest()})
    target.append_data(b"half", 0, 4)

    put(store, source, "1/media/8_a.jpg")

    assert target.download_file().readall() == CONTENT


def test_a_store_serves_one_loop_after_another(sandbox, source):
    """A chunk that a signal ended leaves its loop's connections; the next loop has its own."""
    url = sandbox.onelake_url
    access = Credentials([url]).storage_access(url)
    store = DataLakeStore(url, ROOT, lambda: access, MemoryGates(time.monotonic))
    digest = hashlib.sha256(CONTENT).hexdigest()

    for number in range(2):
        path = f"1/media/{number}_loops.jpg"
        asyncio.run(store.put(path, source, len(CONTENT), digest, "image/jpeg"))
        assert file_at(url, path).download_file().readall() == CONTENT


def test_the_content_type_and_hash_stand_beside_the_file(sandbox, source, a_store):
    store = a_store(sandbox.onelake_url)

    put(store, source)

    found = file_at(sandbox.onelake_url, "1/media/2_a.jpg").get_file_properties()
    assert found.content_settings.content_type == "image/jpeg"
    assert found.metadata["sha256"] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("root", "parts"),
    [
        (ROOT, ("faulty", "lh/Files/claimx")),
        ("abfss://a%20b@h/c%20d/", ("a b", "c d")),
        ("abfss://ws@h", ("ws", "")),
    ],
)
def test_a_root_names_file_system_and_folder(root, parts):
    assert split_root(root) == parts


@pytest.mark.parametrize("root", ["https://h/x", "abfss://h/x", "s3://a@b/c"])
def test_another_root_is_refused_in_words(root):
    with pytest.raises(ValueError, match="abfss://"):
        make_store(root, ONELAKE, no_access, MemoryGates(time.monotonic))


def test_a_path_without_a_scheme_is_a_folder(tmp_path, source):
    store = make_store(str(tmp_path / "m"), ONELAKE, no_access, MemoryGates(time.monotonic))

    put(Waited(store), source)

    assert Path(tmp_path / "m/1/media/2_a.jpg").read_bytes() == CONTENT


# credentials


class Identity:
    """An identity whose cache hands out *tokens* in turn, by (text, seconds left)."""

    made = 0

    def __init__(self, tokens, now):
        self.tokens = tokens
        self.now = now
        self.closed = False

    def get_token(self, *_scopes, **_options):
        text, left = self.tokens.pop(0)
        return AccessToken(text, int(self.now() + left))

    def close(self):
        self.closed = True


def test_static_credentials_are_for_loopback_alone():
    local = Credentials(["http://127.0.0.1:1", "http://localhost:2", ""])
    mixed = Credentials(
        ["http://127.0.0.1:1", ONELAKE], make=lambda: Identity([("real", 60)] * 2, time.time)
    )

    assert local.token_credential().get_token().token == StaticToken().get_token().token
    assert "azure_storage_account_key" in local.storage_access("http://127.0.0.1:1").options
    assert mixed.token_credential().get_token().token == "real"
    assert mixed.storage_access(ONELAKE).options["bearer_token"] == "real"
    with pytest.raises(TokenRejected):
        local.storage_access(ONELAKE)


def test_no_endpoint_at_all_is_not_loopback():
    assert not Credentials([]).all_loopback
    assert not Credentials(["", ""]).all_loopback


def test_an_identity_that_gives_no_token_is_waited_for():
    class Broken(Identity):
        def get_token(self, *_scopes, **_options):
            raise ClientAuthenticationError("no")

    credentials = Credentials([ONELAKE], make=lambda: Broken([], time.time))

    with pytest.raises(TokenRejected):
        credentials.storage_access(ONELAKE)


def test_options_for_deltalake_differ_by_endpoint_alone():
    def now():
        return 1000.0

    credentials = Credentials([ONELAKE], now=now, make=lambda: Identity([("tok", 3600)], now))
    loopback = Credentials(["http://127.0.0.1:9"])

    access = credentials.storage_access(ONELAKE)
    assert access.seconds == 1800  # the other half is for requests under way
    assert access.options == {
        "azure_storage_account_name": "onelake",
        "bearer_token": "tok",
        "use_fabric_endpoint": "true",
    }
    local = loopback.storage_access("http://127.0.0.1:9/").options
    assert local["azure_storage_endpoint"] == "http://127.0.0.1:9"
    assert local["allow_http"] == "true"
    assert "bearer_token" not in local


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1", True),
        ("http://LOCALHOST", True),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://2130706433", False),
        ("http://10.0.0.1", False),
        ("nonsense", False),
        ("http://[", False),
    ],
)
def test_loopback_is_told_without_a_look_up(url, expected):
    assert on_loopback(url) is expected


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "Md5Mismatch", TryLater),
        (400, "InvalidFlushPosition", TryLater),
        (404, "CapacityNotActive", Unavailable),
        (403, "CapacityNotActive", TokenRejected),
        (400, "CapacityNotActive", Unavailable),
        (430, "", Throttled),
        (429, "CapacityLimitExceeded", Throttled),
    ],
)
def test_what_is_not_the_files_fault_is_tried_again(status, code, error):
    """
    A chunk that was damaged on its way, a Fabric capacity that is paused or used up.

    What the file has nothing to do with must not end among the dead letters at once.
    """
    assert type(translated(StorageRefusal(status, code, None), "h")) is error


def test_the_refused_class_is_for_requests_that_can_never_pass():
    assert isinstance(translated(StorageRefusal(400, "InvalidInput", None), "h"), Refused)
