"""The media cache on disk."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claimx import startup, workers
from claimx.adapters.cache import DiskCache
from claimx.domain.errors import DiskFull, NotAllowed, TooLargeNow
from claimx.settings import Settings


@pytest.fixture
def clock():
    return [1_000_000.0]


@pytest.fixture
def cache(tmp_path, clock):
    return DiskCache(tmp_path / "cache", 1000, spare_bytes=0, now=lambda: clock[0])


def put(cache, media_id, content=b"content"):
    incoming = cache.begin(len(content))
    incoming.write(content)
    return incoming.keep(media_id)


def files(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def age(cache, name, seconds, clock):
    os.utime(cache.folder / name, (clock[0] - seconds, clock[0] - seconds))


def test_one_folder_is_one_node(cache, tmp_path):
    again = DiskCache(tmp_path / "cache", 1000)
    other = DiskCache(tmp_path / "other", 1000)

    assert again.node == cache.node
    assert other.node != cache.node


def test_racing_processes_agree_on_the_node(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: DiskCache(tmp_path / "c", 1).node, range(8)))

    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_node_file_cut_short_by_a_crash_is_replaced(tmp_path):
    (tmp_path / ".node").write_text("")

    cache = DiskCache(tmp_path, 1)

    assert len(cache.node) == 32
    assert DiskCache(tmp_path, 1).node == cache.node


def test_a_kept_file_is_there_in_full(cache):
    name = put(cache, "99")

    assert Path(cache.path(name)).read_bytes() == b"content"
    assert files(cache) == [name]


def test_length_and_hash_are_counted_while_it_is_written(cache):
    incoming = cache.begin()

    for piece in (b"a", b"", b"bc"):
        incoming.write(piece)

    assert incoming.length == 3
    assert incoming.sha256 == hashlib.sha256(b"abc").hexdigest()
    incoming.discard()
    assert files(cache) == []


def test_other_contents_of_one_media_are_another_file(cache):
    """So nobody's file changes under an upload that reads it."""
    assert put(cache, "99", b"one") != put(cache, "99", b"two")
    assert len(files(cache)) == 2


@pytest.mark.parametrize(
    "media_id", ["../../etc/passwd", "a/b", "", ".node", "x" * 500, "\0", "ä", "..", "99"]
)
def test_a_hostile_id_stays_inside(cache, media_id):
    name = put(cache, media_id)

    assert Path(cache.path(name)).parent == cache.folder
    (entry,) = cache.entries(10)
    assert entry.name == name
    assert entry.media_id in {media_id, None}
    assert (entry.media_id is None) == (media_id == "" or len(media_id) > 118)


@pytest.mark.parametrize("name", ["../x", ".node", "/etc/passwd", "", "a", "i1.zz", "i1\n.0"])
def test_a_foreign_name_is_refused(cache, name):
    with pytest.raises(ValueError, match="not the name"):
        cache.path(name)


def test_the_quota_holds_for_what_is_announced_and_for_what_comes(cache):
    put(cache, "1", b"x" * 600)

    with pytest.raises(DiskFull, match="CLAIMX_CACHE_MAX_BYTES"):
        cache.begin(500)
    incoming = cache.begin(0)
    incoming.write(b"x" * 400)
    with pytest.raises(DiskFull):
        incoming.write(b"x")
    incoming.discard()

    cache.begin(400).discard()


@pytest.mark.parametrize(("used", "kind"), [(900, TooLargeNow), (901, DiskFull)])
def test_a_file_too_large_for_much_room_is_no_full_cache(cache, used, kind):
    put(cache, "1", b"x" * used)

    with pytest.raises(DiskFull) as raised:
        cache.begin(101)

    assert type(raised.value) is kind


