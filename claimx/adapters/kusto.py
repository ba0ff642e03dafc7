"""
The Eventhouse table over azure-kusto-data, with KQL that says as little as possible.

Values travel as declared query parameters; the only names in the text are the table's and those of
columns that the table was seen to have. Bounds are put on Kusto's own 100 ns ticks as half-open
microseconds, so that a row is before, in or after a microsecond and never beside it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import structlog
from azure.kusto.data import ClientRequestProperties, KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoMultiApiError

from claimx.adapters.kusto_errors import FOREIGN, ResultTooLarge, is_too_large, translated
from claimx.domain.errors import CircuitOpen, ClaimXError, Refused, Unreadable
from claimx.domain.polling import TIME, whole_times
from claimx.domain.ports import Gates, SourceRow
from claimx.domain.times import Micros, from_datetime, to_iso

log = structlog.get_logger(__name__)

MAX_EXCLUDED = 20_000  # ids in one query: 50,000 took 0.7 s, and a request may have 2 MB
MAX_PARTS = 512  # how finely one ingestion time is split before it is given up on
COLUMNS_SECONDS = 600.0  # how long the table's columns are taken as they were
CHECK_SECONDS = 3600.0  # how long the table's policy is
_SPLIT = 8
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_ .\-]{0,1023}")
_ID_COLUMNS = ("event_id", "eventId")
_SPLIT_COLUMNS = ("project_id", "projectId", *_ID_COLUMNS)
_BOUNDS = "_from:datetime, _to:datetime"


@dataclass(frozen=True, slots=True)
class _Answer:
    """The first result table: column names with types, and rows as they were on the wire."""

    columns: tuple[tuple[str, str], ...]
    rows: list[list[Any]]


class _CompleteClient(KustoClient):
    """
    A client that sees the last frame of an answer.

    Kusto may say only there that the rows before it are not all of them, and the stock client drops
    that frame: a page cut short in silence would move the checkpoint past rows never seen.
    """

    @staticmethod
    def _kusto_parse_by_endpoint(endpoint: str, response_json: Any) -> Any:
        if isinstance(response_json, list):
            for frame in response_json:
                if frame.get("FrameType") == "DataSetCompletion" and (
                    frame.get("HasErrors") or frame.get("Cancelled") or frame.get("OneApiErrors")
                ):
                    raise KustoMultiApiError([frame])
        return KustoClient._kusto_parse_by_endpoint(endpoint, response_json)  # noqa: SLF001 - the hook the class leaves


class _Borrowed:
    """A credential that a client may close without closing it for the rest of the process."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential

    def get_token(self, *scopes: str, **options: Any) -> Any:
        return self._credential.get_token(*scopes, **options)

    def close(self) -> None:
        """Leave the lender's credential open."""


