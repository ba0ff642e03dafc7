"""Large files go on where the last try of their upload ended, and never with another's bytes."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.filedatalake import DataLakeServiceClient
from blobs import Waited
from hypothesis import given, settings
from hypothesis import strategies as st

from claimx.adapters.credentials import Credentials
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.onelake import DataLakeStore
from claimx.adapters.onelake_upload import PART_CHUNKS
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.sandbox.faults import Fault
from claimx.sandbox.server import STORAGE_KEY, Sandbox
from claimx.sandbox.world import World

pytestmark = pytest.mark.integration

ROOT = "abfss://large@onelake.dfs.fabric.microsoft.com/lh/Files"
CHUNK = 10_000  # more than a file's reader has in its buffer
PART = CHUNK * PART_CHUNKS
CONTENT = b"".join(number.to_bytes(4) for number in range(PART // 2 + 6500))  # two parts and more
DIGEST = hashlib.sha256(CONTENT).hexdigest()
REQUESTS = 1 + -(-len(CONTENT) // CHUNK) + 3 + 1  # create, append, flush, properties


class Rig:
    """A stand-in, a store whose chunks are small, and a file to upload."""

    def __init__(self, sandbox, folder):
        self.sandbox = sandbox
        self.source = folder / "source"
        self.source.write_bytes(CONTENT)
        self.store = Waited(self._store())
        self._names = iter(range(10**9))
        self.put(self.new_path())  # makes the file system

    def _store(self, **options):
        url = self.sandbox.onelake_url
        access = Credentials([url]).storage_access
        gates = MemoryGates(time.monotonic)
        options = {"chunk_bytes": CHUNK, **options}
        return DataLakeStore(url, ROOT, lambda: access(url), gates, **options)

    def slow(self, seconds):
        """Have another store, whose tries are bounded."""
        self.store.close()
        self.store = Waited(self._store(total_seconds=seconds))

    def new_path(self):
        return f"1/media/{next(self._names)}_a.mp4"

    def put(self, path):
        self.store.put(path, str(self.source), len(CONTENT), DIGEST, "video/mp4")

    def stored(self, path):
        """Return the vendor's own client of a stored file."""
        credential = AzureNamedKeyCredential("onelake", STORAGE_KEY)
        service = DataLakeServiceClient(self.sandbox.onelake_url, credential, retry_total=0)
        return service.get_file_client("large", f"lh/Files/{path}")

    def content(self, path):
        return self.stored(path).download_file().readall()

    @contextmanager
    def asked(self, faults=()):
        """Yield the requests that come, of which some fail: *faults* by the number of each."""
        seen = []
        faults = dict(faults)

        def choose(where, path, _now):
            if where != "onelake" or "/Files/" not in path:
                return None
            seen.append(path)
            return faults.get(len(seen))

        self.sandbox.plan.choose = choose
        try:
            yield seen
        finally:
            del self.sandbox.plan.choose


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with Sandbox(World(3, 100, 1.79e9), tmp_path_factory.mktemp("sandbox")) as sandbox:
        rig = Rig(sandbox, tmp_path_factory.mktemp("cache"))
        yield rig
        rig.store.close()


@pytest.fixture(autouse=True)
def whole_source(rig):
    rig.source.write_bytes(CONTENT)


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def fault(kind, **more):
    return Fault.parse({"where": "onelake", "kind": kind, **more})


