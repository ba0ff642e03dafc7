"""The command line's two streams."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import structlog
from claimx.cli.main import main
try:
    main(["--version"])
finally:
    structlog.get_logger("a service").warning("a line for people")
"""


def test_logs_never_come_between_the_data_on_standard_output():
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    assert found.stdout.splitlines() == ["claimx, version 0.1.0"]
    assert "a line for people" in found.stderr
