"""The sandbox's OneLake, used by the real file client and by real deltalake."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import subprocess
import sys
from pathlib import Path

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.storage.filedatalake import ContentSettings, DataLakeServiceClient

from claimx.sandbox.faults import Fault
from claimx.sandbox.server import ACCOUNT_HOST, STORAGE_KEY, Sandbox
from claimx.sandbox.world import World

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    with Sandbox(World(3, 100, 1.79e9), tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def files(sandbox, request):
    sandbox.plan.clear()
    service = DataLakeServiceClient(
        sandbox.onelake_url, AzureNamedKeyCredential("onelake", STORAGE_KEY), retry_total=0
    )
    name = "fs" + str(abs(hash(request.node.name)))[:10]
    system = service.create_file_system(name)
    yield system
    sandbox.plan.clear()
    system.delete_file_system()
    service.close()


def test_a_file_system_exists_once(files):
    assert files.exists()
    with pytest.raises(ResourceExistsError):
        files.create_file_system()


def test_a_file_is_there_once_it_was_flushed(sandbox, files):
    file = files.get_file_client("a/b/ü c.txt")
    file.create_file()
    file.append_data(b"hello ", 0, 6)
    file.append_data(b"world", 6, 5)
    assert file.get_file_properties().size == 0

    file.flush_data(11)

    assert file.get_file_properties().size == 11
    assert file.download_file().readall() == b"hello world"
    stored = sandbox.folder / "onelake" / files.file_system_name / "a/b/ü c.txt"
    assert stored.read_bytes() == b"hello world"


def test_large_files_are_uploaded_in_chunks_and_read_in_ranges(files):
    content = bytes(range(256)) * 4096 * 9  # 9 MiB: three chunks
    file = files.get_file_client("big.bin")

    file.upload_data(io.BytesIO(content), length=len(content), overwrite=True, chunk_size=4 << 20)

    assert file.get_file_properties().size == len(content)
    assert file.download_file().readall() == content
    assert file.download_file(offset=1000, length=77).readall() == content[1000:1077]


def test_uploading_again_replaces(files):
    file = files.get_file_client("again.txt")
    for content in (b"a longer first version", b"short"):
        file.upload_data(content, length=len(content), overwrite=True)

    assert file.download_file().readall() == b"short"


def test_an_empty_file_is_made_by_creating_it(files):
    file = files.get_file_client("empty")
    file.create_file()

    assert file.exists()
    assert file.get_file_properties().size == 0


def test_flushing_less_or_more_than_was_appended_is_refused(files):
    file = files.get_file_client("gap")
    file.create_file()
    file.append_data(b"12345", 0, 5)

    for position in (3, 9):
        with pytest.raises(HttpResponseError):
            file.flush_data(position)

    with pytest.raises(HttpResponseError):
        file.append_data(b"x", 50, 1)


def test_appending_goes_on_behind_what_the_file_has(files):
    file = files.get_file_client("grows")
    file.upload_data(b"123", overwrite=True)

    file.append_data(b"45", 3, 2)
    file.append_data(b"6", 5, 1)
    file.flush_data(6)

    assert file.download_file().readall() == b"123456"


def test_what_was_appended_to_a_file_goes_when_another_takes_its_place(files):
    """As with the service: what is flushed then would stand behind the wrong bytes."""
    file = files.get_file_client("replaced")
    file.upload_data(b"123", overwrite=True)
    file.append_data(b"45", 3, 2)
    files.get_file_client("other").upload_data(b"abcdef", overwrite=True)
    files.get_file_client("other").rename_file(f"{files.file_system_name}/replaced")

    file.append_data(b"g", 6, 1)
    file.flush_data(7)

    assert file.download_file().readall() == b"abcdefg"


def test_a_folder_is_not_replaced_by_a_file(sandbox, files):
    files.get_file_client("folder/x").upload_data(b"1", overwrite=True)
    staging = sandbox.folder / "onelake" / ".staging"
    before = list(staging.iterdir())

    with pytest.raises(HttpResponseError, match="ResourceTypeMismatch"):
        files.get_file_client("folder").create_file()
    assert files.get_file_client("folder/x").download_file().readall() == b"1"
    assert list(staging.iterdir()) == before


def test_conditions_are_kept(files):
    file = files.get_file_client("once")
    file.create_file()
    etag = file.get_file_properties().etag
    file.upload_data(b"newer", length=5, overwrite=True)

    with pytest.raises(ResourceModifiedError):
        file.flush_data(5, etag=etag, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceExistsError):
        file.create_file(match_condition=MatchConditions.IfMissing)


def test_metadata_and_content_type_stay_with_the_file(files):
    file = files.get_file_client("noted.jpg")
    file.create_file(
        content_settings=ContentSettings(content_type="image/jpeg"), metadata={"sha256": "ab12"}
    )
    file.append_data(b"x", 0, 1)
    file.flush_data(1)
    file.rename_file(f"{files.file_system_name}/moved.jpg")
    moved = files.get_file_client("moved.jpg")

    properties = moved.get_file_properties()
    moved.set_metadata({"other": "1"})

    assert properties.metadata == {"sha256": "ab12"}
    assert properties.content_settings.content_type == "image/jpeg"
    assert moved.get_file_properties().metadata == {"other": "1"}
    assert moved.download_file().readall() == b"x"


def test_a_chunk_that_changed_on_its_way_is_refused(sandbox, files):
    files.get_file_client("checked").create_file()
    path = f"/{files.file_system_name}/checked?action=append&position=0"
    honest = base64.b64encode(hashlib.md5(b"chunk", usedforsecurity=False).digest()).decode()

    statuses = []
    for body in (b"chunk", b"chonk"):
        connection = http.client.HTTPConnection("127.0.0.1", sandbox.onelake.port, timeout=20)
        connection.request("PATCH", path, body=body, headers={"Content-MD5": honest})
        statuses.append(connection.getresponse().status)
        connection.close()

    assert statuses == [202, 400]


def test_renaming_moves_over_what_is_there(files):
    for name, content in (("old", b"old"), ("dir/new", b"new")):
        files.get_file_client(name).upload_data(content, length=3, overwrite=True)

    files.get_file_client("old").rename_file(f"{files.file_system_name}/dir/new")

    assert files.get_file_client("dir/new").download_file().readall() == b"old"
    assert not files.get_file_client("old").exists()


def test_listing_tells_names_sizes_and_folders(files):
    for name in ("x/1", "x/2", "x/y/3", "z"):
        files.get_file_client(name).upload_data(name.encode(), length=len(name), overwrite=True)

    every = {(path.name, path.is_directory) for path in files.get_paths()}
    below = {path.name for path in files.get_paths("x", recursive=False)}

    assert every == {
        ("x", True),
        ("x/1", False),
        ("x/2", False),
        ("x/y", True),
        ("x/y/3", False),
        ("z", False),
    }
    assert below == {"x/1", "x/2", "x/y"}
    assert len(list(files.get_paths(max_results=2))) == 6


def test_deleting_and_missing_files(files):
    file = files.get_file_client("gone")
    file.create_file()
    file.delete_file()

    assert not file.exists()
    for ask in (file.get_file_properties, file.download_file, file.delete_file):
        with pytest.raises(ResourceNotFoundError):
            ask()


@pytest.mark.parametrize(
    "path", ["a/../../../escape", "%2e%2e/%2e%2e/escape", "a/..%2f..%2fescape"]
)
def test_names_cannot_leave_the_container(sandbox, files, path):
    """Sent raw: well-behaved clients fold such paths themselves."""
    target = f"/{files.file_system_name}/{path}?resource=file"

    connection = http.client.HTTPConnection("127.0.0.1", sandbox.onelake.port, timeout=20)
    connection.request("PUT", target)
    status = connection.getresponse().status
    connection.close()

    assert status == 400
    assert not list(sandbox.folder.parent.rglob("escape"))


def test_an_upload_that_is_cut_leaves_the_old_file(sandbox, files):
    file = files.get_file_client("kept")
    file.upload_data(b"first", length=5, overwrite=True)
    sandbox.plan.add(
        Fault.parse({"where": "onelake", "kind": "reset", "count": 1, "path": "kept"}), 0.0
    )

    with pytest.raises((ServiceResponseError, HttpResponseError)):
        file.flush_data(5)

    assert file.download_file().readall() == b"first"


DELTA = """
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

