"""What Kusto's client raises, in the pipeline's words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.kusto.data import exceptions as kusto

from claimx.adapters.asked_to_wait import retry_after
from claimx.domain.errors import (
    ClaimXError,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    Unreadable,
)

FOREIGN = (
    kusto.KustoError,
    AzureError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    # what the client trips over when an answer is JSON, but not Kusto's
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
)
_TOO_LARGE = ("E_QUERY_RESULT_SET_TOO_LARGE", "80DA0003", "result set has exceeded")
_NOT_SIGNED_IN = (401,)
_NOT_NOW = (408, 425)
_THROTTLED = 429
_OVERLOADED = 503
_SERVER_ERROR = 500
_MULTIPLE_CHOICES = 300


class ResultTooLarge(Refused):
    """Kusto gives no more than 500,000 rows or 64 MB in one answer; ask for less at a time."""


def translated(error: Exception, *, what: str, host: str) -> ClaimXError:  # noqa: PLR0911 - one return a kind of failure
    """
    Return the failure that *error* means; *what* names the table and database for people.

    The service's own words are cut short and never hold rows.
    """
    if isinstance(error, ClaimXError):
        return error
    status, wait = _answer(error)
    words = _words(error)
    if is_too_large(words):
        return ResultTooLarge(f"Kusto: the answer for {what} is too large", status=status)
    if isinstance(error, kusto.KustoAuthenticationError):
        return _no_token(error, host)
    if isinstance(error, kusto.KustoThrottlingError) or status == _THROTTLED:
        return Throttled(f"Kusto throttles {what}", wait, _THROTTLED, host)
    if isinstance(error, kusto.KustoClientInvalidConnectionStringException):
        return Refused(
            f"{host} is no Kusto host: check EVENTHOUSE_CLUSTER_URL ({words})", host=host
        )
    if isinstance(error, kusto.KustoNetworkError):
        return _unreachable(error, host)
    if status is not None and status >= _MULTIPLE_CHOICES:
        return _by_status(status, wait, words, what, host)
    if isinstance(error, kusto.KustoMultiApiError):
        return Unreadable(f"Kusto gave up midway on {what}: {words}", host=host)
    if isinstance(error, ConnectionError | TimeoutError | requests.RequestException):
        return _unreachable(error, host)
    return Unreadable(
        f"Kusto's answer for {what} cannot be read ({type(error).__name__})", None, status, host
    )


def is_too_large(words: str) -> bool:
    """Say whether Kusto's words mean that the answer was cut at its limits."""
    return any(mark.lower() in words.lower() for mark in _TOO_LARGE)


def _by_status(status: int, wait: float | None, words: str, what: str, host: str) -> ClaimXError:
    if status in _NOT_SIGNED_IN:
        return TokenRejected(
            f"Kusto rejects the credential (401) for {what}: check AZURE_CLIENT_ID and its secret",
            wait,
            status,
            host,
        )
    if status == _OVERLOADED and wait is not None:
        return Throttled(f"Kusto asks to come back later for {what}", wait, status, host)
    if status >= _SERVER_ERROR:
        return Unavailable(f"Kusto fails ({status}) for {what}: {words}", wait, status, host)
    if status in _NOT_NOW:
        return TryLater(f"Kusto cannot answer now ({status}) for {what}", wait, status, host)
    advice = {
        403: "grant the identity the Viewer role on the database",
        404: "check EVENTHOUSE_CLUSTER_URL",
    }.get(
        status,
        "check CLAIMX_EVENTHOUSE_DATABASE and CLAIMX_EVENTHOUSE_SOURCE_TABLE",
    )
    return Refused(
        f"Kusto refuses the query ({status}) on {what}; {advice}. It said: {words}",
        None,
        status,
        host,
    )


def _no_token(error: Any, host: str) -> ClaimXError:
    inner = getattr(error, "exception", None)
    if isinstance(inner, AzureError) and not isinstance(inner, ClientAuthenticationError):
        return Unavailable(f"no token for {host}: {type(inner).__name__}", host=host)
    # not any OSError: a certificate's file that is missing is one, too
    if isinstance(inner, requests.RequestException | ConnectionError | TimeoutError):
        return Unavailable(f"no token for {host}: the sign-in service does not answer", host=host)
    return TokenRejected(
        f"no token for {host}: check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET,"
        f" or the managed identity ({type(inner).__name__})",
        host=host,
    )


def _unreachable(error: Exception, host: str) -> ClaimXError:
    for cause in _chain(error):
        if isinstance(cause, requests.Timeout | TimeoutError):
            return Unavailable(f"Kusto at {host} did not answer in time", host=host)
        if isinstance(cause, requests.exceptions.ChunkedEncodingError):
            return Unreadable(f"the answer of Kusto at {host} was cut short", host=host)
    return Unavailable(f"Kusto at {host} cannot be reached", host=host)


def _answer(error: BaseException) -> tuple[int | None, float | None]:
    """Return status and Retry-After of the HTTP answer behind *error*, wherever it is kept."""
    for link in _chain(error):
        candidates = (
            getattr(link, "http_response", None),
            getattr(link, "response", None),
            *link.args[1:2],  # where a throttling error keeps it
        )
        for answer in candidates:
            status = getattr(answer, "status_code", None)
            if isinstance(status, int):
                header = getattr(answer, "headers", {}).get("Retry-After")
                return status, retry_after(header, time.time())
    return None, None


def _words(error: Exception) -> str:
    """Return what the service said, on one line of at most 300 characters; HTML says nothing."""
    parts = [str(getattr(error, "message_text", "") or error)]
    single = getattr(error, "error", None)
    for each in (*getattr(error, "errors", ()), *([single] if single else ())):
        parts += [str(getattr(each, name, "") or "") for name in ("code", "description", "message")]
    text = "; ".join(part for part in dict.fromkeys(parts) if part)
    if "<html" in text.lower() or "<!doctype" in text.lower():
        return "(an HTML page)"
    return " ".join(text.split())[:300]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what led to it, bounded."""
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__
