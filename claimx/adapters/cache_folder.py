"""
Where a cache's files lie: a folder of their own below ``CACHE_DIR``, which nobody else may enter.

``CACHE_DIR`` may be there before claimx is, and be open to others. A file that gets a second name
where media go must have the mode of that place from the start, or it costs a sync to disk more
(`docs/performance.md`); so what keeps others out until then is this folder.

On ext4 it also says where on the disk files are made. New folders lie beside the one that they are
made in, unless that one's folders are declared to have nothing to do with each other, as those of
``/home`` (``chattr +T``). And an ext4 without a journal passes over each inode that was freed in
the last minutes when it looks for one: where a lake and others remove files by the thousand, making
a file took 160 to 260 µs, and 9 elsewhere on the same disk.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from claimx.adapters.cache_names import is_name, is_part
from claimx.adapters.cache_node import is_node

_GET_FLAGS, _SET_FLAGS = 0x80006601, 0x40006602  # FS_IOC_GETFLAGS and SETFLAGS, without their size
_TOP_OF_HIERARCHIES = 0x00020000  # FS_TOPDIR_FL
_OLD_PART_SECONDS = 24 * 3600.0


def made(root: Path, node: str) -> Path:
    """
    Return the folder of *node*'s files below *root*, made if it is missing.

    Files elsewhere below *root* come along: those of an identity that was lost, and those that
    earlier releases kept in *root* itself. Raises OSError.
    """
    folder = root / node
    if not folder.is_dir():
        _spread_folders(root)
        folder.mkdir(mode=0o700, exist_ok=True)
    for other in (root, *_folders_of_others(root, node)):
        _bring_in(other, folder)
    return folder


def _folders_of_others(root: Path, node: str) -> list[Path]:
    with os.scandir(root) as entries:
        return [
            Path(entry.path)
            for entry in entries
            if entry.name != node and is_node(entry.name) and entry.is_dir(follow_symlinks=False)
        ]


def _bring_in(other: Path, folder: Path) -> None:
    """Move the files of *other*, remove parts that nobody writes any more, and itself if empty."""
    with suppress(OSError), os.scandir(other) as entries:
        for entry in entries:
            with suppress(OSError):  # another process was faster, or it is not ours to move
                if is_name(entry.name):
                    Path(entry.path).replace(folder / entry.name)
                elif is_part(entry.name) and _is_old(entry):
                    Path(entry.path).unlink()
    if other != folder.parent:
        with suppress(OSError):  # somebody still writes there
            other.rmdir()


def _is_old(part: os.DirEntry[str]) -> bool:
    return time.time() - part.stat().st_mtime > _OLD_PART_SECONDS


def _spread_folders(root: Path) -> None:
    """Have the file system place *root*'s folders apart from each other, where it knows how."""
    if sys.platform != "linux":
        return
    import fcntl

    size = struct.calcsize("l") << 16
    with suppress(OSError):  # another file system, or somebody else's folder: it works as well
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            flags = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS | size, bytes(8)))[0]
            fcntl.ioctl(
                descriptor, _SET_FLAGS | size, struct.pack("l", flags | _TOP_OF_HIERARCHIES)
            )
        finally:
            os.close(descriptor)
