"""What measures the pipeline is there when somebody measures: it uses much of the product."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"
OF_AN_ENVIRONMENT_OF_ITS_OWN = {"pipelines.dlt_program", "pipelines.plot"}


def test_every_module_of_the_bench_can_be_imported():
    """A function that the product had changed ended ``make bench`` before its first round."""
    modules = {
        ".".join(path.relative_to(BENCH).with_suffix("").parts) for path in BENCH.rglob("*.py")
    } - {"pipelines.__init__"}
    program = "\n".join(f"import {name}" for name in sorted(modules - OF_AN_ENVIRONMENT_OF_ITS_OWN))

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{BENCH.parent}:{BENCH}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(modules) > 30
