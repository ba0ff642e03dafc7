"""Open tables: kept while that is cheap, re-opened before they grow, and their errors as ours."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from claimx.adapters.credentials import StorageAccess, no_access
from claimx.adapters.lake.known_keys import KnownKeys
from claimx.adapters.lake.known_rows import KnownRows
from claimx.adapters.lake.schema import UnfitError
from claimx.domain.errors import ClaimXError, NotAllowed, TokenRejected, Unavailable

T = TypeVar("T")

_Mark: TypeAlias = tuple[int, int, int, int]

Storage = Callable[[], StorageAccess]
"""Gives the storage options for opening a table now, and says how long they are good for."""

MAX_COMMITS = 50  # a handle kept longer gets slower and fatter than one opened anew
MAX_AGE_SECONDS = 300.0  # whatever its token is good for

# deltalake merges AZURE_* variables of the environment into the options, and these two would
# send our token elsewhere, or not at all. Retries of its own stay short: ours are re-decided.
_PINNED = {
    "azure_storage_use_emulator": "false",
    "azure_skip_signature": "false",
    "max_retries": "3",
    "retry_timeout": "20s",
}
_STATUS = re.compile(r"\b([45]\d\d) [A-Z][a-z]+")  # as in "401 Unauthorized"
_FEATURES = re.compile(r"Unsupported table features required: \[([\w, ]+)\]")
_OS_ERROR = re.compile(r"\(os error (\d{1,3})\)")  # as in "No space left on device (os error 28)"
UNAUTHORIZED = 401
_REJECTED = {UNAUTHORIZED, 403}
NOT_FOUND = 404  # of a URI's container: a missing table is told apart by deltalake


class Conflict(Exception):
    """Another writer committed first; nothing was written. Read again and decide again."""


class ColumnsGone(Exception):
    """Somebody took declared columns out of a table; nothing was written. Make them again."""


def folder_of(path: str) -> Path | None:
    """Return the local folder that *path* (a folder or a ``file:`` URI) names, None for others."""
    if path.startswith("file://"):
        path = unquote(urlsplit(path).path)
    return None if "://" in path else Path(path).absolute()


class Handle:
    """
    One table's `DeltaTable`, and what is known of its files.

    Not for several threads at once, *lock* is there for that. A table that is not there raises
    deltalake's TableNotFoundError. *make_container* creates what a URI's tables lie in, given the
    URI; without it, it must be there.
    """

    def __init__(
        self,
        path: str,
        storage: Storage,
        clock: Callable[[], float],
        make_container: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder_of(path)
        # a bare folder would have its % signs decoded
        self.uri = self.folder.as_uri() if self.folder else path
        self.make_container = make_container
        self.lock = threading.RLock()
        self.known_keys = KnownKeys()
        self.known_rows = KnownRows()
        self._storage = storage
        self._clock = clock
        self._table: DeltaTable | None = None
        self._refuse: Callable[[], None] = lambda: None
        self._until = 0.0
        self._commits = 0
        self._numbered = (-1, 0)  # our last commit's version, and its app transaction's number
        self._mark: _Mark | None = None  # of a version that was seen, the newest as a rule
        self.tables_seen = 1
        """How many tables it has been, one in the place of the other."""

    def fresh(self) -> DeltaTable:
        """
        Return the table at its newest version.

        A folder that was removed and made anew, or put back from a copy, is another table, though
        its versions go by the same numbers: it is opened anew. Behind a URI nobody looks for that.
        """
        table, too_old, another = self._table, self._clock() > self._until, self._is_another()
        self.tables_seen += another
        if table is None or too_old or another or self._commits >= MAX_COMMITS:
            self.drop()
            began = self._clock()
            access = self._access()
            table = DeltaTable(self.uri, storage_options=dict(access.options) or None)
            self._table = table
            self._until = began + min(MAX_AGE_SECONDS, access.seconds)
            self._mark = self._mark_of(table.version())
        elif self._has(table.version() + 1):
            table.update_incremental()
            self._mark = self._mark_of(table.version())
        return table

    def _is_another(self) -> bool:
        """Say whether a folder's log has not the version that was seen, or another file of it."""
        return self._mark is not None and self._mark_of(self._mark[0]) != self._mark

    def _has(self, version: int) -> bool:
        """Say whether there is a newer version: one look, where deltalake lists all of a log."""
        return self.folder is None or self._log_of(version).exists()  # versions have no gaps

    def _mark_of(self, version: int) -> _Mark | None:
        """Return what tells the file of a folder's version from another of that name."""
        if self.folder is None:
            return None
        try:
            found = self._log_of(version).stat()
        except OSError:
            return None
        return (version, found.st_ino, found.st_mtime_ns, found.st_size)

    def _log_of(self, version: int) -> Path:
        return Path(f"{self.folder}/_delta_log/{version:020}.json")

    def options(self) -> dict[str, str] | None:
        """Return the storage options, good for now; a folder needs none."""
        return dict(self._access().options) or None

    def _access(self) -> StorageAccess:
        if self.folder:
            return no_access()
        access = self._storage()
        self._refuse = access.refuse
        return StorageAccess({**_PINNED, **access.options}, access.seconds)

    def refused(self) -> None:
        """Tell that the credential was not taken, so that the next one is another."""
        self._refuse()

    def committed(self, version: int = -1, number: int = 0) -> None:
        """Count a commit that made *version*, with the *number* of its app transaction."""
        self._commits += 1
        self._numbered = (version, number)
        if self._table is not None:
            self._mark = self._mark_of(self._table.version())

    def number_at(self, version: int) -> int | None:
        """Return the number of the app transaction if a commit of ours made *version*."""
        ours, number = self._numbered
        return number if version == ours else None

    def drop(self) -> None:
        """Forget the handle; the next use opens it anew."""
        self._table = None
        self._commits = 0
        self._numbered = (-1, 0)


