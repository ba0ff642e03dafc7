"""One file on its way to OneLake: created, appended, flushed, verified; a large one goes on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

from claimx.adapters.blob_errors import DAMAGED
from claimx.adapters.datalake import DataLakeFile, StorageRefusal
from claimx.adapters.file_calls import SMALL_BYTES, FileCalls, unread
from claimx.domain.errors import Unavailable

PART_CHUNKS = 8
"""After so many chunks of a larger file what was sent is kept for a try that goes on with it."""

_HASH = "sha256"
_UNPROVEN = "sha256_unproven"  # nobody has compared what is stored with it
_REFUSED, _THERE, _CHANGED = 400, 409, 412


class OneLakeUpload:
    """
    An upload of the open *file*, which is to have *length* bytes and *sha256*, to *target*.

    Each step is conditional on nobody else's between. An upload that was overtaken (its lease was
    lost) therefore fails, instead of emptying a file that its successor has completed and recorded.

    Only appends are not: nothing can be asked of them. One of another content may so get among what
    its successor has not flushed. Its file was there before, with another hash or without one; what
    takes the place of such a file is read back before it counts as stored.

    A try has minutes, and a large file may take longer. So what was sent of it is flushed now and
    then, and the next try goes on behind that. Nobody could tell later what was stored by whom:
    such a file is held against its hash before any of it is sent.
    """

    def __init__(
        self,
        target: DataLakeFile,
        calls: FileCalls,
        file: BinaryIO,
        content_type: str,
        length: int,
        sha256: str,
        *,
        chunk_bytes: int,
    ) -> None:
        self._target = target
        self._calls = calls
        self._file = file
        self._content_type = content_type
        self._length = length
        self._sha256 = sha256
        self._chunk = chunk_bytes
        self._part = chunk_bytes * PART_CHUNKS
        self._named = _HASH  # under which its hash stands beside it
        self._tag = ""  # what the stored file must still have, empty where a stand-in gives none

    async def run(self, host: str) -> None:
        """
        Upload and verify, unless it is there already; errors name *host*.

        Raises FileNotFoundError when the file is no longer what was downloaded, StorageRefusal
        (404 when the file system is missing), Unavailable when something else is stored.
        """
        if os.fstat(self._file.fileno()).st_size != self._length:
            raise self._another()
        stored = await self._begin()
        if stored == self._length and stored:  # an earlier try got this far
            if self._named == _UNPROVEN:
                await self._verify(host)
            return
        seen = hashlib.sha256() if self._length <= self._part else await self._checked(stored)
        if not await self._is_sent(stored, seen):  # the whole, unless another has it in hand
            await self._create(new=False, if_match=self._tag)
            await self._send(0, hashlib.sha256())
        await self._verify(host)

    async def _begin(self) -> int:
        """Create the file, or find it; returns how many of its first bytes are stored."""
        try:
            await self._create(new=True)
        except StorageRefusal as refusal:
            if refusal.status not in (_THERE, _CHANGED):
                raise
        else:
            return 0
        there = await self._target.get_file_properties()
        ours = [name for name, told in there.metadata.items() if told == self._sha256]
        self._named = _HASH if _HASH in ours else _UNPROVEN
        if self._named in ours:
            is_part = 0 < there.size < self._length and there.size % self._part == 0
            if there.size == self._length or (is_part and there.etag):
                self._tag = there.etag
                return there.size
        await self._create(new=False, if_match=there.etag)
        return 0

    async def _create(self, **condition: Any) -> None:
        self._tag = await self._target.create_file(
            self._content_type, {self._named: self._sha256}, **condition
        )

    async def _checked(self, stored: int) -> Any:
        """Return the hash of the first *stored* bytes, once the whole file was found unchanged."""
        self._file.seek(0)
        whole, offset = hashlib.sha256(), 0
        seen = whole.copy()
        while count := await self._calls.run_apart(_hashed, self._file, self._chunk, whole):
            offset += count
            if offset == stored:
                seen = whole.copy()
            if offset > self._length:
                break
        if offset != self._length or whole.hexdigest() != self._sha256:
            raise self._another()
        return seen

    async def _is_sent(self, stored: int, seen: Any) -> bool:
        """Send the rest; False when storage takes nothing behind what it has."""
        try:
            await self._send(stored, seen)
        except StorageRefusal as refusal:
            is_refused = refusal.status in (_REFUSED, _THERE) and refusal.code not in DAMAGED
            if not (stored and is_refused):
                raise
            return False
        return True

    async def _send(self, stored: int, seen: Any) -> None:
        """Send what follows the first *stored* bytes, whose hash is *seen*, and flush it."""
        self._file.seek(stored)
        offset = stored
        read = self._calls.run if self._length <= SMALL_BYTES else self._calls.run_apart
        while offset < self._length and (
            piece := await read(_piece, self._file, self._chunk, seen)
        ):
            # the service compares each chunk with its MD5: what it takes is what was read
            chunk, md5 = piece
            await self._target.append_data(chunk, offset, md5)
            offset += len(chunk)
            if offset % self._part == 0 and offset < self._length:
                await self._flush(offset)
        if offset != self._length or seen.hexdigest() != self._sha256:
            if self._length > self._part:  # changed since it was checked: nobody goes on with that
                await self._create(new=False, if_match=self._tag)
            raise self._another()
        if self._length:  # an empty file is complete once it is created
            await self._flush(self._length)

    async def _flush(self, length: int) -> None:
        self._tag = await self._target.flush_data(length, self._content_type, if_match=self._tag)

    async def _verify(self, host: str) -> None:
        stored = await self._target.get_file_properties()
        if stored.size != self._length:
            told = f"OneLake holds {stored.size} of {self._length} bytes after the upload"
            raise Unavailable(told, host=host)
        named = stored.metadata.get(_HASH)
        if named is None:  # or the service keeps no metadata: read back what it has
            named = await self._read_back()
            if named != self._sha256:  # or the next try would find it complete
                await self._create(new=False, if_match=self._tag)
        if named != self._sha256:
            raise Unavailable("OneLake holds another file after the upload", host=host)

    async def _read_back(self) -> str:
        found = hashlib.sha256()
        offset = 0
        while offset < self._length:
            length = min(self._chunk, self._length - offset)
            piece, is_whole = await self._target.read(offset, length)
            if is_whole or not piece:
                return hashlib.sha256(piece).hexdigest()
            found.update(piece)
            offset += len(piece)
        return found.hexdigest()

    def _another(self) -> FileNotFoundError:
        return FileNotFoundError(f"{Path(self._file.name).name} is no longer what was downloaded")


def _read(file: BinaryIO, length: int) -> bytes:
    try:
        return file.read(length)
    except OSError as error:
        raise unread(error) from error


def _hashed(file: BinaryIO, length: int, seen: Any) -> int:
    """Read a piece and add it to the hash; returns its length, 0 at the end."""
    piece = _read(file, length)
    seen.update(piece)
    return len(piece)


def _piece(file: BinaryIO, length: int, seen: Any) -> tuple[bytes, bytes] | None:
    """Read a piece, add it to the hash, and return it with its MD5; None at the end."""
    if not (piece := _read(file, length)):
        return None
    seen.update(piece)
    return piece, hashlib.md5(piece, usedforsecurity=False).digest()
