"""The command line's two streams."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
from claimx.cli.main import main
try:
    main(["config", "--help"])
finally:
    import structlog
    structlog.get_logger("a service").warning("a line for people")
"""


_MODULES = """\
    import sys
    print(*sys.modules, file=sys.stderr)
"""


def test_logs_never_come_between_the_data_on_standard_output():
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )

    assert found.stdout.startswith("Usage: claimx config")
    assert "a line for people" not in found.stdout
    assert "a line for people" in found.stderr


def test_help_loads_nothing_that_takes_time():
    """Somebody types it to learn what there is; it may not take longer than a key press."""
    program = _PROGRAM.replace('"config", ', "").partition("    import")[0] + _MODULES

    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    loaded = {name.partition(".")[0] for name in found.stderr.split()}
    assert "claimx" in loaded
    assert not loaded & {"pydantic", "structlog", "celery", "redis", "deltalake", "pyarrow"}