class KustoSource:
    """
    `EventSource` over one table.

    *credential* is an azure-identity credential; a plain http cluster on loopback needs none.
    *timeout* is in seconds for each query, *now* a monotonic clock. The circuit ``kusto`` of
    *gates* is asked before every query and told of its outcome. Not for several threads; safe
    across a fork.
    """

    def __init__(  # noqa: PLR0917 - what, as whom and under which gates, in the settings' order
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
        """Raise ValueError, naming the setting, for anything no query could be made with."""
        if not cluster_url or not database:
            raise ValueError("EVENTHOUSE_CLUSTER_URL and CLAIMX_EVENTHOUSE_DATABASE must be set")
        if not _IDENTIFIER.fullmatch(table):
            raise ValueError(f"CLAIMX_EVENTHOUSE_SOURCE_TABLE={table!r} is no table name")
        parts = urlsplit(cluster_url)
        if parts.scheme == "http":
            if not _is_loopback(parts.hostname or ""):
                raise ValueError("EVENTHOUSE_CLUSTER_URL must be https, or http on loopback")
            credential = None
        elif credential is None:
            raise ValueError(f"the cluster {parts.hostname} needs a credential")
        self._url = cluster_url.rstrip("/")
        self._host = parts.hostname or ""
        self._database = database
        self._table = table
        self._credential = credential
        self._timeout = timedelta(seconds=min(max(timeout, 1.0), 3600.0))  # Kusto's own limits
        self._circuit = gates.circuit("kusto")
        self._now = now
        self._client: tuple[int, Any] | None = None
        self._known: tuple[float, dict[str, str]] | None = None
        self._checked = float("-inf")

    @property
    def what(self) -> str:
        """Return the table and database as messages name them."""
        return f"table {self._table} in database {self._database}"

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        """See `EventSource.page`. Raises ValueError for more than 20,000 ids in *exclude*."""
        if len(exclude) > MAX_EXCLUDED:
            raise ValueError(f"{len(exclude)} ids to exclude; at most {MAX_EXCLUDED} fit a query")
        if until <= after or limit < 1:
            return []
        rows = self._first(after, until, limit, exclude)
        if not rows:
            self._check_policy()
        return rows

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
        if self._client is not None:
            client, self._client = self._client[1], None
            client.close()

    # --- reading ------------------------------------------------------------------------------

    def _first(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str]
    ) -> list[SourceRow]:
        """Read the first whole ingestion times of up to *limit* rows, or all of the very first."""
        while True:  # halves *limit* each time round
            try:
                rows = self._read(after + 1, until + 1, exclude, f"| take {limit + 1:d}")
            except ResultTooLarge:
                if limit == 1:
                    raise
                limit //= 2
                continue
            whole, tie = whole_times(rows, limit)
            return [dict(row) for row in whole] if tie is None else self._tie(tie, exclude)

    def _tie(self, moment: Micros, exclude: Sequence[str]) -> list[SourceRow]:
        """Read all rows of one microsecond, in as many parts as Kusto's limits ask for."""
        try:
            return self._read(moment, moment + 1, exclude)
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
                    rows += self._read(moment, moment + 1, exclude, split)
                return rows
            except ResultTooLarge:
                parts *= _SPLIT
        raise Refused(
            f"the rows of {self.what} with ingestion_time() {to_iso(moment)} are more than Kusto"
            f" gives in {MAX_PARTS} parts: raise its query limits (truncationmaxsize) for this"
            " identity's workload group"
        )

    def _read(
        self, start: Micros, end: Micros, exclude: Sequence[str], last: str = ""
    ) -> list[SourceRow]:
        """Return the rows with start <= ingestion time < end, oldest first."""
        known = self.columns()
        values = {"_from": f"datetime({to_iso(start)})", "_to": f"datetime({to_iso(end)})"}
        declared, excluding = _BOUNDS, ""
        own_id = _own_id(known)
        if exclude and own_id:
            declared += ", _exclude:dynamic"
            values["_exclude"] = f"dynamic({json.dumps(list(exclude))})"
            # an empty id is no id; and in some engines null is neither in a list nor out of it
            excluding = f"| where isempty({own_id}) or {own_id} !in (_exclude)\n"
        text = (
            f"declare query_parameters({declared});\n"
            f"{self._quoted}\n"
            "| where ingestion_time() >= _from and ingestion_time() < _to\n"
            f"{excluding}"
            f"| extend {TIME} = ingestion_time()\n"
            f"| order by {TIME} asc\n"
        )
        if last.startswith("| where"):
            text = text.replace("| extend", f"{last}\n| extend", 1)
        elif last:
            text += last
        answer = self._ask(text, values)
        try:
            rows = [_row(answer.columns, row) for row in answer.rows]
        except (TypeError, ValueError) as error:
            raise Unreadable(
                f"Kusto's answer for {self.what} cannot be read: an ingestion time is no time"
            ) from error
        rows.sort(key=lambda row: int(row[TIME]))
        return rows

    def _check_policy(self) -> None:
        """Tell an empty table from one whose rows have no ingestion time at all."""
        if self._now() - self._checked < CHECK_SECONDS:
            return
        timed = f"{self._quoted} | where isnotnull(ingestion_time()) | take 1 | count"
        if not _count(self._ask(timed, {})) and _count(
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

    def _ask(self, text: str, values: Mapping[str, str]) -> _Answer:
        """Run one query under the circuit; whatever goes wrong, the next one starts afresh."""
        allowed, wait = self._circuit.permit(1)
        if not allowed:
            raise CircuitOpen("the circuit for Kusto is open", max(wait, 0.1), host=self._host)
        try:
            answer = self._run(text, values)
        except (ClaimXError, *FOREIGN) as error:
            failure = translated(error, what=self.what, host=self._host)
            if not isinstance(failure, ResultTooLarge):
                self._forget()
            if failure.counts_against_circuit:
                self._circuit.report(0, 1)
            else:
                self._circuit.give_back(1)
            raise failure from error
        except BaseException:  # a time limit, a signal: says nothing about Kusto
            self._circuit.give_back(1)
            raise
        self._circuit.report(1, 0)
        return answer

    def _run(self, text: str, values: Mapping[str, str]) -> _Answer:
        properties = ClientRequestProperties()  # type: ignore[no-untyped-call]  # theirs
        properties.application = "claimx"
        properties.set_option(ClientRequestProperties.request_timeout_option_name, self._timeout)
        for name, value in values.items():
            properties.set_parameter(name, value)
        found = self._connected().execute_query(self._database, text, properties)
        if found.errors_count:
            words = " ".join(" ".join(found.get_exceptions()).split())
            if is_too_large(words):
                raise ResultTooLarge(f"Kusto: the answer for {self.what} is too large")
            raise Unreadable(f"Kusto reports errors beside the rows of {self.what}: {words[:300]}")
        table = found.primary_results[0]
        columns = tuple((c.column_name, str(c.column_type).lower()) for c in table.columns)
        if any(len(row) != len(columns) for row in table.raw_rows):
            raise Unreadable(f"Kusto gave rows of {self.what} that do not fit their columns")
        return _Answer(columns, table.raw_rows)

    def _connected(self) -> Any:
        """Return the client of this very process: connections do not survive a fork."""
        if self._client is None or self._client[0] != os.getpid():
            if self._credential is None:
                target = KustoConnectionStringBuilder.with_no_authentication(self._url)
            else:
                target = KustoConnectionStringBuilder.with_azure_token_credential(
                    self._url, _Borrowed(self._credential)
                )
            self._client = (os.getpid(), _CompleteClient(target))
        return self._client[1]

    def _forget(self) -> None:
        """Drop connections and columns: the failure may have been theirs."""
        self._known = None
        try:
            self.close()
        except FOREIGN as error:
            log.debug("kusto client not closed", error=type(error).__name__)


def _own_id(known: Mapping[str, str]) -> str:
    """Return the KQL of a row's own id, of the id columns that the table has; empty for none."""
    names = [f"tostring(['{name}'])" for name in _ID_COLUMNS if name in known]
    if len(names) < len(_ID_COLUMNS):
        return "".join(names)
    return f"iff(isempty({names[0]}), {names[1]}, {names[0]})"


def _row(columns: Sequence[tuple[str, str]], values: Sequence[Any]) -> SourceRow:
    """Return one row as JSON values, its ingestion time cut to whole microseconds."""
    row: SourceRow = {}
    for (name, kind), value in zip(columns, values, strict=True):
        if name == TIME:
            row[TIME] = from_datetime(datetime.fromisoformat(value))
        elif not name.startswith("$"):
            row[name] = _parsed(value) if kind == "dynamic" else value
    return row


def _parsed(value: Any) -> Any:
    """Return a dynamic value as JSON; some answers carry it as text."""
    if isinstance(value, str) and value[:1] in ("[", "{", '"'):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _count(answer: _Answer) -> int:
    return int(answer.rows[0][0])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
