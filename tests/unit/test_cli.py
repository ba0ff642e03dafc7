"""The command line: its two streams, and the limits that a status fails on."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from claimx.cli.status import parse_limits

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


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", {}),
        ("lag=120,dead=100", {"lag": 120.0, "dead": 100.0}),
        ("lag=120s", {"lag": 120.0}),
        ("lag=5m", {"lag": 300.0}),
        ("lag=2h, missing=0", {"lag": 7200.0, "missing": 0.0}),
    ],
)
def test_a_limit_on_the_lag_may_be_a_time(text, limits):
    assert parse_limits(text) == limits


@pytest.mark.parametrize(
    "text",
    [
        "lag=nan",
        "dead=nan",
        "lag=inf",
        "dead=inf",
        "lag=-1",
        "dead=-5",
        "lag=20y",
        "dead=5m",
        "lag",
    ],
)
def test_a_limit_that_cannot_be_exceeded_or_means_nothing_is_refused(text):
    """Nothing is above nan: a check with it is well for ever."""
    with pytest.raises(click.BadParameter):
        parse_limits(text)
