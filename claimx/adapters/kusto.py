"""
The Eventhouse table over azure-kusto-data, with KQL that says as little as possible.

Values travel as declared query parameters; the only names in the text are the table's and those of
columns that the table was seen to have. Bounds are put on Kusto's own 100 ns ticks as half-open
microseconds, so that a row is before, in or after a microsecond and never beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import structlog

from claimx.adapters.kusto_choice import ALL, ID_COLUMNS, Choice, own_id_of
from claimx.adapters.kusto_errors import ResultTooLarge
from claimx.adapters.kusto_queries import Answer, KustoQueries
from claimx.adapters.kusto_rows import AT, count_of, rows_of
from claimx.domain.errors import ClaimXError, Permanent, Refused, Unreadable
from claimx.domain.polling import TIME, whole_times
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.source import TABLE_NAME, SourceRow
from claimx.domain.times import Micros, to_iso

log = structlog.get_logger(__name__)

MAX_EXCLUDED = 20_000  # ids in one query: 50,000 took 0.7 s, and a request may have 2 MB
MAX_PARTS = 512  # how finely one ingestion time is split before it is given up on
COLUMNS_SECONDS = 600.0  # how long the table's columns are taken as they were
CHECK_SECONDS = 3600.0  # how long the table's policy is
_SPLIT = 8
_SPLIT_COLUMNS = ("project_id", "projectId", *ID_COLUMNS)
_BOUNDS = "_from:datetime, _to:datetime"
_EVER = (0, 7_258_118_400_000_000)  # the epoch to 2200: some engines end at 2262


class KustoSource:
    """
    `EventSource` over one table.

    *credential* is an azure-identity credential; a plain http cluster on loopback needs none.
    *timeout* is in seconds for each query, *now* a monotonic clock. The circuit ``kusto`` of
    *gates* is asked before every query and told of its outcome. Not for several threads; safe
    across a fork.
    """

    def __init__(
        self,
        cluster_url: str,
        database: str,
        table: str,
        credential: Any | None,
        timeout: float,
        gates: Gates,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raise Permanent, naming the setting, for anything no query could be made with."""
        if not TABLE_NAME.fullmatch(table):
            raise Permanent(f"CLAIMX_EVENTHOUSE_SOURCE_TABLE={table!r} is no table name")
        self._table = table
        self.what = f"table {table} in database {database}"
        self._queries = KustoQueries(
            cluster_url, database, self.what, credential, timeout, gates.circuit("kusto")
        )
        self._now = now
        self._known: tuple[float, dict[str, str]] | None = None
        self._checked = float("-inf")

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        """See `EventSource.page`. Raises ValueError for more than 20,000 ids in *exclude*."""
        if len(exclude) > MAX_EXCLUDED:
            raise ValueError(f"{len(exclude)} ids to exclude; at most {MAX_EXCLUDED} fit a query")
        if until <= after or limit < 1:
            return []
        rows = self._first(after, until, limit, Choice(exclude=exclude))
        if not rows:
            self._check_policy()
        return rows

    def count(self, after: Micros, until: Micros) -> int:
        """See `EventSource.count`."""
        if until <= after:
            return 0
        text = (
            f"declare query_parameters({_BOUNDS});\n"
            f"{self._quoted}\n"
            "| where ingestion_time() >= _from and ingestion_time() < _to\n"
            "| count"
        )
        return count_of(self._ask(text, _bounds(after + 1, until + 1)))

    def nameless(self, after: Micros, until: Micros, limit: int) -> list[SourceRow]:
        """See `EventSource.nameless`."""
        if until <= after or limit < 1:
            return []
        return self._first(after, until, limit, Choice(nameless=True))

    def having(self, ids: Sequence[str]) -> list[SourceRow]:
        """See `EventSource.having`. Raises ValueError for more than 20,000 ids."""
        if len(ids) > MAX_EXCLUDED:
            raise ValueError(f"{len(ids)} ids to look for; at most {MAX_EXCLUDED} fit a query")
        named = [one for one in ids if one]  # an empty id is that of every row without one
        return self._read(*_EVER, Choice(only=named)) if named else []

    def oldest(self, until: Micros) -> Micros | None:
        """See `EventSource.oldest`."""
        rows = self._read(_EVER[0], until + 1, ALL, "| take 1")
        return int(rows[0][TIME]) if rows else None

    def columns(self) -> dict[str, str]:
        """Return the table's columns with their Kusto types; asked for at most every 10 minutes."""
        if self._known is None or self._now() - self._known[0] > COLUMNS_SECONDS:
            answer = self._ask(f"{self._quoted} | take 0", {})
            found = {name: kind for name, kind in answer.columns if not name.startswith("$")}
            if not found:
                raise Refused(f"Kusto shows no columns of {self.what}: grant the identity Viewer")
            self._known = (self._now(), found)
        return self._known[1]

    def close(self) -> None:
        """Close the connections; the next query opens new ones."""
        self._queries.close()

    # --- reading ------------------------------------------------------------------------------

    def _first(self, after: Micros, until: Micros, limit: int, choice: Choice) -> list[SourceRow]:
        """Read the first whole ingestion times of up to *limit* rows, or all of the very first."""
        while True:  # halves *limit* each time round
            try:
                rows = self._read(after + 1, until + 1, choice, f"| take {limit + 1:d}")
            except ResultTooLarge:
                if limit == 1:
                    raise
                limit //= 2
                continue
            whole, tie = whole_times(rows, limit)
            return whole if tie is None else self._tie(tie, choice)

    def _tie(self, moment: Micros, choice: Choice) -> list[SourceRow]:
        """Read all rows of one microsecond, in as many parts as Kusto's limits ask for."""
        try:
            return self._read(moment, moment + 1, choice)
        except ResultTooLarge:
            known = self.columns()
            column = next((name for name in _SPLIT_COLUMNS if name in known), None)
        parts = _SPLIT
        while column is not None and parts <= MAX_PARTS:
            log.info("one ingestion time is read in parts", parts=parts, time=to_iso(moment))
            try:
                rows: list[SourceRow] = []
                for part in range(parts):
                    split = f"| where hash(tostring(['{column}']), {parts:d}) == {part:d}"
                    rows += self._read(moment, moment + 1, choice, split)
                return rows
            except ResultTooLarge:
                parts *= _SPLIT
        raise Refused(
            f"the rows of {self.what} with ingestion_time() {to_iso(moment)} are more than Kusto"
            f" gives in {MAX_PARTS} parts: raise its query limits (truncationmaxsize) for this"
            " identity's workload group"
        )

    def _read(self, start: Micros, end: Micros, choice: Choice, last: str = "") -> list[SourceRow]:
        """Return the rows with start <= ingestion time < end, oldest first."""
        own_id = own_id_of(self.columns())
        values = _bounds(start, end) | choice.values(own_id)
        text = (
            f"declare query_parameters({_BOUNDS}{choice.declared(own_id)});\n"
            f"{self._quoted}\n"
            "| where ingestion_time() >= _from and ingestion_time() < _to\n"
            f"{choice.condition(own_id)}"
            f"| extend {AT} = ingestion_time()\n"
            f"| order by {AT} asc\n"
        )
        if last.startswith("| where"):
            text = text.replace("| extend", f"{last}\n| extend", 1)
        elif last:
            text += last
        answer = self._ask(text, values)
        try:
            rows = rows_of(answer)
        except (TypeError, ValueError) as error:
            raise Unreadable(
                f"Kusto's answer for {self.what} cannot be read: an ingestion time is no time"
            ) from error
        rows.sort(key=itemgetter(TIME))
        return rows

    def _check_policy(self) -> None:
        """Tell an empty table from one whose rows have no ingestion time at all."""
        if self._now() - self._checked < CHECK_SECONDS:
            return
        timed = f"{self._quoted} | where isnotnull(ingestion_time()) | take 1 | count"
        if not count_of(self._ask(timed, {})) and count_of(
            self._ask(f"{self._quoted} | take 1 | count", {})
        ):
            raise Refused(
                f"the rows of {self.what} have no ingestion_time(), so nothing orders them; enable"
                f" the policy: .alter table ['{self._table}'] policy ingestiontime true, and"
                " ingest the older rows again"
            )
        self._checked = self._now()

    # --- asking -------------------------------------------------------------------------------

    @property
    def _quoted(self) -> str:
        return f"['{self._table}']"

    def _ask(self, text: str, parameters: Mapping[str, str]) -> Answer:
        """Run one query; after a failure the columns are learnt anew, for it may have been they."""
        try:
            return self._queries.ask(text, parameters)
        except ResultTooLarge:
            raise
        except ClaimXError:
            self._known = None
            raise


def _bounds(start: Micros, end: Micros) -> dict[str, str]:
    """Return the parameters that `_BOUNDS` declares."""
    return {"_from": f"datetime({to_iso(start)})", "_to": f"datetime({to_iso(end)})"}
