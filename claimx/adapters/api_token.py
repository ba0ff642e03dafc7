"""The API token: a value from the environment, or a file that is read again when it is refused."""

from __future__ import annotations

from pathlib import Path

import structlog

from claimx.domain.errors import TokenRejected

log = structlog.get_logger(__name__)

_MAX_BYTES = 64 * 1024


class TokenSource:
    """
    The token of one process. *file*, when given, wins over *token*.

    The token is kept in memory and never logged; `reload` reads the file anew.
    """

    def __init__(self, token: str = "", file: str = "") -> None:
        self._token = token.strip()
        self._file = file
        self._loaded = not file

    def current(self) -> str:
        """Return the token; raises TokenRejected when there is none that a header can carry."""
        if not self._loaded:
            self.reload()
        if not self._token:
            where = f"CLAIMX_API_TOKEN_FILE ({self._file})" if self._file else "CLAIMX_API_TOKEN"
            raise TokenRejected(f"there is no API token: {where} is empty or cannot be read")
        if not _fits_a_header(self._token):
            raise TokenRejected("the API token holds characters that a header cannot carry")
        return self._token

    def file_problem(self) -> str | None:
        """Return what is wrong with the file right now, None when all is well or none is named."""
        if not self._file:
            return None
        try:
            token = self._read()
        except OSError as error:
            return f"cannot be read at {self._file} ({error.strerror})"
        if not token:
            return f"is empty at {self._file}"
        if not _fits_a_header(token):
            return f"holds characters that a header cannot carry, at {self._file}"
        return None

    def reload(self) -> None:
        """Read the file again; one that cannot be read leaves the token as it was."""
        if not self._file:
            return
        try:
            token = self._read()
        except OSError as error:
            log.warning("token file cannot be read", file=self._file, error=error.strerror)
            return
        self._loaded = True
        if token:  # an empty file is one that is being rewritten
            self._token = token

    def _read(self) -> str:
        with Path(self._file).open("rb") as file:
            # some editors put a mark before the text, which no header can carry
            return file.read(_MAX_BYTES).decode("utf-8-sig", "replace").strip()


def _fits_a_header(token: str) -> bool:
    return token.isascii() and token.isprintable()
