"""What every blob store promises."""

import hashlib
import resource
import time
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.filedatalake import DataLakeServiceClient
from blobs import Waited

from claimx.adapters.blob_folder import FolderStore
from claimx.adapters.credentials import Credentials
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.media import MemoryBlobStore
from claimx.adapters.onelake import DataLakeStore
from claimx.domain.errors import TryLater
from claimx.sandbox.server import STORAGE_KEY, Sandbox
from claimx.sandbox.world import World

ROOT = "abfss://media-ws@onelake.dfs.fabric.microsoft.com/lake house.Lakehouse/Files/claimx"
CHUNK = 64 * 1024


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with Sandbox(World(3, 100, 1.79e9), tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(params=["memory", "folder", "datalake"])
def stored(request, tmp_path):
    """A store, and a function that reads back what it holds."""
    match request.param:
        case "memory":
            memory = MemoryBlobStore()
            store, read = Waited(memory), lambda path: memory.blobs[path].content
        case "folder":
            folder = tmp_path / "media"
            store, read = Waited(FolderStore(folder)), lambda path: (folder / path).read_bytes()
        case _:
            url = request.getfixturevalue("sandbox").onelake_url
            credentials = Credentials([url])
            store = Waited(
                DataLakeStore(
                    url,
                    ROOT,
                    lambda: credentials.storage_access(url),
                    MemoryGates(time.monotonic),
                    chunk_bytes=CHUNK,
                )
            )
            reader = DataLakeServiceClient(
                url, AzureNamedKeyCredential("onelake", STORAGE_KEY), retry_total=0
            ).get_file_system_client("media-ws")

            def read(path):
                file = reader.get_file_client(f"lake house.Lakehouse/Files/claimx/{path}")
                return file.download_file().readall()

    yield store, read
    store.close()


def a_file(tmp_path, content, path="4711/media/99_a.jpg", **wrong):
    """Return what `BlobStore.put` takes."""
    source = tmp_path / hashlib.sha256(content).hexdigest()
    source.write_bytes(content)
    values = {
        "length": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_type": "image/jpeg",
    }
    return path, str(source), *(values | wrong).values()


def put(store, tmp_path, content, *args, **more):
    file = a_file(tmp_path, content, *args, **more)
    store.put(*file)
    return file[1]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_a_file_is_stored_whole(stored, tmp_path, size):
    store, read = stored
    content = bytes(i % 251 for i in range(size))

    put(store, tmp_path, content, path=f"4711/media/{size}_a.jpg")

    assert read(f"4711/media/{size}_a.jpg") == content


@pytest.mark.parametrize(
    "other",
    [b"", b"short", b"something longer" * 9999, b"other" * 5000],
    ids=["nothing", "shorter", "longer", "as long"],
)
def test_storing_again_replaces(stored, tmp_path, other):
    """One that is as long as what is there is not taken for an earlier try's."""
    store, read = stored

    for content in (b"first" * 5000, other, other):
        put(store, tmp_path, content)

    assert read("4711/media/99_a.jpg") == other


@pytest.mark.parametrize(
    "name", ["1_Dach größe.jpg", "1_a+b c&d#e=f;g.jpg", "1_100~.jpg", "1_家.jpg"]
)
def test_any_safe_name_can_be_stored(stored, tmp_path, name):
    store, read = stored

    put(store, tmp_path, b"content", path=f"4711/media/{name}")

    assert read(f"4711/media/{name}") == b"content"


def test_a_source_that_is_gone_is_said_so(stored, tmp_path):
    store, _ = stored

    with pytest.raises(FileNotFoundError):
        store.put("4711/media/1_a.jpg", str(tmp_path / "gone"), 1, "00", "image/jpeg")


def test_a_source_that_nobody_can_read_counts_as_gone(stored, tmp_path):
    """
    A bad block of the disk, a file that became another's: downloaded again, it is well.

    As a failure of nobody knows what, it would be tried to its death.
    """
    store, _ = stored
    (tmp_path / "folder").mkdir()

    with pytest.raises(FileNotFoundError):
        store.put("4711/media/1_a.jpg", str(tmp_path / "folder"), 4096, "00", "image/jpeg")


def test_a_machine_short_of_open_files_says_nothing_of_the_source(stored, tmp_path):
    """What lies in the cache is well: it waits for its turn, and no circuit hears of it."""
    store, read = stored
    put(store, tmp_path, b"first")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    file = a_file(tmp_path, b"second")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        with pytest.raises(TryLater, match="EMFILE"):
            store.put(*file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    store.put(*file)
    assert read("4711/media/99_a.jpg") == b"second"


@pytest.mark.parametrize("wrong", [{"length": 3}, {"sha256": "0" * 64}])
def test_a_source_that_is_not_what_was_downloaded_counts_as_gone(stored, tmp_path, wrong):
    store, _ = stored

    with pytest.raises(FileNotFoundError):
        put(store, tmp_path, b"content", **wrong)


@pytest.mark.parametrize("path", ["../x", "4711/../../x", "/etc/x"])
def test_no_path_leaves_the_root(stored, tmp_path, path):
    store, _ = stored

    with pytest.raises(ValueError, match="leaves"):
        put(store, tmp_path, b"content", path=path)


def test_the_source_is_left_alone(stored, tmp_path):
    store, _ = stored

    source = put(store, tmp_path, b"content")

    assert Path(source).read_bytes() == b"content"


def test_many_files_are_stored_side_by_side(stored, tmp_path):
    store, read = stored
    contents = {f"4711/media/{n}_a.jpg": str(n).encode() * 20_000 for n in range(12)}

    store.put_all(a_file(tmp_path, content, path) for path, content in contents.items())

    assert {path: read(path) for path in contents} == contents
