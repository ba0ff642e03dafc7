"""An answer of Kusto as JSON, however deep a row's values are nested."""

from __future__ import annotations

import json
import re
from typing import Any

import requests

from claimx.domain.polling import MAX_DEPTH

_PIECES = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_ROW = 4  # frames, a frame, its rows, a row


class DeepAnswer(requests.Response):
    """An answer whose JSON may be deeper than Python reads."""

    def json(self, **options: Any) -> Any:
        """
        Return what it holds, values of rows that are nested too deep as their text.

        One such row would else keep all that come after it from ever being read.
        """
        try:
            return super().json(**options)
        except RecursionError:
            return json.loads(with_deep_values_as_text(self.text))


def with_deep_values_as_text(answer: str) -> str:
    """Return a v2 answer's JSON; a row's value that no row may hold is a text of its JSON there."""
    parts: list[str] = []
    done = begin = depth = deepest = 0
    for piece in _PIECES.finditer(answer):
        match piece[0]:
            case "[" | "{":
                depth += 1
                if depth == _ROW + 1:
                    begin, deepest = piece.start(), depth
                deepest = max(deepest, depth)
            case "]" | "}":
                if depth == _ROW + 1 and deepest - _ROW > MAX_DEPTH:
                    parts += answer[done:begin], json.dumps(answer[begin : piece.end()])
                    done = piece.end()
                depth -= 1
    return "".join([*parts, answer[done:]])