uri, endpoint, key = sys.argv[1:]
options = {
    "azure_storage_account_name": "onelake",
    "azure_storage_endpoint": endpoint,
    "allow_http": "true",
    "azure_storage_account_key": key,
}


def rows(*pairs):
    ids, numbers = zip(*pairs)
    return pa.table({"id": pa.array(ids, pa.string()), "n": pa.array(numbers, pa.int64())})


def append(name):
    write_deltalake(uri, rows((name, 1)), mode="append", storage_options=options)


def opened():
    return DeltaTable(uri, storage_options=options)


def found():
    columns = opened().to_pyarrow_table().to_pydict()
    return sorted(zip(columns["id"], columns["n"]))


write_deltalake(uri, rows(("a", 1), ("b", 1)), storage_options=options)
for number in range(4):
    append(f"c{number}")
merge = opened().merge(rows(("a", 5), ("z", 6)), "t.id = s.id", source_alias="s", target_alias="t")
merge.when_matched_update_all().when_not_matched_insert_all().execute()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(append, [f"p{number}" for number in range(8)]))
names = [f"c{number}" for number in range(4)] + [f"p{number}" for number in range(8)]
expected = sorted([("a", 5), ("b", 1), ("z", 6), *((name, 1) for name in names)])
assert opened().version() == 13, opened().version()
assert found() == expected, found()
table = opened()
table.optimize.compact()
table.create_checkpoint()
deleted = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
assert len(deleted) > 5, deleted
assert found() == expected, found()
opened().delete("id = 'z'")
assert len(found()) == len(expected) - 1
print("fine", flush=True)
os._exit(0)  # deltalake's own threads now and then abort an interpreter that ends by itself
"""


def test_deltalake_writes_merges_compacts_and_vacuums_over_abfss(sandbox):
    """In a process of its own: deltalake must not be used in one that may fork later."""
    from claimx.sandbox.server import WORKSPACE

    uri = f"abfss://{WORKSPACE}@{ACCOUNT_HOST}/claimx.Lakehouse/Tables/t"
    service = DataLakeServiceClient(
        sandbox.onelake_url, AzureNamedKeyCredential("onelake", STORAGE_KEY), retry_total=0
    )
    service.create_file_system(WORKSPACE)

    done = subprocess.run(
        [sys.executable, "-c", DELTA, uri, sandbox.onelake_url, STORAGE_KEY],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.stdout.startswith("fine"), done.stderr[-3000:]
    assert (sandbox.lake_folder / "t" / "_delta_log").is_dir()
    service.close()


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=1-"}])
@pytest.mark.parametrize("kind", [None, "cut"])
def test_a_large_file_is_not_held_in_memory(sandbox, files, headers, kind):
    """One of 5 GiB is as long as media may be; several readers of it are more than a machine."""
    size = 768 * 1024 * 1024
    lies = sandbox.folder / "onelake" / files.file_system_name / "large"
    with lies.open("wb") as file:
        file.write(b"begin")
        file.truncate(size)
    if kind:
        sandbox.plan.add(Fault.parse({"where": "onelake", "kind": kind, "count": 1}), 0.0)
    before, connection = held(), http.client.HTTPConnection("127.0.0.1", sandbox.onelake.port)

    connection.request("GET", f"/{files.file_system_name}/large", headers=headers)
    answer = connection.getresponse()

    assert answer.getheader("content-length") == str(size - len(headers))
    assert answer.read(9) == b"begin\0\0\0\0"[len(headers) :] + bytes(len(headers))
    assert held() - before < 64 * 1024 * 1024
    connection.close()


def held():
    """Return the bytes that this process has of its own; files that it maps are not among them."""
    status = Path("/proc/self/status").read_text().partition("RssAnon:")[2]
    return int(status.split()[0]) * 1024


@pytest.mark.parametrize("kind", ["done_error", "done_reset"])
def test_a_request_can_be_carried_out_and_answered_as_if_it_was_not(sandbox, files, kind):
    """A flush or a commit whose answer is lost has happened all the same."""
    file = files.get_file_client("done.bin")
    file.create_file()
    file.append_data(b"abc", 0, 3)
    sandbox.plan.add(Fault.parse({"where": "onelake", "kind": kind, "count": 1}), 0.0)

    with pytest.raises((HttpResponseError, ServiceResponseError)):
        file.flush_data(3)

    assert file.download_file().readall() == b"abc"
