"""How a large table lies: pieces of its keys' range, each in files that hold nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sizes:
    """
    What counts as large, in rows.

    A table of more than *direct* rows takes changes by way of its log: so many take half a
    second to be written anew. *piece* rows are rewritten at once, in some tenths of a second and
    100 to 200 MB; a piece of more than *most_of_piece* is laid out anew. *changes* of the log are
    held at once.
    """

    direct: int = 200_000
    piece: int = 200_000
    most_of_piece: int = 400_000
    changes: int = 200_000


@dataclass(frozen=True, slots=True)
class Piece:
    """
    The rows with low <= key < high, by the first part of the key; None is no bound.

    Its *files* hold no other rows, and no other file holds one of its rows.
    """

    low: str | None
    high: str | None
    rows: int
    files: int
    bytes: int


@dataclass(slots=True)
class _Cluster:
    """Files whose ranges of keys overlap."""

    low: str
    high: str
    rows: int
    files: int
    bytes: int


def pieces_of(actions: Iterable[Mapping[str, Any]], key: str, piece_rows: int) -> list[Piece]:
    """
    Return the pieces of a table from its files' statistics, in the order of the keys.

    Together they hold every key there can be. Small neighbours make one piece. A file without
    statistics may hold any key, and so the whole table is one piece.
    """
    spans, unknown = [], None
    for action in actions:
        rows, size = int(action["num_records"] or 0), int(action["size_bytes"])
        low, high = action.get(f"min.{key}"), action.get(f"max.{key}")
        if low is None or high is None:
            unknown = unknown or _Cluster("", "", 0, 0, 0)
            _add(unknown, rows, 1, size)
        else:
            spans.append(_Cluster(str(low), str(high), rows, 1, size))
    if unknown is not None or not spans:
        whole = unknown or _Cluster("", "", 0, 0, 0)
        for span in spans:
            _add(whole, span.rows, span.files, span.bytes)
        return [Piece(None, None, whole.rows, whole.files, whole.bytes)]
    return _with_bounds(_joined(_clusters(spans), piece_rows))


def files_in(
    actions: Iterable[Mapping[str, Any]], key: str, low: str | None, high: str | None
) -> list[Mapping[str, Any]]:
    """Return the files that may hold a row with low <= key < high."""

    def may_hold(action: Mapping[str, Any]) -> bool:
        least, most = action.get(f"min.{key}"), action.get(f"max.{key}")
        if least is None or most is None:
            return True
        return (high is None or least < high) and (low is None or most >= low)

    return [action for action in actions if may_hold(action)]


def _clusters(spans: list[_Cluster]) -> list[_Cluster]:
    found: list[_Cluster] = []
    for span in sorted(spans, key=lambda one: one.low):
        last = found[-1] if found else None
        if last is None or span.low > last.high:
            found.append(span)
            continue
        last.high = max(last.high, span.high)
        _add(last, span.rows, span.files, span.bytes)
    return found


def _joined(clusters: list[_Cluster], piece_rows: int) -> list[_Cluster]:
    found: list[_Cluster] = []
    for cluster in clusters:
        if found and found[-1].rows + cluster.rows <= piece_rows:
            found[-1].high = cluster.high
            _add(found[-1], cluster.rows, cluster.files, cluster.bytes)
        else:
            found.append(cluster)
    return found


def _with_bounds(clusters: list[_Cluster]) -> list[Piece]:
    lows: list[str | None] = [None, *(cluster.low for cluster in clusters[1:])]
    highs: list[str | None] = [*lows[1:], None]
    return [
        Piece(low, high, cluster.rows, cluster.files, cluster.bytes)
        for low, high, cluster in zip(lows, highs, clusters, strict=True)
    ]


def _add(cluster: _Cluster, rows: int, files: int, size: int) -> None:
    cluster.rows += rows
    cluster.files += files
    cluster.bytes += size
