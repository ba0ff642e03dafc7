"""Where a cache's files lie, and that none is left behind elsewhere below ``CACHE_DIR``."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path

import pytest

from claimx.adapters.cache import DiskCache

DAY_SECONDS = 24 * 3600.0
TOP_OF_HIERARCHIES = 0x20000


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


def test_files_of_a_lost_identity_go_on_with_the_new_one(tmp_path):
    """A crash may cut the identity short; the folder named by it would stay for ever."""
    lost = DiskCache(tmp_path, 1000)
    name = put(lost)
    (tmp_path / ".node").write_text("cut sho")

    cache = DiskCache(tmp_path, 1000)

    assert cache.node != lost.node
    assert Path(cache.path(name)).read_bytes() == b"content"
    assert not lost.folder.exists()


def test_who_still_writes_under_the_lost_identity_is_not_disturbed(tmp_path):
    lost = DiskCache(tmp_path, 1000)
    incoming = lost.begin(7)
    incoming.write(b"content")
    (tmp_path / ".node").write_text("cut sho")
    DiskCache(tmp_path, 1000)

    name = incoming.keep("1")

    assert Path(lost.path(name)).read_bytes() == b"content"


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


def test_folders_below_it_are_placed_apart_where_the_file_system_knows_how(tmp_path):
    """On another file system it is a folder like any other, and all else here holds as well."""
    flags = _flags(tmp_path)

    DiskCache(tmp_path, 1000)

    assert flags is None or _flags(tmp_path) == flags | TOP_OF_HIERARCHIES


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