def read_newest(what: str, handle: Handle, read: Callable[[DeltaTable], T]) -> T | None:
    """
    Return what *read* makes of the newest version, None when there is no table.

    Nor is there one when what it would lie in is not there. A file that is gone from under a table
    is another matter: that is Unavailable, as all that `our_errors` turns into it.
    """
    with handle.lock:
        try:
            with our_errors(what, handle):
                snapshot = handle.fresh()
        except TableNotFoundError:
            return None
        except Unavailable as error:
            if error.status == NOT_FOUND:
                return None
            raise
        with our_errors(what, handle):
            return read(snapshot)


def unknown_features(error: CommitFailedError) -> str:
    """Return for which of the table's features nothing was committed; nothing after a conflict."""
    found = _FEATURES.search(str(error))
    return found.group(1) if found else ""


@contextmanager
def our_errors(what: str, handle: Handle) -> Iterator[None]:
    """
    Turn whatever deltalake raises into Conflict, TokenRejected, NotAllowed or Unavailable.

    A conflict is known to have written nothing. Anything else leaves the outcome unknown (the
    hooks run after the commit is durable; an answer can be lost), so the handle is dropped.
    """
    try:
        yield
    except (ClaimXError, ColumnsGone, Conflict, TableNotFoundError, UnfitError):
        handle.drop()
        raise
    except CommitFailedError as error:
        handle.drop()
        if features := unknown_features(error):
            raise NotAllowed(
                f"{what}: asks its writers for what this one does not know ({features}): drop that "
                "with the tool that set it, or move the table away"
            ) from error
        raise Conflict(what) from error
    except Exception as error:
        handle.drop()
        ours = _unknown(what, error)
        if ours.status == UNAUTHORIZED:
            handle.refused()
        raise ours from error
    except BaseException as error:
        handle.drop()
        if type(error).__name__ == "PanicException":  # Rust's panic is no Exception
            raise _unknown(what, error) from None
        raise


def _unknown(what: str, error: BaseException) -> ClaimXError:
    # the text may hold values or addresses: only these two are fit for logs and dead letters
    found = _STATUS.search(str(error))
    status = int(found.group(1)) if found else None
    why = type(error).__name__
    if status is not None:
        why += f": status {status}"
    elif number := _number_of(error):
        why += f": {os.strerror(number)}"
    message = f"{what}: the lake failed ({why})"
    if status in _REJECTED:
        return TokenRejected(message, status=status)
    return Unavailable(message, status=status)


def _number_of(error: BaseException) -> int | None:
    """Return what the system calls the error; of deltalake's it stands in the text."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found.group(1)) if found else None
