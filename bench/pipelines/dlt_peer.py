"""dlt with merge (`pipelines.dlt_program`), in the environment of its own that it needs."""

from __future__ import annotations

from dataclasses import replace

from claimx.cli.stack import ROOT
from pipelines.job import Job
from pipelines.measure import Run, measured
from pipelines.processes import Processes

PYTHON = ROOT / ".venv-bench" / "bin" / "python"
MOST_WORKERS = 100
DATASET = "peer"


def run(job: Job) -> Run:
    """Load the job's events; files are left out."""
    job = replace(job, files=0)
    return measured("dlt", job, lambda stack: _start(stack, job), tables=job.lake / DATASET)


def _start(stack: Processes, job: Job) -> None:
    workers = str(min(MOST_WORKERS, job.in_flight))
    stack.environment |= {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DLT_DATA_DIR": str(job.folder / "dlt"),
        "EXTRACT__WORKERS": workers,
        "EXTRACT__MAX_PARALLEL_ITEMS": workers,
        "DATA_WRITER__BUFFER_MAX_ITEMS": "5000",
    }
    stack.run("dlt", [str(PYTHON), "-m", "pipelines.dlt_program", str(job.save())])