def test_a_try_sends_what_is_left_of_the_file(rig):
    """A try has minutes: a file that needs more than one of them would never be stored."""
    path = rig.new_path()
    with (
        rig.asked({1 + 2 * (PART_CHUNKS + 1) + 1: fault("error")}),  # the first behind two parts
        pytest.raises(Unavailable),
    ):
        rig.put(path)
    assert rig.stored(path).get_file_properties().size == 2 * PART

    with rig.asked() as seen:
        rig.put(path)

    left = -(-(len(CONTENT) - 2 * PART) // CHUNK)
    assert len(seen) == 2 + left + 1 + 1  # create and properties, append, flush, properties
    assert rig.content(path) == CONTENT


def test_tries_that_are_too_short_for_the_whole_come_to_its_end(rig):
    path = rig.new_path()
    rig.slow(0.5)
    tries = 0
    with rig.asked(dict.fromkeys(range(1, 1000), fault("slow", seconds=0.025))):
        for tries in range(1, 20):  # noqa: B007 - counted
            try:
                rig.put(path)
            except Unavailable as error:
                assert "more than 0.5 s" in str(error)  # noqa: PT017 - some tries may pass
                continue
            break
    rig.slow(230.0)

    assert rig.content(path) == CONTENT
    assert tries > 1, "one try was enough: nothing was shown"


@given(
    faults=st.dictionaries(
        st.integers(1, REQUESTS + 5),
        st.sampled_from([fault("error"), fault("done_error"), fault("error", status=400)]),
        max_size=4,
    ),
)
@settings(deadline=None, max_examples=60)
def test_whatever_fails_what_is_stored_in_the_end_is_the_file(rig, faults):
    """Each step may fail, or be carried out without our learning it, in the tries behind it too."""
    path = rig.new_path()
    with rig.asked(faults):
        for left in reversed(range(len(faults) + 1)):
            try:
                rig.put(path)
            except ClaimXError:
                if not left:
                    raise
                continue
            break

    assert rig.content(path) == CONTENT


def test_storage_that_takes_nothing_behind_a_part_gets_the_whole_at_once(rig):
    """Its refusal would be the same with every try, until the file is given up on."""
    path = rig.new_path()
    with rig.asked({1 + PART_CHUNKS + 2: fault("error")}), pytest.raises(Unavailable):
        rig.put(path)

    with rig.asked({3: fault("error", status=400)}) as seen:
        rig.put(path)

    assert len(seen) == 3 + REQUESTS
    assert rig.content(path) == CONTENT


def test_nobody_goes_on_with_what_another_file_has_left(rig):
    """A link may lead to a new version of a file while the old one is being uploaded."""
    path = rig.new_path()
    target = rig.stored(path)
    target.create_file(metadata={"sha256": "0" * 64})
    target.append_data(bytes(PART), 0, PART)
    target.flush_data(PART)

    rig.put(path)

    assert rig.content(path) == CONTENT


def begun_by_another(rig):
    """Return the path of a file whose upload, of another content, is thought dead."""
    path = rig.new_path()
    rig.stored(path).create_file(metadata={"sha256": "0" * 64})
    return path


def mix(rig, path, after):
    """Let that upload append a byte as request *after* comes."""
    choose = rig.sandbox.plan.choose
    seen = []

    def append(where, asked, now):
        seen.append(asked)
        if len(seen) == after:
            rig.sandbox.onelake.store.append("large", f"lh/Files/{path}", 0, b"?")
        return choose(where, asked, now)

    rig.sandbox.plan.choose = append


BEGUN = 3  # create, properties, create in its place
APPENDED = BEGUN + 2


def test_what_another_upload_has_appended_beside_ours_is_no_stored_file(rig):
    """No append can be conditional: a file was recorded with bytes of the one that it replaced."""
    path = begun_by_another(rig)
    with rig.asked():
        mix(rig, path, APPENDED)
        with pytest.raises(Unavailable, match="another file"):
            rig.put(path)
    assert rig.stored(path).get_file_properties().size == 0

    rig.put(path)

    assert rig.content(path) == CONTENT


@pytest.mark.parametrize("mixed", [False, True])
def test_nor_is_it_for_the_next_try_that_finds_it_complete(rig, mixed):
    """Its own try was cut off before it was read back."""
    path = begun_by_another(rig)
    reading = BEGUN + REQUESTS
    with rig.asked({reading: fault("error")}) as seen:
        mix(rig, path, APPENDED if mixed else -1)
        with pytest.raises(Unavailable):
            rig.put(path)
    assert len(seen) == reading
    assert rig.stored(path).get_file_properties().size == len(CONTENT)

    if mixed:
        with pytest.raises(Unavailable, match="another file"):
            rig.put(path)
    rig.put(path)

    assert rig.content(path) == CONTENT


@pytest.mark.parametrize("length", [1, PART - 1, PART + CHUNK, len(CONTENT) + 1])
def test_what_is_no_whole_number_of_parts_is_sent_anew(rig, length):
    """It is no upload of this release, whose appends would lie across those that are waiting."""
    path = rig.new_path()
    target = rig.stored(path)
    target.create_file(metadata={"sha256": DIGEST})
    target.append_data(bytes(length), 0, length)
    target.flush_data(length)

    rig.put(path)

    assert rig.content(path) == CONTENT


def test_a_file_that_was_damaged_in_the_cache_leaves_nothing_to_go_on_with(rig):
    """What is stored of it early cannot be compared with its hash any more."""
    path = rig.new_path()
    rig.source.write_bytes(CONTENT[:-1] + b"?")

    with rig.asked() as seen, pytest.raises(FileNotFoundError):
        rig.put(path)

    assert len(seen) == 1  # it was created
    rig.source.write_bytes(CONTENT)
    rig.put(path)
    assert rig.content(path) == CONTENT


def test_a_file_that_changes_while_it_is_sent_leaves_nothing_to_go_on_with(rig):
    """A disk may give other bytes the second time it is read."""
    path = rig.new_path()
    with rig.asked() as seen:
        choose = rig.sandbox.plan.choose

        def damage(where, asked, now):
            if len(seen) == PART_CHUNKS:  # it was checked, and its first part is on its way
                rig.source.write_bytes(CONTENT[:-1] + b"?")
            return choose(where, asked, now)

        rig.sandbox.plan.choose = damage
        with pytest.raises(FileNotFoundError):
            rig.put(path)

    assert rig.stored(path).get_file_properties().size == 0


def test_an_upload_that_goes_on_is_overtaken_like_any_other(rig):
    """Somebody who was thought dead must not spoil what his successor has stored."""
    path = rig.new_path()
    with rig.asked({1 + PART_CHUNKS + 2: fault("error")}), pytest.raises(Unavailable):
        rig.put(path)
    target = rig.stored(path)
    assert target.get_file_properties().size == PART

    late = fault("slow", seconds=1.0)
    with rig.asked({PART_CHUNKS: late}) as seen, ThreadPoolExecutor(1) as thread:
        going_on = thread.submit(rig.put, path)
        until(lambda: len(seen) >= PART_CHUNKS)
        target.upload_data(b"another's", overwrite=True)
        with pytest.raises(ClaimXError):
            going_on.result(timeout=60)

    assert rig.content(path) == b"another's"


def test_small_files_are_sent_as_ever(rig):
    """A look at each file before it is sent, and a flush more, is for those that need it."""
    small = Path(rig.source).parent / "small"
    small.write_bytes(CONTENT[:PART])
    digest = hashlib.sha256(CONTENT[:PART]).hexdigest()

    with rig.asked() as seen:
        rig.store.put(path := rig.new_path(), str(small), PART, digest, "video/mp4")

    assert len(seen) == 1 + PART_CHUNKS + 1 + 1
    assert rig.content(path) == CONTENT[:PART]
