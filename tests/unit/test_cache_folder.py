"""Where a cache's files lie, and that none is left behind elsewhere below ``CACHE_DIR``."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claimx.adapters.cache import DiskCache

DAY_SECONDS = 24 * 3600.0
TOP_OF_HIERARCHIES = 0x20000

SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from claimx.adapters.cache import DiskCache

root = Path(sys.argv[1])
folder = DiskCache(root, 1000).folder
if os.getuid() == 0:  # whom no mode keeps out
    root.chmod(0o777)
    (root / ".node").chmod(0o644)
    os.setuid(65534)
else:
    folder.chmod(0o000)
DiskCache(root, 1000)
"""


def put(cache, media_id="1"):
    incoming = cache.begin(7)
    incoming.write(b"content")
    return incoming.keep(media_id)


def test_files_of_an_earlier_release_are_brought_to_where_uploads_look(tmp_path):
    """They lay in ``CACHE_DIR`` itself. Left there, nobody would ever remove them."""
    cache = DiskCache(tmp_path, 1000)
    name = put(cache)
    Path(cache.path(name)).replace(tmp_path / name)

    again = DiskCache(tmp_path, 1000)

    assert Path(again.path(name)).read_bytes() == b"content"
    assert [entry.name for entry in again.entries(10)] == [name]
    assert not (tmp_path / name).exists()


def test_what_an_older_process_left_later_is_brought_in_by_the_sweeper(tmp_path):
    """While releases change, processes of both share the folder; nothing restarts for weeks."""
    cache = DiskCache(tmp_path, 1000)
    name = put(cache)
    Path(cache.path(name)).replace(tmp_path / name)

    cache.sweep(DAY_SECONDS)

    assert Path(cache.path(name)).exists()


def test_who_works_under_an_identity_that_got_lost_is_not_disturbed(tmp_path):
    """A crash may cut it short, and those who clean up may remove it, while processes run."""
    lost, beside = DiskCache(tmp_path, 1000), DiskCache(tmp_path, 1000)
    incoming = lost.begin(7)
    (tmp_path / ".node").write_text("cut sho")
    cache = DiskCache(tmp_path, 1000)

    incoming.write(b"content")
    name = incoming.keep("1")

    assert cache.node != lost.node
    assert Path(beside.path(name)).read_bytes() == b"content"
    assert put(lost, "2")
    assert len(beside.entries(10)) == 2


@pytest.mark.parametrize(("age_seconds", "stays"), [(DAY_SECONDS + 60, False), (60, True)])
def test_files_of_a_lost_identity_go_once_nobody_waits_for_them(tmp_path, age_seconds, stays):
    """Their folder would stay for ever: the new identity has another."""
    lost = DiskCache(tmp_path, 1000)
    name = put(lost)
    (tmp_path / ".node").unlink()
    then = time.time() - age_seconds
    for path in (lost.path(name), lost.folder):
        os.utime(path, (then, then))

    cache = DiskCache(tmp_path, 1000)

    assert cache.node != lost.node
    assert lost.folder.exists() is stays
    assert Path(lost.path(name)).exists() is stays


def test_starting_together_on_a_lost_identity_harms_nobody(tmp_path):
    """Two may give it one each; neither may lose its folder to the other."""
    for _ in range(50):
        (tmp_path / ".node").write_text("cut sho")
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: put(DiskCache(tmp_path, 1000)), range(4)))

        assert len(found) == 4


def test_a_folder_that_another_user_has_made_is_refused_at_the_start():
    """Nothing could be cached in it; without a word downloads would pause for ever."""
    with tempfile.TemporaryDirectory() as root:  # pytest's own lies in one that is closed to others
        told = subprocess.run(
            [sys.executable, "-c", SOMEBODY_ELSE, root],
            capture_output=True,
            text=True,
            check=False,
        )

    assert "closed to its owner" in told.stderr


@pytest.mark.parametrize(("age_seconds", "stays"), [(DAY_SECONDS + 60, False), (60, True)])
def test_parts_of_an_earlier_release_go_once_nobody_writes_them(tmp_path, age_seconds, stays):
    """A process of that release may still run while the first of this one starts."""
    part = tmp_path / f".{'0' * 32}.part"
    part.write_bytes(b"half")
    then = time.time() - age_seconds
    os.utime(part, (then, then))

    DiskCache(tmp_path, 1000)

    assert part.exists() is stays


def test_nothing_of_anybody_else_is_touched(tmp_path):
    strangers = [tmp_path / "notes.txt", tmp_path / "i31", tmp_path / "lost+found" / "i31.0"]
    for stranger in strangers:
        stranger.parent.mkdir(exist_ok=True)
        stranger.write_text("mine")

    DiskCache(tmp_path, 1000)

    assert all(stranger.read_text() == "mine" for stranger in strangers)


def test_what_only_looks_like_a_cached_file_or_folder_is_left_where_it_is(tmp_path):
    """A folder in a file's place would end every sweep, and a link may lead to anybody's files."""
    elsewhere = DiskCache(tmp_path / "elsewhere", 1000)
    name = put(elsewhere)
    then = time.time() - 2 * DAY_SECONDS
    os.utime(elsewhere.path(name), (then, then))
    root = tmp_path / "cache"
    (root / name).mkdir(parents=True)
    link = root / ("0" * 32)
    link.symlink_to(elsewhere.folder)
    os.utime(link, (then, then), follow_symlinks=False)

    cache = DiskCache(root, 1000)

    assert cache.sweep(DAY_SECONDS) == 0
    assert (root / name).is_dir()
    assert Path(elsewhere.path(name)).exists()


def test_nothing_is_left_of_what_only_helped_to_place_it(tmp_path):
    """Folders that take the disk's emptiest parts first must not pile up with every start."""
    for _ in range(2):
        cache = DiskCache(tmp_path, 1000)

    assert {entry.name for entry in tmp_path.iterdir()} == {".node", cache.node}


def test_what_a_crash_left_of_them_goes_a_day_later(tmp_path):
    """Nobody is killed so often that it would matter, but a folder for each time stays for ever."""
    left = tmp_path / ("0" * 32)
    left.mkdir()
    os.utime(left, (time.time() - 2 * DAY_SECONDS,) * 2)

    DiskCache(tmp_path, 1000)

    assert not left.exists()


def test_folders_below_it_are_placed_apart_where_the_file_system_knows_how(tmp_path):
    """On another file system it is a folder like any other, and all else here holds as well."""
    flags = _flags(tmp_path)

    cache = DiskCache(tmp_path, 1000)

    assert _flags(tmp_path) == (None if flags is None else flags | TOP_OF_HIERARCHIES)
    assert Path(cache.path(put(cache))).read_bytes() == b"content"


def _flags(folder: Path) -> int | None:
    """Return what ``lsattr`` tells of a folder, None where the file system cannot be told."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        number = 0x80006601 | struct.calcsize("l") << 16  # ext2's, which others took over
        found: int = struct.unpack("l", fcntl.ioctl(descriptor, number, bytes(8)))[0]
        fcntl.ioctl(descriptor, number ^ 0xC0000003, struct.pack("l", found | TOP_OF_HIERARCHIES))
        fcntl.ioctl(descriptor, number ^ 0xC0000003, struct.pack("l", found))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return found
