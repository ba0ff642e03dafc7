"""Media in a folder: as a second name of the cached file, or as a copy of it."""

import asyncio
import errno
import hashlib
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from claimx.adapters.blob_folder import FolderStore
from claimx.domain.errors import Unavailable

CONTENT = b"content" * 1000


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def put(store, source):
    content = source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    asyncio.run(store.put("1/media/2_a.jpg", str(source), len(content), digest, "image/jpeg"))


@pytest.fixture(params=["beside the cache", "without links"])
def links(request, monkeypatch):
    """Whether a cached file can get a second name in the folder."""
    if request.param == "without links":

        def refused(*_, **__):
            raise OSError(errno.EXDEV, "another file system")

        monkeypatch.setattr(os, "link", refused)
    return request.param == "beside the cache"


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path, source):
    (tmp_path / "1").write_text("a file where a folder should be")

    with pytest.raises(Unavailable):
        put(FolderStore(tmp_path), source)


def test_what_cannot_be_removed_from_the_parts_stops_no_upload(tmp_path, source):
    """A folder that others left there, or a file of theirs on a share."""
    old = tmp_path / "media" / ".parts" / "old"
    old.mkdir(parents=True)
    (old.parent / "older").touch()
    for path in (old, old.parent / "older"):
        os.utime(path, (0, 0))

    put(FolderStore(tmp_path / "media"), source)

    assert (tmp_path / "media" / "1" / "media" / "2_a.jpg").read_bytes() == CONTENT
    assert list(old.parent.iterdir()) == [old]


def test_a_folder_that_somebody_removed_is_made_again(tmp_path, source, links):
    """A share that was not mounted for a moment; the file in the cache is not to blame."""
    root = tmp_path / "media"
    store = FolderStore(root)
    put(store, source)
    shutil.rmtree(root)

    if not links:
        with pytest.raises(Unavailable):
            put(store, source)
    put(store, source)

    assert (root / "1/media/2_a.jpg").read_bytes() == CONTENT


def test_a_file_beside_the_cache_is_not_written_twice(tmp_path, source, links):
    """Its bytes are; where that cannot be, a copy does, and both are durable and whole."""
    put(FolderStore(tmp_path / "media"), source)

    stored = tmp_path / "media/1/media/2_a.jpg"
    assert stored.samefile(source) is links
    assert stored.read_bytes() == CONTENT


@pytest.mark.parametrize("there", [False, True], ids=["new", "there already"])
def test_a_cached_file_that_was_replaced_meanwhile_is_not_what_is_stored(
    tmp_path, source, monkeypatch, there
):
    """Downloaded twice at once: the second was neither checked nor synced by this upload."""
    link, store = os.link, FolderStore(tmp_path / "media")
    if there:
        put(store, source)

    def replaced(old, new):
        other = tmp_path / "other"
        other.write_bytes(b"not checked")
        other.replace(old)
        link(old, new)

    monkeypatch.setattr(os, "link", replaced)
    put(store, source)

    assert (tmp_path / "media/1/media/2_a.jpg").read_bytes() == CONTENT
    assert not list((tmp_path / "media/.parts").iterdir())


@pytest.mark.parametrize("beside", [True, False], ids=["beside the cache", "a share"])
def test_a_share_is_left_to_threads_and_a_quick_disk_is_not(tmp_path, source, monkeypatch, beside):
    """While a share's server is away whoever asks it hangs: never the loop, with its leases."""
    stat, fsync, in_loop = os.stat, os.fsync, []

    def placed(path, *arguments, **options):
        found = stat(path, *arguments, **options)
        if path != str(source) or beside:
            return found
        fields = list(found)
        fields[2] += 1  # st_dev
        return os.stat_result(fields)

    def synced(file):
        in_loop.append(threading.current_thread() is threading.main_thread())
        fsync(file)

    store = FolderStore(tmp_path / "media")
    put(store, source)  # it has not seen yet where it lies
    monkeypatch.setattr(os, "stat", placed)
    monkeypatch.setattr(os, "fsync", synced)
    put(store, source)

    assert set(in_loop) == {beside}


