"""Kusto's client, made to see an answer's end and to wait for none for ever."""

from __future__ import annotations

from typing import Any

from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoMultiApiError, KustoServiceError

from claimx.adapters.kusto_adapter import BoundedAdapter
from claimx.adapters.own_authorization import as_it_is

ANSWER_SECONDS = 50.0
"""
Beyond the time that Kusto has for a query, until its answer is read.

The client itself adds 30 s to what it waits for each read.
"""


class CompleteClient(KustoClient):
    """
    A client that sees the last frame of an answer, and whose requests end after *total_seconds*.

    Kusto may say only in the last frame that the rows before it are not all of them, and the stock
    client drops it: a page cut short in silence would move the checkpoint past rows never seen. The
    stock client also waits without end for the cluster's metadata, its first question to each, and
    for an answer that comes drop by drop. With *proxies* those of the environment are used.
    """

    def __init__(
        self, target: KustoConnectionStringBuilder, total_seconds: float, *, proxies: bool
    ) -> None:
        super().__init__(target)
        session: Any = self._session  # typed as one of two
        session.trust_env = proxies
        session.auth = as_it_is
        for scheme in ("http://", "https://"):
            session.mount(scheme, BoundedAdapter(total_seconds))

    @staticmethod
    def _kusto_parse_by_endpoint(endpoint: str, response_json: Any) -> Any:
        if isinstance(response_json, list):
            for frame in response_json:
                _name_errors(frame, *frame.get("Rows", ()))
            end = response_json[-1] if response_json else {}
            if end.get("FrameType") != "DataSetCompletion":
                raise KustoServiceError("the answer has no last frame")
            if end.get("HasErrors") or end.get("Cancelled") or end.get("OneApiErrors"):
                raise KustoMultiApiError([end])
        return KustoClient._kusto_parse_by_endpoint(endpoint, response_json)  # noqa: SLF001 - the hook the class leaves


def _name_errors(*holders: Any) -> None:
    """Give errors without ``@message`` their message or code: the client stumbles over none."""
    for holder in holders:
        if not isinstance(holder, dict):
            continue
        for entry in holder.get("OneApiErrors") or ():
            error = entry.get("error")
            if isinstance(error, dict) and not error.get("@message"):
                error["@message"] = error.get("message") or error.get("code") or "no words"