def test_a_file_too_large_for_much_of_the_disk_is_no_full_disk(tmp_path):
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    cache = DiskCache(tmp_path, 2 * free, spare_bytes=free // 2)

    with pytest.raises(TooLargeNow, match="disk"):
        cache.begin(free)


@pytest.mark.parametrize("chunks", [[], [b"photo"], [b"x" * 300, b"y" * 300]])
def test_a_file_is_synced_whole_before_it_has_its_name(cache, monkeypatch, chunks):
    """A crash of the machine would leave a name over bytes that never came to the disk."""
    named_by_then = {}

    def noting(sync):
        def synced(file):
            sync(file)
            found = os.fstat(file)
            named = [name for name in files(cache) if not name.endswith(".part")]
            named_by_then[found.st_ino, found.st_size] = named

        return synced

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    incoming = cache.begin()
    for chunk in chunks:
        incoming.write(chunk)

    kept = Path(cache.path(incoming.keep("1"))).stat()

    assert named_by_then[kept.st_ino, sum(map(len, chunks))] == []


def test_a_file_that_has_no_room_even_alone_is_not_allowed(cache):
    """Nothing that is uploaded makes room for it, so nobody is to wait for that."""
    with pytest.raises(NotAllowed, match="CLAIMX_CACHE_MAX_BYTES"):
        cache.begin(1001)
    incoming = cache.begin()
    incoming.write(b"x" * 1000)
    with pytest.raises(NotAllowed, match="CLAIMX_CACHE_MAX_BYTES"):
        incoming.write(b"x")
    incoming.discard()

    assert files(cache) == []


def test_what_is_removed_makes_room(cache):
    name = put(cache, "1", b"x" * 900)

    cache.remove(name)
    cache.remove(name)

    put(cache, "2", b"x" * 1000)


def test_another_processs_files_count_once_they_are_recounted(cache, tmp_path, clock):
    other = DiskCache(tmp_path / "cache", 1000, spare_bytes=0, now=lambda: clock[0])
    cache.begin(1).discard()
    put(other, "1", b"x" * 900)

    clock[0] += 31

    with pytest.raises(DiskFull):
        cache.begin(200)


def test_a_clock_that_is_set_back_holds_up_no_recount(cache, tmp_path, clock):
    """A full cache refused files for as long as the jump, whatever had been removed."""
    other = DiskCache(tmp_path / "cache", 1000, spare_bytes=0, now=lambda: clock[0])
    name = put(other, "1", b"x" * 900)
    with pytest.raises(DiskFull):
        cache.begin(200)
    other.remove(name)
    clock[0] -= 3600

    cache.begin(200).discard()


def test_what_is_announced_counts_though_it_was_recounted_before_it_came(cache, clock):
    """A download of 5 GiB takes longer than half a minute: its room was given away meanwhile."""
    first = cache.begin(600)
    first.write(b"x" * 100)
    clock[0] += 31

    with pytest.raises(DiskFull):
        cache.begin(401)
    second = cache.begin(400)
    first.write(b"x" * 500)
    first.keep("1")
    second.discard()

    with pytest.raises(DiskFull):
        cache.begin(401)
    cache.begin(400).discard()


def test_what_is_announced_by_several_leaves_the_spare_bytes_of_the_disk(tmp_path):
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    cache = DiskCache(tmp_path, 1 << 60, spare_bytes=free // 2)
    first = cache.begin(free // 3)

    with pytest.raises(DiskFull, match="disk"):
        cache.begin(free // 3)

    first.discard()
    cache.begin(free // 3).discard()


def test_a_file_that_grows_leaves_the_spare_bytes_of_the_disk(tmp_path):
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    cache = DiskCache(tmp_path, 1 << 60, spare_bytes=free // 2)
    growing, announced = cache.begin(), cache.begin(free // 2 - 4 * 1024 * 1024)

    with pytest.raises(DiskFull, match="disk"):
        growing.write(bytes(8 * 1024 * 1024))

    announced.discard()
    growing.discard()


def test_a_node_file_of_rubbish_is_replaced(tmp_path):
    """What a crash of the machine leaves of a new file may be anything."""
    (tmp_path / ".node").write_bytes(b"\xff\xfe\xfd")

    assert DiskCache(tmp_path, 1).node == DiskCache(tmp_path, 1).node


def test_a_full_cache_is_read_through_once_a_second_at_most(cache, tmp_path, clock):
    """With 20,000 files that wait for their upload, each refused download read all their names."""
    other = DiskCache(tmp_path / "cache", 1000, spare_bytes=0, now=lambda: clock[0])
    name = put(other, "1", b"x" * 900)
    with pytest.raises(DiskFull):
        cache.begin(200)
    other.remove(name)

    with pytest.raises(DiskFull):
        cache.begin(200)
    clock[0] += 1
    cache.begin(200).discard()


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path):
    cache = DiskCache(tmp_path, 1 << 60, spare_bytes=1 << 60)

    with pytest.raises(DiskFull, match="disk"):
        cache.begin(1)


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_that_somebody_removed_is_made_again(cache, clock, whole):
    """Downloads paused until a restart. What was in it no longer counts; its node stays."""
    put(cache, "1", b"x" * 900)
    incoming = cache.begin(5)
    shutil.rmtree(cache.folder.parent if whole else cache.folder)
    clock[0] += 1

    name = put(cache, "2", b"x" * 900)
    incoming.write(b"12345")
    incoming.keep("3")

    assert Path(cache.path(name)).stat().st_size == 900
    assert DiskCache(cache.folder.parent, 1000).node == cache.node


def test_in_a_removed_folder_there_is_nothing_to_sweep_or_to_list(cache):
    """Of a worker that only uploads, nothing makes it again."""
    put(cache, "1")
    shutil.rmtree(cache.folder)

    assert (cache.entries(10), cache.sweep(0)) == ([], 0)


def test_a_folder_that_cannot_be_made_again_is_no_fault_of_the_media(cache):
    """Nobody classified it else, and the downloads that met it spent their attempts on it."""
    incoming = cache.begin(5)
    shutil.rmtree(cache.folder.parent)
    cache.folder.parent.symlink_to("nowhere")

    with pytest.raises(DiskFull, match="EEXIST"):
        cache.begin(5)
    with pytest.raises(DiskFull, match="EEXIST"):
        incoming.write(b"longer than five")
    incoming.discard()


def test_a_file_whose_folder_goes_while_it_comes_is_no_fault_of_the_media(cache):
    incoming = cache.begin(5)
    incoming.write(b"12345")
    shutil.rmtree(cache.folder)

    with pytest.raises(DiskFull, match="ENOENT"):
        incoming.keep("1")
    incoming.discard()


def test_old_files_are_swept_half_written_ones_too(cache, clock):
    old, young = put(cache, "1"), put(cache, "2")
    incoming = cache.begin(10)
    incoming.write(b"half")
    part = next(name for name in files(cache) if name.endswith(".part"))
    for name in (old, part):
        age(cache, name, 100, clock)
    age(cache, young, 5, clock)

    assert cache.sweep(50) == 2

    assert files(cache) == [young]


def test_files_of_a_time_that_lies_ahead_do_not_stay_young_for_as_long(cache, clock):
    """The clock was set back since; nobody asked about them, and no age removed them."""
    far, near, now = put(cache, "1"), put(cache, "2"), put(cache, "3")
    for name, seconds in ((far, -1000), (near, -70), (now, -5)):
        age(cache, name, seconds, clock)

    assert [entry.media_id for entry in cache.entries(10, 60)] == ["1", "2"]
    assert cache.sweep(900) == 1
    assert files(cache) == sorted([near, now])


def test_sweeping_leaves_strangers_and_the_node_alone(cache, clock):
    strangers = [cache.folder / "notes.txt", cache.folder.parent / "notes.txt"]
    for one in strangers:
        one.write_text("mine")
        age(cache, one, 1e6, clock)
    age(cache, "../.node", 1e6, clock)

    assert cache.sweep(50) == 0
    assert all(one.exists() for one in strangers)


def test_entries_are_listed_oldest_first(cache, clock):
    names = {seconds: put(cache, str(seconds)) for seconds in (10, 30, 20)}
    for seconds, name in names.items():
        age(cache, name, seconds, clock)

    assert [entry.media_id for entry in cache.entries(2, 15)] == ["30", "20"]


def test_files_are_for_their_owner_alone(cache):
    name = put(cache, "1")

    assert Path(cache.path(name)).stat().st_mode & 0o077 == 0
    assert cache.folder.stat().st_mode & 0o077 == 0


def test_files_to_be_shared_are_as_readable_as_any_behind_a_closed_door(tmp_path):
    """A media folder names them a second time, and need not change and sync them for it."""
    cache = DiskCache(tmp_path / "cache", 1000, spare_bytes=0, shared=True)
    usual = tmp_path / "usual"
    usual.touch()

    name = put(cache, "1")

    assert Path(cache.path(name)).stat().st_mode == usual.stat().st_mode
    assert cache.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("media", "others_read"), [("media", True), ("abfss://w@host/l.Lakehouse/Files", False)]
)
def test_only_files_that_go_to_a_folder_are_made_to_be_shared(tmp_path, media, others_read):
    """Into OneLake nobody takes the file itself."""
    settings = Settings.load({"CACHE_DIR": str(tmp_path / "cache"), "ONELAKE_CLAIMX_PATH": media})
    startup.forget("cache")
    try:
        cache = workers.cache_of(settings)
        mode = Path(cache.path(put(cache, "1"))).stat().st_mode
    finally:
        startup.forget("cache")
    usual = tmp_path / "usual"
    usual.touch()

    assert (mode == usual.stat().st_mode) is others_read


def test_files_to_be_shared_are_so_below_a_folder_that_was_there_before(tmp_path):
    """An operator's own, made with the usual mode: its door is open, that of the files is not."""
    (tmp_path / "cache").mkdir(mode=0o755)
    cache = DiskCache(tmp_path / "cache", 1000, spare_bytes=0, shared=True)
    usual = tmp_path / "usual"
    usual.touch()

    name = put(cache, "1")

    assert Path(cache.path(name)).stat().st_mode == usual.stat().st_mode
    assert cache.folder.stat().st_mode & 0o077 == 0


def test_files_in_a_folder_that_others_may_enter_are_never_shared_from_there(tmp_path):
    """Somebody has opened it by hand."""
    folder = DiskCache(tmp_path, 1000).folder
    folder.chmod(0o755)
    cache = DiskCache(tmp_path, 1000, spare_bytes=0, shared=True)

    name = put(cache, "1")

    assert Path(cache.path(name)).stat().st_mode & 0o077 == 0
