"""
What the ClaimX API's answers mean: status codes, JSON, and the wrappings around the data.

Pure functions over what arrived; `claimx.adapters.claimx_api` does the calling (domain page,
section 2).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self, TypeAlias

import msgspec

from claimx.adapters.asked_to_wait import retry_after
from claimx.domain.errors import (
    ClaimXError,
    NotFound,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    Unreadable,
)
from claimx.domain.values import Unconvertible, id_text, same_id

JsonObject: TypeAlias = dict[str, Any]

_DEEPEST_WRAPPING = 3
_TASK_FIELDS = frozenset(  # what tells an assignment from an error's object
    "assignmentId taskId taskName formId projectId assigneeId assignor customTask".split()
)
_VIDEO_FIELDS = frozenset(("videoCollaborationId", "id", "claimId"))
_MOST_DIGITS = 1000  # of an integer; Python reads 4300, in a time that grows with the square
_CONTENT_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,60}")


class WrittenFloat(float):
    """A number with a fraction whose text is what the API wrote: 12.50 stays ``12.50``."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Keep the text beside the value."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        """Return the text as it was written."""
        return self.text


def refusal(  # noqa: PLR0911 - one return for each row of the contract's table
    status: int, asked_to_wait: str | None, now: float, host: str
) -> ClaimXError:
    """
    Return the error that a status other than 2xx means.

    *asked_to_wait* is the ``Retry-After`` header, *now* in epoch seconds.
    """
    asked = retry_after(asked_to_wait, now)
    said = f"the ClaimX API answered {status}"
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return TokenRejected(f"{said}: the token is not accepted", asked, status, host)
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return NotFound(f"{said}: it knows no such thing", None, status, host)
        case HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_EARLY:
            return TryLater(said, asked, status, host)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Throttled(said, asked, status, host)
        case _ if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Refused(said, None, status, host)
        case _ if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            # followed, it could carry the token elsewhere or end at a log-in page
            return Unavailable(f"{said}: redirects are not followed", asked, status, host)
        case _:
            return Unavailable(said, asked, status, host)


def parsed(body: bytes, content_type: str, charset: str | None = None) -> Any:
    """Return the JSON value; raises Unreadable for anything else, a log-in page included."""
    if charset is None or charset.lower() == "utf-8":  # nearly all
        with suppress(msgspec.DecodeError, RecursionError, UnicodeError):
            return _QUICK_DECODER.decode(body)
    if not body.strip():
        raise Unreadable("the answer is empty")
    try:
        if charset and not charset.lower().startswith("utf"):
            text = body.decode(charset)
        else:
            text = body.decode(json.detect_encoding(body), "surrogatepass")
        try:
            return _DECODER.decode(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a number of more digits than Python reads: it is text alone
            return _LONG_DECODER.decode(text)
    except (ValueError, RecursionError, LookupError):
        shown = content_type if _CONTENT_TYPE.fullmatch(content_type) else "no content type"
        raise Unreadable(f"the answer is not JSON ({shown})") from None


def _number(text: str) -> WrittenFloat | str:
    """Return a number with its text; one beyond a float's range is text alone."""
    number = WrittenFloat(text)
    return number if math.isfinite(number) else text


# What this one reads the others read the same, at three times the cost. It reads less: no NaN, no
# mark before the text, no half of a surrogate pair, and integers of 4300 digits at most.
_QUICK_DECODER = msgspec.json.Decoder(float_hook=_number)

# json.loads makes one for each answer; NaN and its like are values that no column takes, no nulls
_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=float)
_LONG_DECODER = json.JSONDecoder(
    parse_float=_number,
    parse_constant=float,
    parse_int=lambda digits: int(digits) if len(digits) <= _MOST_DIGITS else digits,
)


def project_of(answer: Any, asked_for: str) -> JsonObject:
    """Return the project's object; Refused when it is another project than *asked_for*."""
    found = _object(answer, "project")
    if found.get("project") is None and isinstance(found.get("data"), dict):
        found = found["data"]
    inner = found.get("project")
    if not isinstance(inner, dict) and "projectId" not in found:
        raise Unreadable("the answer holds no project")
    told = inner.get("projectId") if isinstance(inner, dict) else found.get("projectId")
    if (got := _id(told)) and not same_id(got, asked_for):
        raise Refused(f"asked for project {asked_for}, the API answered project {got}")
    return found


def project_id_of(answer: Any) -> str:
    """Return the id of a bare integer, or of an object with ``projectId`` or ``id``."""
    for _ in range(_DEEPEST_WRAPPING):
        if not isinstance(answer, dict):
            break
        inner = next((answer[key] for key in ("projectId", "id", "data") if answer.get(key)), None)
        answer = inner
    if not (found := _id(answer)):
        raise Unreadable("the answer holds no project id")
    return found


def task_of(answer: Any) -> JsonObject:
    """Return a task assignment's object."""
    found = _object(answer, "task assignment")
    if not _TASK_FIELDS & found.keys() and isinstance(found.get("data"), dict):
        found = found["data"]
    if not _TASK_FIELDS & found.keys():
        raise Unreadable("the answer holds no task assignment")
    return found


def list_of(answer: Any, *wrappings: str) -> list[Any]:
    """
    Return a list, bare or below one of *wrappings*; a null below one is empty.

    What is no object in it is left there, for the reader of the items to count.
    """
    for _ in range(_DEEPEST_WRAPPING):
        if isinstance(answer, list):
            return _with_objects(answer)
        if not isinstance(answer, dict) or (key := _wrapping(answer, wrappings)) is None:
            break
        answer = answer[key]
        if answer is None:
            return []
    raise Unreadable(f"the answer holds no list of {wrappings[-1]}")


def videos_of(answer: Any) -> list[Any]:
    """Return the video items of one object, a list, or either below a wrapping; often empty."""
    for _ in range(_DEEPEST_WRAPPING + 1):
        if answer is None or answer == {}:
            return []
        if isinstance(answer, list):
            return _with_objects([item for item in answer if item is not None and item != {}])
        if not isinstance(answer, dict):
            break
        key = _wrapping(answer, ("data", "collaborations", "videoCollaboration"))
        if key is None or (answer[key] is None and _VIDEO_FIELDS & answer.keys()):
            return [answer]
        answer = answer[key]
    raise Unreadable("the answer holds no video collaborations")


def _wrapping(answer: JsonObject, wrappings: Sequence[str]) -> str | None:
    """Return the key below which the content is; one with a null only where none has any."""
    there = [key for key in wrappings if key in answer]
    return next((key for key in there if answer[key] is not None), there[0] if there else None)


def _id(value: Any) -> str:
    """Return an id as text, empty for what is none."""
    try:
        return id_text(value) or ""
    except Unconvertible:
        return ""


def _object(answer: Any, what: str) -> JsonObject:
    if not isinstance(answer, dict):
        raise Unreadable(f"the answer is no object of a {what}")
    return answer


def _with_objects(items: list[Any]) -> list[Any]:
    """Return *items* as they are, unless they hold something, but nothing anybody could read."""
    if any(isinstance(item, dict) for item in items) or all(item is None for item in items):
        return items
    raise Unreadable("the answer is a list without any object")
