"""One query to Kusto: under the circuit, whole or not at all, its failures in our words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from azure.kusto.data import ClientRequestProperties, KustoConnectionStringBuilder

from claimx.adapters.kusto_client import ANSWER_SECONDS, CompleteClient
from claimx.adapters.kusto_errors import FOREIGN, ResultTooLarge, is_too_large, translated
from claimx.domain.addresses import on_loopback
from claimx.domain.errors import CircuitOpen, ClaimXError, Permanent, Unreadable
from claimx.domain.ports.gates import Circuit

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """The result table: column names with types, and rows as they were on the wire."""

    columns: tuple[tuple[str, str], ...]
    rows: list[list[Any]]


class KustoQueries:
    """
    Queries to one database; *what* names their subject in messages, *timeout* is in seconds.

    *credential* is lent (`LentCredential`: the client closes what it has); a plain http cluster on
    loopback needs none.
    *circuit* is asked before every query and told of its outcome. Safe across a fork; not for
    several threads.
    """

    def __init__(
        self,
        cluster_url: str,
        database: str,
        what: str,
        credential: Any | None,
        timeout: float,
        circuit: Circuit,
    ) -> None:
        """Raise Permanent, naming the setting, for what no query could be made with."""
        if not cluster_url or not database:
            raise Permanent("EVENTHOUSE_CLUSTER_URL and CLAIMX_EVENTHOUSE_DATABASE must be set")
        parts = urlsplit(cluster_url)
        if parts.scheme == "http":
            if not on_loopback(cluster_url):
                raise Permanent("EVENTHOUSE_CLUSTER_URL must be https, or http on loopback")
            credential = None
        elif credential is None:
            raise Permanent(f"the cluster {parts.hostname} needs a credential")
        self._url = cluster_url.rstrip("/")
        self._host = parts.hostname or ""
        self._database = database
        self._what = what
        self._credential = credential
        self._timeout = timedelta(seconds=min(max(timeout, 1.0), 3600.0))  # Kusto's own limits
        self._circuit = circuit
        self._client: tuple[int, Any] | None = None

    def ask(self, text: str, parameters: Mapping[str, str]) -> Answer:
        """
        Run one query; *parameters* are KQL literals for what *text* declares.

        Raises CircuitOpen, ResultTooLarge, Throttled, Unavailable, Unreadable, TryLater, Refused or
        TokenRejected; after a failure the next query opens a new connection.
        """
        allowed, wait = self._circuit.permit(1)
        if not allowed:
            raise CircuitOpen("the circuit for Kusto is open", max(wait, 0.1), host=self._host)
        try:
            answer = self._run(text, parameters)
        except (ClaimXError, *FOREIGN) as error:
            failure = translated(error, what=self._what, host=self._host)
            if not isinstance(failure, ResultTooLarge):
                self.close()
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

    def close(self) -> None:
        """Close the connections; the next query opens new ones. Never raises."""
        if self._client is None:
            return
        client, self._client = self._client[1], None
        try:
            client.close()
        except FOREIGN as error:
            log.debug("kusto client not closed", error=type(error).__name__)

    def _run(self, text: str, parameters: Mapping[str, str]) -> Answer:
        properties = ClientRequestProperties()  # type: ignore[no-untyped-call]  # theirs
        properties.application = "claimx"
        properties.set_option(ClientRequestProperties.request_timeout_option_name, self._timeout)
        for name, value in parameters.items():
            properties.set_parameter(name, value)
        found = self._connected().execute_query(self._database, text, properties)
        if found.errors_count:
            words = " ".join(" ".join(found.get_exceptions()).split())
            if is_too_large(words):
                raise ResultTooLarge(f"Kusto: the answer for {self._what} is too large")
            raise Unreadable(f"Kusto reports errors beside the rows of {self._what}: {words[:300]}")
        table = found.primary_results[0]
        columns = tuple((c.column_name, str(c.column_type).lower()) for c in table.columns)
        if any(len(row) != len(columns) for row in table.raw_rows):
            raise Unreadable(f"Kusto gave rows of {self._what} that do not fit their columns")
        return Answer(columns, table.raw_rows)

    def _connected(self) -> Any:
        """Return the client of this very process: connections do not survive a fork."""
        if self._client is None or self._client[0] != os.getpid():
            if self._credential is None:
                target = KustoConnectionStringBuilder.with_no_authentication(self._url)
            else:
                target = KustoConnectionStringBuilder.with_azure_token_credential(
                    self._url, self._credential
                )
            # no proxy between us and a stand-in
            client = CompleteClient(
                target,
                self._timeout.total_seconds() + ANSWER_SECONDS,
                proxies=self._credential is not None,
            )
            self._client = (os.getpid(), client)
        return self._client[1]