@pytest.mark.usefixtures("links")
def test_a_stored_file_outlives_the_cached_one(tmp_path, source):
    """The cache forgets it as soon as its row is committed."""
    put(FolderStore(tmp_path / "media"), source)
    source.unlink()

    assert (tmp_path / "media/1/media/2_a.jpg").read_bytes() == CONTENT


@pytest.mark.usefixtures("links")
def test_a_folder_holds_what_was_put_last_and_nothing_beside_it(tmp_path, source):
    """The same file again (a crash before its outcome was stored), then another in its place."""
    store, other = FolderStore(tmp_path / "media"), tmp_path / "other"
    other.write_bytes(b"another")
    stored = tmp_path / "media/1/media/2_a.jpg"

    put(store, source)
    put(store, source)
    assert stored.read_bytes() == CONTENT
    put(store, other)

    assert stored.read_bytes() == b"another"
    assert source.read_bytes() == CONTENT
    assert not list((tmp_path / "media/.parts").iterdir())


@pytest.mark.usefixtures("links")
def test_stored_files_are_as_readable_as_the_folder_of_parts(tmp_path, source):
    """The cache is its user's alone; the media are for whoever may read the folder."""
    source.chmod(0o600)
    (tmp_path / "media/.parts").mkdir(parents=True)
    (tmp_path / "media/.parts").chmod(0o750)

    put(FolderStore(tmp_path / "media"), source)

    assert (tmp_path / "media/1/media/2_a.jpg").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("mode", "syncs"), [(0o640, 1), (0o600, 2)], ids=["as is", "changed"])
def test_a_file_that_has_the_folders_mode_is_not_synced_again(
    tmp_path, source, monkeypatch, mode, syncs
):
    """The cache did so before it gave it a name; what is new is its name, and a new mode."""
    (tmp_path / "media/.parts").mkdir(parents=True)
    (tmp_path / "media/.parts").chmod(0o750)
    store, before = FolderStore(tmp_path / "media"), tmp_path / "before"
    before.write_bytes(b"another")
    put(store, before)  # its folder is there
    source.chmod(mode)
    fsync, synced = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(file) or fsync(file))

    put(store, source)

    assert len(synced) == syncs
    assert (tmp_path / "media/1/media/2_a.jpg").stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("links")
def test_the_folders_that_a_file_lies_in_are_as_durable_as_it_is(tmp_path, source, monkeypatch):
    """A crash could take a project's new folder, with files in it whose rows were committed."""
    root = tmp_path / "new" / "media"
    fsync, synced = os.fsync, []

    def noted(file):
        fsync(file)
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))

    monkeypatch.setattr(os, "fsync", noted)
    places = [tmp_path, root.parent, root, root / "1", root / "1/media"]

    put(FolderStore(root), source)
    assert {str(one) for one in places} <= set(synced)

    beside, after = FolderStore(root), str(root / "1")
    synced.clear()
    put(beside, source)  # another process may have made them a moment ago
    assert {str(root), after} <= set(synced)

    synced.clear()
    put(beside, source)
    assert not {str(root), after} & set(synced), "once is enough"

    shutil.rmtree(root / "1")
    put(beside, source)
    assert {str(root), after} <= set(synced), "they are others"


def test_what_a_killed_process_left_in_a_folder_goes_a_day_later(tmp_path, source):
    """It lay beside the media for ever, and readers of the folder met half a file."""
    root = tmp_path / "media"
    put(FolderStore(root), source)
    left = root / ".parts" / "left"
    left.write_bytes(b"half")

    put(FolderStore(root), source)
    young = left.exists()
    put(FolderStore(root, now=lambda: time.time() + 25 * 3600), source)

    assert young
    files = [one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file()]
    assert files == ["1/media/2_a.jpg"]
