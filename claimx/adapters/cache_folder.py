"""
Where a cache's files lie: a folder of their own below ``CACHE_DIR``, which nobody else may enter.

``CACHE_DIR`` may be there before claimx is, and be open to others. A file that gets a second name
where media go must have the mode of that place from the start, or it costs a sync to disk more
(`docs/performance.md`); so what keeps others out until then is this folder.

On ext4 it also says where on the disk files are made. New folders lie beside the one that they are
made in, unless that one's folders are declared to have nothing to do with each other, as those of
``/home`` (``chattr +T``). And an ext4 without a journal passes over each inode that was freed in
the last minutes when it looks for one: where a lake and others remove files by the thousand, making
a file took 160 to 260 µs, and 9 elsewhere on the same disk. Of folders that are placed apart the
first ones all get the emptiest part of the disk, be it the one where such a folder was removed just
now, and the next ones a part by chance; so a few are made before the one that counts.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from claimx.adapters.cache_names import is_name, is_ours, is_part
from claimx.adapters.cache_node import is_node
from claimx.domain.times import age

_GET_FLAGS, _SET_FLAGS = 0x80006601, 0x40006602  # FS_IOC_GETFLAGS and SETFLAGS, without their size
_TOP_OF_HIERARCHIES = 0x00020000  # FS_TOPDIR_FL
_EMPTIEST = 8  # folders
_OLD_SECONDS = 24 * 3600.0  # longer than anybody writes a file, or waits with its upload


def made(root: Path, node: str) -> Path:
    """
    Return the folder of *node*'s files below *root*, made if it is missing.

    Raises OSError, also for one that another user has made: nothing could be cached in it.
    """
    folder = root / node
    if not folder.is_dir():
        _spread_folders(root)
        with _emptiest_taken(root):
            folder.mkdir(mode=0o700, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        msg = f"{folder} is another user's, or closed to its owner"
        raise PermissionError(errno.EACCES, msg)
    return folder


def bring_in(root: Path, folder: Path, now: float) -> None:
    """
    Move files that earlier releases kept in *root* itself to *folder*, where uploads look for them.

    Old parts of theirs go, and so do old files of an identity that was lost (a ``.node`` cut short
    by a crash, or removed): whose they were was fetched again. *now* is in epoch seconds.
    """
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            with suppress(OSError):  # another process was faster, or it is not ours
                is_file = entry.is_file(follow_symlinks=False)  # else neither moved nor removed
                if is_file and is_name(entry.name):
                    Path(entry.path).replace(folder / entry.name)
                elif is_file and is_part(entry.name):
                    _remove_old(entry, now)
                elif _is_lost(entry, folder.name, now):
                    _empty(Path(entry.path), now)


def _is_lost(entry: os.DirEntry[str], node: str, now: float) -> bool:
    """Say whether it is the folder of an identity other than *node*, unused for a day."""
    is_folder = is_node(entry.name) and entry.is_dir(follow_symlinks=False)
    return is_folder and entry.name != node and _is_old(entry, now)


def _empty(lost: Path, now: float) -> None:
    with os.scandir(lost) as entries:
        for entry in entries:
            if is_ours(entry.name):
                _remove_old(entry, now)
    lost.rmdir()


def _remove_old(file: os.DirEntry[str], now: float) -> None:
    if _is_old(file, now):
        Path(file.path).unlink()


def _is_old(entry: os.DirEntry[str], now: float) -> bool:
    return age(entry.stat(follow_symlinks=False).st_mtime, now) > _OLD_SECONDS


@contextmanager
def _emptiest_taken(root: Path) -> Iterator[None]:
    """
    Keep folders where the file system likes best to make some; a crash leaves them as lost.

    It works without them as well: what fails here is nobody's trouble.
    """
    with ExitStack() as taken:
        for _ in range(_EMPTIEST):
            other = root / token_hex(16)
            with suppress(OSError):
                other.mkdir(mode=0o700)
                taken.callback(_remove_helper, other)
        yield


def _remove_helper(folder: Path) -> None:
    with suppress(OSError):  # somebody was faster
        folder.rmdir()


def _spread_folders(root: Path) -> None:
    """Have the file system place *root*'s folders apart from each other, where it knows how."""
    if sys.platform != "linux":
        return
    import fcntl

    length = struct.calcsize("l")
    size = length << 16
    with suppress(OSError):  # another file system, or somebody else's folder: it works as well
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = fcntl.ioctl(descriptor, _GET_FLAGS | size, bytes(length))
            flags = struct.unpack("l", found)[0] | _TOP_OF_HIERARCHIES
            fcntl.ioctl(descriptor, _SET_FLAGS | size, struct.pack("l", flags))
        finally:
            os.close(descriptor)
