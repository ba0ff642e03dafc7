"""Reconcile: the source against ``claimx_events`` against media against attachments."""

from claimx.services.reconcile.notes import keep, problems
from claimx.services.reconcile.report import Ending, Finding, Found, ReconcileReport
from claimx.services.reconcile.run import reconcile
from claimx.services.reconcile.settled import export, reconcile_settled

__all__ = [
    "Ending",
    "Finding",
    "Found",
    "ReconcileReport",
    "export",
    "keep",
    "problems",
    "reconcile",
    "reconcile_settled",
]
